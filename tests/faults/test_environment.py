"""The machine around weir: no room, no right to write, two of it at once, Ctrl-C, hours of work."""

import os
import pathlib
import random
import resource
import signal
import subprocess
import threading
import time

import deltalake
import pytest

from source import BY_MARK, connection, record

COUNT = 2500
MODES = ["incremental_merge", "incremental_append", "full_refresh_replace"]


def fill(source, count=COUNT):
    # Ties: ten records share each second, so that page edges fall between equal cursors.
    source.records = [record(i, i // 10) for i in range(count)]


def verify(project, duck, count=COUNT):
    table = f"delta_scan('{project.silver('demo_records')}')"
    found = duck.execute(f"SELECT count(*), count(DISTINCT id), min(id), max(id) FROM {table}").fetchone()
    assert found == (count, count, 0, count - 1)


# Ctrl-C


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
    verify(project, duck)
    first = next(query for path, query in source.requests[asked:] if path == "/records")
    assert first.get("since"), "the next run began at the beginning"


@pytest.mark.parametrize("mode", MODES)
def test_ctrl_c_at_random_moments(project, source, duck, mode, seed):
    """Once stops it with what is done; twice at once. Either way nothing is lost and no run is left running."""
    fill(source)
    dice = random.Random(f"{seed}{mode}")
    paginate = BY_MARK if mode.startswith("full") else None
    project.connection("demo", connection(source.url, mode=mode, **({"paginate": paginate} if paginate else {})))
    for turn in range(4):
        at, reached = dice.randint(1, 22), threading.Event()
        source.on_page = lambda page, at=at, reached=reached: page >= at and reached.set()
        running = project.start("sync", "demo", "--checkpoint-rows", "300")
        while running.poll() is None and not reached.wait(0.02):
            pass
        running.send_signal(signal.SIGINT)
        if turn % 2:
            time.sleep(dice.uniform(0, 0.05))
            running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
        assert running.returncode in (0, 1, 130, -signal.SIGINT), (running.returncode, err)
        assert "panicked" not in err
    source.on_page = None
    project.run("sync", "demo")

    verify(project, duck)
    assert not [run for run in project.json("run", "list") if run["status"] == "running"]


# Two at once


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
    verify(project, duck)


def test_two_of_everything_at_once(project, source, duck, seed):
    """Syncs, maintenance and models on one project from several processes: refusals are clear, rows are right."""
    dice = random.Random(seed)
    fill(source, 900)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo", "--checkpoint-rows", "300")
    commands = [
        ("sync", "demo", "--checkpoint-rows", "100"),
        ("sync", "demo", "--full", "--checkpoint-rows", "200"),
        ("lake", "compact", "demo_records"),
        ("lake", "vacuum", "demo_records"),
        ("lake", "rebuild", "demo", "records"),
        ("run", "list"),
        ("query", "SELECT count(*) FROM demo_records"),
    ]
    for turn in range(3):
        source.records += [record(900 + turn * 50 + i, 1000 + turn * 50 + i) for i in range(50)]
        running = [project.start(*command) for command in dice.sample(commands, 4)]
        for process in running:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0 or "next:" in err, (process.args, process.returncode, out, err)
            assert "panicked" not in err
    project.run("sync", "demo")
    verify(project, duck, 1050)
    assert not [run for run in project.json("run", "list") if run["status"] == "running"]


# A disk without room


FILE_BYTES_MAX = 512 << 10


def no_room():
    """No file of this process grows past a limit: writes end as on a full disk, with an error."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))


@pytest.mark.parametrize("mode", MODES)
def test_a_disk_without_room_then_with_it(project, source, duck, mode, seed):
    fill(source, 200)
    project.connection("demo", connection(source.url, mode=mode))
    project.run("sync", "demo")
    # Text that does not compress, so that the files of the lake, and they alone, reach the limit.
    dice = random.Random(seed)
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
    verify(project, duck, 200)
    runs = project.json("run", "list")
    assert [run["status"] for run in runs] == ["failed", "succeeded"]
    project.run("sync", "demo")
    verify(project, duck, 600)
    assert not list(project.lake.rglob("*#*")), "half a file was left"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MiB; skipped where this process may not mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", place], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("may not mount a small disk here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("mode", MODES)
def test_a_full_disk_at_several_moments_then_room(project, source, duck, mode, small_disk, seed):
    """The lake's disk fills up while Bronze, data files or the log are written; then room is made."""
    dice = random.Random(f"{seed}{mode}")
    project.write("weir.yaml", f"project: demo\nlake: {{ location: {small_disk}/lake }}\n")
    paginate = BY_MARK if mode.startswith("full") else None
    project.connection("demo", connection(source.url, mode=mode, **({"paginate": paginate} if paginate else {})))
    source.records = [{**record(i, i), "text": dice.randbytes(400).hex()} for i in range(300)]
    project.run("sync", "demo")
    table = f"delta_scan('{small_disk}/lake/silver/demo_records')"
    filler = small_disk / "filler"
    count = lambda: duck.execute(f"SELECT count(*), count(DISTINCT id) FROM {table}").fetchone()  # noqa: E731
    for turn in range(4):
        source.records += [{**record(300 + turn * 100 + i, 500 + turn * 100 + i), "text": dice.randbytes(400).hex()}
                           for i in range(100)]
        free = os.statvfs(small_disk)
        left = dice.choice([0, 4 << 10, 20 << 10, 60 << 10, 120 << 10])
        filler.write_bytes(b"x" * max(0, free.f_bavail * free.f_frsize - left))
        before = count()
        done = project.run("sync", "demo", "--checkpoint-rows", "100", ok=False)
        assert done.returncode in (0, 5), (done.returncode, done.stderr)
        if done.returncode == 5:
            assert "next:" in done.stderr and "room" in done.stderr, done.stderr
            now = count()
            assert now[0] == now[1] and before[0] <= now[0] <= len(source.records), (before, now)
        filler.unlink()
        project.run("sync", "demo")
        assert count() == (len(source.records), len(source.records))
        if mode == "incremental_merge":
            project.run("lake", "vacuum", "demo_records", "--keep", "0s")
        else:
            for stale in set((small_disk / "lake/silver/demo_records").glob("*.parquet")) - live(small_disk):
                stale.unlink()
    project.run("reconcile", "demo")


def live(disk):
    return {pathlib.Path(uri) for uri in deltalake.DeltaTable(str(disk / "lake/silver/demo_records")).file_uris()}


# No right to write


@pytest.fixture
def read_only(project):
    """Mounts a folder of the project read-only over itself: even root cannot write there."""
    mounted = []

    def mount(folder):
        made = subprocess.run(["mount", "--bind", folder, folder], capture_output=True)
        if made.returncode != 0:
            pytest.skip("may not mount here")
        mounted.append(folder)
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=False)


@pytest.mark.parametrize("what", ["lake", ".weir", "."])
def test_a_folder_without_the_right_to_write(project, source, duck, read_only, what):
    fill(source, 200)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    source.records += [record(200 + i, 1000 + i) for i in range(50)]
    folder = project.folder / what
    read_only(folder)
    done = project.run("sync", "demo", ok=False)
    assert done.returncode not in (0, 101) and "next:" in done.stderr, (done.returncode, done.stderr)
    words = ("read-only", "Read-only", "readonly", "permission", "writ")
    assert any(word in done.stderr for word in words), done.stderr
    assert duck.execute(f"SELECT count(*) FROM delta_scan('{project.silver('demo_records')}')").fetchone() == (200,)
    subprocess.run(["umount", "-l", folder], check=True)
    project.run("sync", "demo")
    verify(project, duck, 250)


# Interrupted full reads


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
