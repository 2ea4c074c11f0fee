"""Backfills: a range that is read again beside the schedule, and moves no cursor."""

import time

from source import connection, record
from test_api import call, first_token
from test_serve import serving


def until(process, token, backfill, *ends):
    deadline = time.monotonic() + 90
    while True:
        now = call(process.url, token, f"/backfills/{backfill}")[1]
        if now["status"] in ends:
            return now
        assert time.monotonic() < deadline, now
        time.sleep(0.2)


def test_a_range_is_read_again_in_chunks_and_the_cursor_stays(project, source):
    source.records = [record(n, n) for n in range(40)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    state = project.json("state", "show", "demo")
    first, last = source.records[5]["updated_at"], source.records[24]["updated_at"]
    # The source corrects its past, without a newer cursor: no incremental run would see it.
    for n in range(40):
        source.records[n]["value"] = f"corrected {n}"
    with serving(project) as process:
        token = first_token(process)
        made = project.json("backfill", "demo", "--stream", "records", "--from", first, "--to", last)
        assert made["status"] == "running" and made["chunks"] == 1
        done = until(process, token, made["id"], "succeeded", "failed")
        assert done["status"] == "succeeded", done
        wanted = {"connection": "demo", "streams": ["records"], "from": first, "to": last, "chunk": "5s"}
        status, cut = call(process.url, token, "/backfills", "POST", wanted)
        assert status == 202 and cut["chunks"] >= 2, cut
        assert until(process, token, cut["id"], "succeeded", "failed")["done"] == cut["chunks"]
        runs = call(process.url, token, "/runs")[1]["items"]
        kinds = [run["kind"] for run in runs]
        assert kinds.count("backfill") == 1 + cut["chunks"]
    assert project.json("state", "show", "demo")[0]["state"] == state[0]["state"]
    rows = project.query("SELECT count(*) AS n, count(DISTINCT id) AS keys FROM demo_records")
    assert rows == [{"n": 40, "keys": 40}]
    corrected = project.query("SELECT count(*) AS n FROM demo_records WHERE value LIKE 'corrected%'")
    assert corrected == [{"n": 20}]
    # And the next incremental run goes on from where it was.
    source.records.append(record(40, 40))
    project.run("sync", "demo")
    assert project.query("SELECT count(*) AS n FROM demo_records") == [{"n": 41}]


def test_what_cannot_be_backfilled_says_why(project, source):
    source.records = [record(n, n) for n in range(3)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    asked = ["backfill", "demo", "--stream"]
    for args, code, says in [
        (["nothing", "--from", "2026-01-01", "--to", "2026-01-02"], 2, "its streams are"),
        (["records", "--from", "2026-01-02", "--to", "2026-01-01"], 2, "there is nothing"),
        (["records", "--from", "2000-01-01", "--to", "2026-01-01", "--chunk", "1m"], None, "chunks"),
    ]:
        refused = project.run(*asked, *args, ok=False)
        assert refused.returncode != 0 and says in refused.stderr, refused.stderr
        assert code is None or refused.returncode in (code, 1), refused.returncode
    assert project.json("backfill", "list") == []
