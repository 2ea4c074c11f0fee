"""Killed, interrupted and cut off: nothing lost, nothing doubled."""

import random
import resource
import signal
import subprocess
import threading

import deltalake
import pytest

from source import BY_LINK, BY_MARK, connection, record

COUNT = 2500
SEED = 20261121


def fill(source, count=COUNT):
    # Ties: ten records share each second, so that page edges fall between equal cursors.
    source.records = [record(i, i // 10) for i in range(count)]


def verify(project, duck, mode, count=COUNT):
    table = f"delta_scan('{project.silver('demo_records')}')"
    assert duck.execute(f"SELECT count(*), count(DISTINCT id), min(id), max(id) FROM {table}").fetchone() == (
        count,
        count,
        0,
        count - 1,
    ), mode


MODES = ["incremental_merge", "incremental_append", "full_refresh_replace", "full_refresh_append"]


@pytest.mark.parametrize("mode", MODES)
def test_kill_nine_at_random_pages_then_resume(project, source, duck, mode):
    fill(source)
    print("seed", SEED)
    dice = random.Random(f"{SEED}{mode}")
    # A full refresh is read on at a mark; by links it begins again, so that four deaths would show one.
    paginate = BY_MARK if mode.startswith("full") else BY_LINK
    project.connection("demo", connection(source.url, mode=mode, paginate=paginate))
    for _ in range(4):
        at, reached = dice.randint(2, 24), threading.Event()
        running = None

        def on_page(page, at=at, reached=reached):
            if page >= at:
                reached.set()

        source.on_page = on_page
        running = project.start("sync", "demo", "--checkpoint-rows", "300")
        while running.poll() is None and not reached.wait(0.02):
            pass
        running.send_signal(signal.SIGKILL)
        running.communicate()
    source.on_page = None
    project.run("sync", "demo")
    verify(project, duck, mode)


FAIL_POINTS = [
    "lake.before_bronze",
    "lake.after_bronze",
    "lake.before_commit",
    "lake.after_commit",
    "control.before_checkpoint",
    "control.after_receipt",
    "control.after_store",
    "control.before_finish",
]


@pytest.mark.parametrize("mode", ["incremental_merge", "incremental_append", "full_refresh_replace"])
@pytest.mark.parametrize("point", FAIL_POINTS)
def test_death_at_a_named_point_then_resume(project, source, duck, mode, point):
    fill(source, 1200)
    paginate = BY_MARK if mode.startswith("full") else BY_LINK
    project.connection("demo", connection(source.url, mode=mode, paginate=paginate))
    died = 0
    for nth in (1, 2):
        done = project.run(
            "sync", "demo", "--checkpoint-rows", "300", ok=False, env={"WEIR_FAILPOINT": f"{point}:{nth}"}
        )
        died += done.returncode != 0
    assert died, f"fail point {point} was never passed"
    project.run("sync", "demo")
    verify(project, duck, mode, 1200)
    runs = project.json("run", "list")
    assert not [run for run in runs if run["status"] == "running"]


def test_ctrl_c_leaves_a_checkpoint_and_the_next_run_goes_on(project, source, duck):
    fill(source)
    reached = threading.Event()
    gate = threading.Event()

    def on_page(page):
        if page == 12:
            reached.set()
            gate.wait(30)

    source.on_page = on_page
    project.connection("demo", connection(source.url))
    running = project.start("sync", "demo", "--checkpoint-rows", "300")
    assert reached.wait(60)
    running.send_signal(signal.SIGINT)
    gate.set()
    running.communicate(timeout=60)
    assert running.returncode == 1
    landed = project.query("SELECT count(*) AS n FROM demo_records")[0]["n"]
    assert landed > 0
    source.on_page = None
    asked = len(source.requests)
    project.run("sync", "demo")
    verify(project, duck, "incremental_merge")
    first = next(query for path, query in source.requests[asked:] if path == "/records")
    assert first.get("since"), "the next run began at the beginning"


def test_two_syncs_of_one_stream_at_once(project, source, duck):
    fill(source)
    reached, gate = threading.Event(), threading.Event()

    def on_page(page):
        if page == 5:
            reached.set()
            gate.wait(30)

    source.on_page = on_page
    project.connection("demo", connection(source.url))
    first = project.start("sync", "demo")
    assert reached.wait(60)
    second = project.run("sync", "demo", ok=False)
    assert second.returncode != 0 and "next:" in second.stderr, second.stderr
    gate.set()
    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    verify(project, duck, "incremental_merge")


def test_a_source_that_fails_now_and_then(project, source, duck):
    fill(source, 1500)
    count = {"n": 0}
    lock = threading.Lock()

    def fault(handler, path, query):
        if path != "/records":
            return False
        with lock:
            count["n"] += 1
            n = count["n"]
        if n % 9 == 3:
            handler.send(500, {"message": "sorry"})
        elif n % 9 == 6:
            handler.send(429, {"message": "slow down"}, {"Retry-After": "0"})
        elif n % 9 == 8:
            handler.send_response(200)
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            handler.wfile.write(b'[{"id": 1')
            handler.close_connection = True
        else:
            return False
        return True

    source.faults.append(fault)
    project.connection("demo", connection(source.url, extra="").replace(
        "{ attempts: 4, base: 10ms, max: 200ms }",
        "{ attempts: 6, base: 10ms, max: 200ms, budget: 100% }, breaker: { failures: 100 }",
    ))
    project.run("sync", "demo")
    verify(project, duck, "incremental_merge", 1500)


def test_repeated_page_is_found(project, source):
    fill(source, 500)

    def fault(handler, path, query):
        if path == "/records" and int(query.get("page", 1)) > 1:
            link = f'<{source.url}/records?page=2&per_page=100>; rel="next"'
            handler.send(200, source.records[100:200], {"Link": link})
            return True
        return False

    source.faults.append(fault)
    project.connection("demo", connection(source.url))
    done = project.run("sync", "demo", ok=False)
    assert done.returncode == 4 and "repeat" in done.stderr, done.stderr


FILE_BYTES_MAX = 512 << 10


def no_room():
    """No file of this process grows past a limit: writes end as on a full disk, with an error."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))


@pytest.mark.parametrize("mode", ["incremental_merge", "incremental_append", "full_refresh_replace"])
def test_a_disk_without_room_then_with_it(project, source, duck, mode):
    fill(source, 200)
    project.connection("demo", connection(source.url, mode=mode))
    project.run("sync", "demo")
    # Text that does not compress, so that the files of the lake, and they alone, reach the limit.
    dice = random.Random(SEED)
    for i in range(200, 600):
        source.records.append({**record(i, 1000 + i), "text": dice.randbytes(6000).hex()})
    failed = subprocess.run(
        [project.binary, "sync", "demo", "--checkpoint-rows", "100000"],
        cwd=project.folder,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=no_room,
        restore_signals=False,
    )
    assert failed.returncode == 5, (failed.returncode, failed.stderr)
    assert "cannot write" in failed.stderr and "has room" in failed.stderr, failed.stderr
    table = deltalake.DeltaTable(str(project.silver("demo_records")))
    assert table.to_pyarrow_table(columns=["id"]).num_rows == 200
    verify(project, duck, mode, 200)
    runs = project.json("run", "list")
    assert [run["status"] for run in runs] == ["failed", "succeeded"]
    project.run("sync", "demo")
    verify(project, duck, mode, 600)
    assert not list(project.lake.rglob("*#*")), "half a file was left"


def test_an_interrupted_full_read_is_ended_by_the_next_sync(project, source, duck):
    fill(source, 900)
    project.connection("demo", connection(source.url, mode="incremental_merge", paginate=BY_MARK))
    project.run("sync", "demo")
    del source.records[:50]
    point = {"WEIR_FAILPOINT": "control.after_store:2"}
    died = project.run("sync", "demo", "--full", "--checkpoint-rows", "300", ok=False, env=point)
    assert died.returncode != 0
    done = project.run("sync", "demo")
    assert "left unfinished" in done.stdout + done.stderr and "restore" not in done.stderr, done.stderr
    table = f"delta_scan('{project.silver('demo_records')}')"
    assert duck.execute(f"SELECT count(*), count(_deleted_at) FROM {table}").fetchone() == (900, 50)
    # Given up on purpose, it is said what happened.
    died = project.run("sync", "demo", "--full", "--checkpoint-rows", "300", ok=False, env=point)
    assert died.returncode != 0
    project.run("lake", "rebuild", "demo", "records")
    done = project.run("sync", "demo")
    assert "given up" in done.stdout + done.stderr, done.stderr
    assert duck.execute(f"SELECT count(*), count(_deleted_at) FROM {table}").fetchone() == (900, 50)
