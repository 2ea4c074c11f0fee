"""Programs that others wrote as sources: an Airbyte connector and two Singer taps, into Silver and back out."""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from project import TOOLS
from source import record

FAKER = TOOLS / "airbyte-faker/bin"
JSONL = TOOLS / "tap-jsonl/bin/tap-jsonl"
REST = TOOLS / "tap-rest/bin/tap-rest-api-msdk"
WAIT_S_MAX = 120


def wait_until(done, what):
    deadline = time.monotonic() + WAIT_S_MAX
    while not done():
        assert time.monotonic() < deadline, f"not within {WAIT_S_MAX} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def scratch(project, tmp_path):
    """The folder for temporary files of everything that a test starts; nothing may stay in it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    project.env["TMPDIR"] = str(folder)
    yield folder
    wait_until(lambda: not list(folder.glob("weir-process-*")), "the private folders are gone")
    wait_until(lambda: not running_in(folder), f"no process is left: {running_in(folder)}")


def running_in(folder):
    """Command lines of the processes that have this folder for their temporary files."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            state = (process / "stat").read_text().rsplit(") ", 1)[1][0]
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"TMPDIR={folder}\0".encode() in environment and state != "Z":
            found.append(command)
    return found


def silver(duck, project, table, what="*"):
    return duck.sql(f"SELECT {what} FROM delta_scan('{project.silver(table)}')").fetchall()


# Airbyte


def faker(users, **more):
    settings = {"count": users, "seed": 7, "parallelism": 1, "records_per_slice": 50, "always_updated": False, **more}
    return (
        "connector: airbyte\nsource: shop\nconfig:\n"
        f"  command: ['{FAKER}/source-faker']\n  settings: {json.dumps(settings)}\n"
        "streams: { users: {}, products: {} }\n"
    )


def test_an_airbyte_connector_is_synced_into_silver(project, scratch, duck):
    project.connection("faker", faker(120))
    assert "works" in project.run("check", "faker").stdout
    found = {stream["name"]: stream for stream in project.json("discover", "faker")}
    assert found["users"]["primary_key"] == ["id"] and found["users"]["cursor_field"] == "updated_at"
    first = {row["stream"]: row for row in project.json("sync", "faker")}
    assert first["users"]["mode"] == "incremental_merge"
    [(rows, ids, low, high)] = silver(duck, project, "shop_users", "count(*), count(DISTINCT id), min(id), max(id)")
    assert (rows, ids, low, high) == (120, 120, 1, 120)
    [(products,)] = silver(duck, project, "shop_products", "count(*)")
    assert products == first["products"]["landed"] == 100
    # The second read goes on from the state that the program told: there is nothing new.
    second = {row["stream"]: row for row in project.json("sync", "faker")}
    assert second["users"]["read"] == 0, second
    assert silver(duck, project, "shop_users", "count(*)") == [(120,)]


def test_an_airbyte_connector_resumes_after_a_kill(project, scratch, duck):
    # Asked to go on without always_updated, this program takes any state for the end.
    text = faker(20_000, records_per_slice=100, always_updated=True)
    project.connection("faker", text.replace(", products: {}", ""))
    sync = project.start("sync", "faker", "--checkpoint-rows", "200", "--no-progress")
    log = project.silver("shop_users") / "_delta_log"
    wait_until(lambda: len(list(log.glob("*.json"))) >= 3 or sync.poll() is not None, "some checkpoints")
    assert sync.poll() is None, sync.communicate()
    os.kill(sync.pid, signal.SIGKILL)
    sync.communicate()
    # Nothing of it stays, though nobody could clean up.
    wait_until(lambda: not list(scratch.glob("weir-process-*")), "the private folder is gone")
    wait_until(lambda: not running_in(scratch), "the program is gone")
    [(before,)] = silver(duck, project, "shop_users", "count(*)")
    assert 0 < before < 20_000
    [row] = project.json("sync", "faker")
    assert row["read"] > 0
    assert silver(duck, project, "shop_users", "count(*), count(DISTINCT id), max(id)") == [(20_000, 20_000, 20_000)]


def test_settings_are_judged_by_the_programs_own_specification(project, scratch):
    project.connection("faker", faker(120, count="many"))
    done = project.run("check", "faker", ok=False)
    assert done.returncode == 3 and "config.settings.count" in done.stderr, done.stderr


# Singer


def test_a_tap_over_files_is_synced_into_silver(project, scratch, duck, tmp_path):
    data = tmp_path / "data"
    data.mkdir()

    def write(name, ids, at):
        lines = [json.dumps({"id": i, "name": f"n{i}", "price": i / 4, "at": f"2026-01-01T00:00:{i:02}Z"}) for i in ids]
        (data / name).write_text("\n".join(lines) + "\n")
        os.utime(data / name, (at, at))

    settings = {"path": f"{data}/*.jsonl", "stream_name": "order-lines", "primary_keys": ["id"]}
    config = f"connector: singer\nsource: files_tap\nconfig:\n  command: ['{JSONL}']\n  settings: {json.dumps(settings)}\n"
    write("a.jsonl", range(1, 31), 1_767_225_600)
    project.connection("orders", config)
    project.run("check", "orders")
    [stream] = project.json("discover", "orders")
    assert (stream["name"], stream["entity"], stream["mode"]) == ("order-lines", "order_lines", "incremental_merge")
    assert len(project.json("preview", "orders", "--rows", "3")) == 3
    [row] = project.json("sync", "orders")
    assert row["landed"] == 30
    write("b.jsonl", range(25, 41), 1_767_312_000)
    [row] = project.json("sync", "orders")
    assert row["read"] >= 16
    what = "count(*), count(DISTINCT id), sum(price), min(typeof(\"at\"))"
    [(rows, ids, price, kind)] = silver(duck, project, "files_tap_order_lines", what)
    assert (rows, ids, price) == (40, 40, sum(range(1, 41)) / 4)
    assert kind.startswith("TIMESTAMP")


def rest(url, more=""):
    stream = {
        "name": "records",
        "path": "/records",
        "records_path": "$[*]",
        "params": {"per_page": 1000},
        "primary_keys": ["id"],
        "replication_key": "updated_at",
        "source_search_field": "since",
        "source_search_query": "$last_run_date",
        "num_inference_records": 10,
    }
    settings = {"api_url": url, "pagination_request_style": "default", "streams": [stream]}
    return (
        "connector: singer\nsource: rest\nconfig:\n"
        f"  command: ['{REST}']\n  settings: {json.dumps(settings)}\n{more}"
    )


def test_a_tap_over_an_api_is_read_on_by_its_cursor(project, scratch, duck, source):
    source.records = [record(i, i) for i in range(60)]
    source.page_size_max = 1_000
    project.connection("api", rest(source.url))
    [row] = project.json("sync", "api")
    assert (row["mode"], row["landed"]) == ("incremental_merge", 60)
    source.records += [record(i, i) for i in range(60, 75)]
    source.requests.clear()
    [row] = project.json("sync", "api")
    assert 15 <= row["read"] <= 75
    what = "count(*), count(DISTINCT id), max(nested_level), max(updated_at)"
    [(rows, ids, level, newest)] = silver(duck, project, "rest_records", what)
    assert (rows, ids, level) == (75, 75, 6)
    assert newest == "2026-01-01T00:01:14Z"


# Programs that misbehave

HEAD = """case "$1" in
spec) echo '{"type":"SPEC","spec":{"connectionSpecification":{"type":"object","properties":{"token":{"type":"string","airbyte_secret":true}}}}}' ;;
discover) echo '{"type":"CATALOG","catalog":{"streams":[{"name":"things","json_schema":{"type":"object","properties":{"id":{"type":"integer"}}},"supported_sync_modes":["full_refresh","incremental"],"source_defined_cursor":true,"default_cursor_field":["id"],"source_defined_primary_key":[["id"]]}]}}' ;;
read) n=0; [ $# -ge 7 ] && n=$(sed -n 's/.*"n":\\([0-9]*\\).*/\\1/p' "$7")
thing() { echo '{"type":"RECORD","record":{"stream":"things","data":{"id":'$1'},"emitted_at":1700000000000}}'; }
state() { echo '{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"things"},"stream_state":{"n":'$1'}}}}'; }
"""


@pytest.fixture
def program(project, scratch, tmp_path):
    """Makes a connection whose program reads by this script."""

    def make(script, settings="{ token: s3cr3t-token }", more=""):
        path = tmp_path / "program.sh"
        path.write_text(f"{HEAD}{script} ;;\nesac\n")
        text = f"connector: airbyte\nsource: odd\nconfig:\n  command: [sh, '{path}']\n  settings: {settings}\n{more}"
        project.connection("odd", text)

    return make


def test_what_came_before_a_death_is_kept_and_not_doubled(project, program):
    death = "thing 1; thing 2; state 2; thing 3; echo 'cannot reach s3cr3t-token' >&2; kill -9 $$"
    program(f'if [ "$n" = 0 ]; then {death}; fi; thing 2; thing 3; thing 4; state 4')
    done = project.run("sync", "odd", ok=False)
    assert done.returncode == 4
    assert "signal 9" in done.stderr and "cannot reach [redacted]" in done.stderr, done.stderr
    assert project.query("SELECT id FROM odd_things ORDER BY id") == [{"id": 1}, {"id": 2}]
    project.run("sync", "odd")
    assert project.query("SELECT id FROM odd_things ORDER BY id") == [{"id": i} for i in (1, 2, 3, 4)]


def test_appended_rows_at_the_edge_are_not_doubled(project, program):
    program('thing 2; [ "$n" = 0 ] || thing 3; state 4', more="streams: { things: { mode: incremental_append, primary_key: [] } }\n")
    project.run("sync", "odd")
    project.run("sync", "odd")
    assert project.query("SELECT id FROM odd_things ORDER BY id") == [{"id": 2}, {"id": 3}]


@pytest.mark.parametrize(
    "script, says",
    [
        ("thing 1; printf '{\"type\":\"RECORD\",\"rec'", ["in the middle of a message"]),
        ("thing 1; echo 'Traceback: boom' >&2; exit 3", ["exit code 3", "boom"]),
        ("head -c 40000000 /dev/zero | tr '\\0' x; echo", ["too long", "bytes_max"]),
        ("echo nonsense; echo '{\"type\":\"TRACE\",\"trace\":{\"type\":\"ERROR\",\"error\":{\"message\":\"no such shop\"}}}'; exit 1", ["no such shop"]),
    ],
)
def test_bad_output_is_named(project, program, script, says):
    program(script)
    done = project.run("sync", "odd", ok=False)
    assert done.returncode == 4
    for word in [*says, "next:"]:
        assert word in done.stderr, done.stderr
    assert project.json("lake", "tables") == [] or project.query("SELECT count(*) AS n FROM odd_things") == [{"n": 0}]


def test_a_hanging_program_is_ended(project, program, tmp_path):
    os.mkfifo(tmp_path / "gate")
    program(f"thing 1; read x < '{tmp_path}/gate'", more="")
    path = project.folder / "connections/odd.yaml"
    path.write_text(path.read_text() + "  silence: 1s\n")
    done = project.run("sync", "odd", ok=False)
    assert done.returncode == 4 and "said nothing" in done.stderr, done.stderr


def test_stopping_ends_a_program_that_will_not_end(project, program, scratch, tmp_path):
    os.mkfifo(tmp_path / "gate")
    said = tmp_path / "said"
    program(f"trap '' TERM INT; thing 1; state 1; touch '{said}'; while :; do read x < '{tmp_path}/gate'; done")
    sync = project.start("sync", "odd", "--no-progress")
    wait_until(said.exists, "the program runs")
    sync.send_signal(signal.SIGINT)
    out, err = sync.communicate(timeout=WAIT_S_MAX)
    assert sync.returncode == 1, (out, err)
    wait_until(lambda: not running_in(scratch), f"the program is gone: {running_in(scratch)}")
    assert project.query("SELECT id FROM odd_things") == [{"id": 1}]


def test_a_secret_that_stands_in_the_file_is_pointed_out(project, program):
    program("thing 1; state 1")
    assert "write ${NAME} there" in project.run("sync", "odd").stderr
    program("thing 1; state 1", settings='{ token: "${ODD_TOKEN}" }')
    assert "write ${NAME} there" not in project.run("sync", "odd", env={"ODD_TOKEN": "s3cr3t-token"}).stderr


# Moving from Airbyte


def test_states_are_taken_over(project, program, tmp_path):
    program('[ "$n" = 7 ] && thing 8; thing 9; state 9')
    export = tmp_path / "state.json"
    state = {"streamDescriptor": {"name": "things"}, "streamState": {"n": 7}}
    export.write_text(json.dumps({"stateType": "stream", "streamState": [state]}))
    shown = project.run("state", "import", "--airbyte", export, "odd", "--dry-run").stdout
    assert "things" in shown and "nothing was changed" in shown
    assert project.json("state", "show", "odd") == []
    project.run("state", "import", "--airbyte", export, "odd")
    project.run("sync", "odd")
    assert project.query("SELECT id FROM odd_things ORDER BY id") == [{"id": 8}, {"id": 9}]
    export.write_text(json.dumps([state, {"streamDescriptor": {"name": "thinks"}, "streamState": {"n": 1}}]))
    done = project.run("state", "import", "--airbyte", export, "odd", ok=False)
    assert done.returncode == 3 and "thinks" in done.stderr and "did you mean 'things'" in done.stderr, done.stderr


# weir as a source


MANIFEST = """
spec: 1
connector: demo
version: 1.0.0
name: {{ en: Demo }}
hosts: ["{host}"]
http: {{ base_url: "{url}" }}
config: {{ type: object, required: [size], properties: {{ size: {{ type: integer }} }} }}
check: {{ path: /me }}
streams:
  - name: records
    path: /records
    params: {{ per_page: 1000 }}
    primary_key: [id]
    cursor: {{ field: updated_at, request: {{ param: since }}, order: ascending }}
"""

JUDGE = """
import json, sys
from airbyte_cdk.models import AirbyteMessageSerializer
kinds = [AirbyteMessageSerializer.load(json.loads(line)).type.value for line in sys.stdin if line.strip()]
print(json.dumps(kinds))
"""


def judged(output):
    """The kinds of messages, as the protocol's own models read them."""
    done = subprocess.run([FAKER / "python", "-c", JUDGE], input=output, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture
def manifest(source, tmp_path):
    source.records = [record(i, i) for i in range(30)]
    source.page_size_max = 1_000
    path = tmp_path / "demo.yaml"
    path.write_text(MANIFEST.format(host=source.url.removeprefix("http://"), url=source.url))
    return path


def test_weir_passes_the_protocols_acceptance(project, manifest, tmp_path, source):
    def file(name, content):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    def call(*args, ok=True):
        done = project.run("source", "--manifest", manifest, *args, ok=False)
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout, [json.loads(line) for line in done.stdout.splitlines()]

    good = file("config.json", {"size": 3, "allow_private_hosts": True})
    bad = file("bad.json", {"size": "x", "allow_private_hosts": True})
    text, [spec] = call("spec")
    assert judged(text) == ["SPEC"] and spec["spec"]["connectionSpecification"]["required"] == ["size"]
    text, [status] = call("check", "--config", good)
    assert judged(text) == ["CONNECTION_STATUS"] and status["connectionStatus"]["status"] == "SUCCEEDED"
    text, [status] = call("check", "--config", bad)
    assert judged(text) == ["CONNECTION_STATUS"] and status["connectionStatus"]["status"] == "FAILED"
    text, [catalog] = call("discover", "--config", good)
    assert judged(text) == ["CATALOG"]
    [stream] = catalog["catalog"]["streams"]
    assert stream["source_defined_primary_key"] == [["id"]] and "incremental" in stream["supported_sync_modes"]
    chosen = {"stream": stream, "sync_mode": "incremental", "destination_sync_mode": "append_dedup"}
    configured = file("catalog.json", {"streams": [chosen]})
    text, messages = call("read", "--config", good, "--catalog", configured)
    kinds = judged(text)
    assert kinds.count("RECORD") == 30 and kinds[-2:] == ["STATE", "TRACE"]
    statuses = [m["trace"]["stream_status"]["status"] for m in messages if m["type"] == "TRACE"]
    assert statuses == ["STARTED", "RUNNING", "COMPLETE"]
    last = [m["state"] for m in messages if m["type"] == "STATE"][-1]
    source.records += [record(30, 30)]
    _, messages = call("read", "--config", good, "--catalog", configured, "--state", file("state.json", [last]))
    read = [m["record"]["data"]["id"] for m in messages if m["type"] == "RECORD"]
    assert 30 in read and len(read) <= 2
    text, messages = call("read", "--config", bad, "--catalog", configured, ok=False)
    errors = [m for m in messages if m["type"] == "TRACE" and m["trace"]["type"] == "ERROR"]
    assert len(errors) == 1 and errors[0]["trace"]["error"]["failure_type"] == "config_error"
    judged(text)
    source.faults.append(lambda handler, *_: handler.send(404, {"message": "gone"}) or True)
    text, messages = call("read", "--config", good, "--catalog", configured, ok=False)
    assert [m["trace"]["type"] for m in messages if m["type"] == "TRACE"].count("ERROR") == 1
    judged(text)


def test_weir_reads_itself_as_a_program(project, scratch, manifest, binary, source):
    text = (
        "connector: airbyte\nsource: self\nconfig:\n"
        f"  command: ['{binary}', source, --manifest, '{manifest}']\n"
        "  settings: { size: 3, allow_private_hosts: true }\n"
    )
    project.connection("self", text)
    project.run("check", "self")
    [row] = project.json("sync", "self")
    assert row["landed"] == 30
    source.records += [record(i, i) for i in range(30, 40)]
    [row] = project.json("sync", "self")
    assert 10 <= row["read"] <= 11
    assert project.query("SELECT count(*) AS n, count(DISTINCT id) AS ids FROM self_records") == [{"n": 40, "ids": 40}]
