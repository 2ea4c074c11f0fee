"""What an operator meets: a key that is another one, a store that is newer, clocks that differ, a port in the clear."""

import base64
import contextlib
import json
import os
import pathlib
import sqlite3
import time
import urllib.error
import urllib.request

import pytest
from source import connection, record
from test_api import call, first_token
from test_serve import ANSWER_S_MAX, Store, serving, store  # noqa: F401

AUTH = '  auth: { method: bearer, token: "{{ credential.token }}" }\n'
SECRET = 'credential: { method: bearer, token: "secret:token" }\n'


def key():
    return base64.b64encode(os.urandom(32)).decode()


def ready(url):
    """Status and answer of /readyz."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def until_ready_is(url, status):
    deadline = time.monotonic() + ANSWER_S_MAX
    while time.monotonic() < deadline:
        found = ready(url)
        if found[0] == status:
            return found[1]
        time.sleep(0.2)
    raise AssertionError(f"/readyz never became {status}: {found}")


def test_a_key_that_is_exchanged_under_a_server_loses_no_run(project, source, store):  # noqa: F811
    source.records = [record(n, n) for n in range(30)]
    project.connection("demo", connection(source.url).replace("config:\n", f"config:\n{AUTH}") + SECRET)
    first, second = key(), key()
    project.env.update(store.env)
    project.run("secret", "set", "token", input="value", env={"WEIR_MASTER_KEY": first})
    refused = project.run("serve", "--listen", "127.0.0.1:0", ok=False, env={"WEIR_MASTER_KEY": second})
    assert refused.returncode == 3 and "its id" in refused.stderr and "needed" in refused.stderr, refused.stderr
    with serving(project, env={"WEIR_MASTER_KEY": first}) as server:
        admin = first_token(server)
        assert ready(server.url)[0] == 200
        moved = {"WEIR_MASTER_KEY": second, "WEIR_MASTER_KEY_OLD": first}
        assert "1 secrets" in project.run("secret", "rotate-master-key", env=moved).stdout
        problem = until_ready_is(server.url, 503)
        assert "master key" in problem["detail"], problem
        assert "WEIR_MASTER_KEY_OLD" in problem["next_step"]
        status, told = call(server.url, admin, "/runs", "POST", {"connection": "demo"})
        assert (status, told["detail"]) == (503, problem["detail"])
        assert call(server.url, admin, "/runs")[1]["items"] == []
        # Queued by whoever can: it waits instead of failing.
        with serving(project, "--runs-at-once", "0", env={"WEIR_MASTER_KEY": second}) as other:
            assert call(other.url, admin, "/runs", "POST", {"connection": "demo"})[0] == 202
        back = {"WEIR_MASTER_KEY": first, "WEIR_MASTER_KEY_OLD": second}
        project.run("secret", "rotate-master-key", env=back)
        until_ready_is(server.url, 200)
        runs = store.until("succeeded")
        assert [run["status"] for run in runs] == ["succeeded"]


def test_a_server_whose_store_a_newer_one_migrated_ends_what_it_has_and_takes_nothing_new(project, source, store):  # noqa: F811
    source.records = [record(n, n) for n in range(600)]
    project.connection("demo", connection(source.url))
    blob = "'\\x00'" if store.server else "x'00'"
    newer = (
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) "
        f"VALUES (9999, 'later', true, {blob}, 0)"
    )
    with serving(project, env=store.env) as server:
        admin = first_token(server)
        marked = []

        def mark(page):
            if page == 3 and not marked:
                store.execute(newer)
                marked.append(until_ready_is(server.url, 503))

        source.on_page = mark
        run = call(server.url, admin, "/runs", "POST", {"connection": "demo"})[1]["id"]
        deadline = time.monotonic() + ANSWER_S_MAX
        while (now := call(server.url, admin, f"/runs/{run}")[1])["status"] in ("queued", "running"):
            assert time.monotonic() < deadline, now
            time.sleep(0.2)
        assert now["status"] == "succeeded", now
        assert "newer weir" in marked[0]["detail"]
        status, told = call(server.url, admin, "/runs", "POST", {"connection": "demo"})
        assert status == 503 and "newer weir" in told["detail"], told
        store.execute("DELETE FROM _sqlx_migrations WHERE version = 9999")
        until_ready_is(server.url, 200)
    assert store.rows() == {"n": 600, "keys": 600}


def shift_clock(project, seconds):
    """As if the store's machine had another time."""
    with contextlib.closing(sqlite3.connect(project.folder / ".weir/weir.db", timeout=30)) as db:
        db.execute("DROP VIEW clock")
        db.execute(
            "CREATE VIEW clock AS SELECT CAST((unixepoch('now', 'subsec') + "
            f"{seconds}) * 1000 AS INTEGER) AS now_ms"
        )
        db.commit()


def test_clocks_that_differ_are_told(project):
    project.run("secret", "list")
    rows = {row["about"]: row for row in project.json("doctor")}
    assert rows["store's clock"]["ok"] == "ok"
    shift_clock(project, 120)
    done = project.run("doctor", "--format", "json", ok=False)
    row = next(row for row in json.loads(done.stdout) if row["about"] == "store's clock")
    assert done.returncode != 0 and row["ok"] == "WRONG" and "behind the store's" in row["found"], row
    assert "NTP" in row["next step"]
    with serving(project) as server:
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        value = next(line.split()[1] for line in lines if line.startswith("weir_store_clock_offset_seconds "))
        assert 110 < float(value) < 130
        server.terminate()
        said = server.communicate(timeout=ANSWER_S_MAX)[1]
    assert "clocks differ" in said and "NTP" in said, said


def test_a_port_in_the_clear_is_opened_to_others_only_on_purpose(project):
    refused = project.run("serve", "--listen", "0.0.0.0:0", ok=False, timeout=60)
    assert refused.returncode == 2 and "--tls-by-proxy" in refused.stderr, refused.stderr
    with contextlib.ExitStack() as stack:
        process = project.start("serve", "--listen", "0.0.0.0:0", "--tls-by-proxy")
        stack.callback(process.wait)
        stack.callback(process.terminate)
        assert process.stdout.readline().startswith("http://0.0.0.0:")


def test_no_picture_of_a_servers_memory_is_written(project):
    with serving(project) as server:
        proc = pathlib.Path(f"/proc/{server.pid}")
        limits = (proc / "limits").read_text().splitlines()
        core = next(line for line in limits if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"], core
        # The kernel gives what is not dumpable to root; to root's own it does so anyway.
        assert (proc / "limits").stat().st_uid == 0


@pytest.mark.parametrize(
    "line, says",
    [
        ("cron: '61 * * * *'", "is not a cron expression"),
        ("time_zone: Mars/Base", "there is no time zone"),
        ("attempts: 0", "0 attempts are not possible"),
        ("jitter: 3h", "later than they are to be done"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_named_with_its_line(project, source, line, says):
    text = connection(source.url) + f"schedule:\n  tier: standard\n  {line}\n"
    project.connection("demo", text)
    at = text.splitlines().index(f"  {line}") + 1
    for command in ("validate", "plan"):
        refused = project.run(command, ok=False)
        said = refused.stdout + refused.stderr
        assert refused.returncode == 3 and says in said, said
        assert f"connections/demo.yaml:{at}:3:" in said and "next:" in said, said
    # What a variable will say is not known here.
    project.connection("demo", connection(source.url) + "schedule: { cron: '${WHEN}' }\n")
    project.run("validate")


def test_nothing_is_applied_to_a_tenant_that_no_server_serves(project, source):
    project.connection("demo", connection(source.url))
    project.run("tenant", "create", "north")
    refused = project.run("apply", "--tenant", "north", "--yes", ok=False)
    assert refused.returncode == 2 and "tenant 'north'" in refused.stderr and "next:" in refused.stderr, refused.stderr
    assert project.run("token", "create", "boss", "--role", "admin", "--tenant", "north").stdout
    for tenant, records in (("north", 3), ("default", 0)):
        listed = project.json("audit", "list", "--tenant", tenant)
        assert len(listed) == records, listed
        assert project.json("audit", "verify", "--tenant", tenant)["records"] == records
    project.run("audit", "export", "--tenant", "north", "--output", "north.jsonl")
    assert project.json("audit", "verify", "--file", "north.jsonl")["records"] == 3
    assert project.run("audit", "list", "--tenant", "nroth", ok=False).returncode != 0
