"""Each bad input gets a clear message with the next step and its exit code; no record is lost."""

import json

import pytest

from source import connection, record, stamp


def refuse(project, code, *args, says=()):
    done = project.run(*args, ok=False)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert "next:" in done.stderr, done.stderr
    for word in says:
        assert word in done.stderr, f"'{word}' is not in: {done.stderr}"
    return done


def broken(source, old, new):
    text = connection(source.url)
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    "old, new, code, says",
    [
        ("config:", "config: [", 3, ["demo.yaml"]),
        ("connector: http_json", "conector: http_json", 3, ["demo.yaml:1", "connector"]),
        ("path: /records", "pathh: /records", 3, ["pathh", "path"]),
        ("path: /records", "path: '/records/{{ config.nothing }}'", 3, ["nothing"]),
        ("path: /records", "path: '/records/{{ config.base_url'", 3, ["{{"]),
        ("allow_private_hosts: true", "allow_private_hosts: false", 7, ["allow_private_hosts"]),
        ("path: /records", "path: http://example.invalid/x", 7, ["example.invalid", "hosts"]),
        ("primary_key: [id]", "primary_key: [id]\n      select: data.items", 4, ["data.items"]),
        ("path: /records", "path: /nowhere", 4, ["404"]),
        ("connector: http_json", "connector: http_jsom", 3, ["http_json"]),
    ],
)
def test_wrong_files(project, source, old, new, code, says):
    source.records = [record(i, i) for i in range(10)]
    project.connection("demo", broken(source, old, new))
    refuse(project, code, "sync", "demo", says=says)


@pytest.mark.parametrize("status, code, says", [(401, 6, ["401"]), (403, 6, ["403"])])
def test_refused_credentials(project, source, status, code, says):
    source.faults.append(lambda handler, *_: handler.send(status, {"message": "no"}) or True)
    project.connection("demo", connection(source.url))
    refuse(project, code, "sync", "demo", says=says)


def test_missing_credential(project):
    project.connection("github", "connector: github\nconfig: { repository: a/b }\ncredential: { method: bearer }\n")
    refuse(project, 6, "check", "github", says=["token"])


def test_unset_variable(project):
    project.connection(
        "github",
        "connector: github\nconfig: { repository: a/b }\ncredential: { method: bearer, token: '${NO_SUCH_TOKEN}' }\n",
    )
    refuse(project, 3, "check", "github", says=["NO_SUCH_TOKEN"])


def test_an_html_answer(project, source):
    def fault(handler, *_):
        handler.send(200, b"<!doctype html><title>Log in</title>", {"Content-Type": "text/html"})
        return True

    source.faults.append(fault)
    project.connection("demo", connection(source.url))
    refuse(project, 4, "sync", "demo", says=["HTML"])


def test_records_that_do_not_fit_wait_in_quarantine(project, source):
    source.records = [record(i, i) for i in range(50)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")  # the types are known from here on
    bad = [record(100, 100), record(101, 101), record(102, 102)]
    del bad[0]["id"]
    bad[1]["id"] = "text"
    bad[2]["nested"] = "flat"
    source.records += bad
    project.run("sync", "demo")
    assert project.query("SELECT count(*) AS n FROM demo_records") == [{"n": 50}]
    runs = project.json("run", "list")
    shown = project.run("run", "show", runs[0]["id"]).stdout
    assert "quarantined" in shown and "3" in shown
    listed = project.run("quarantine", "list", "demo").stdout
    assert "id" in listed and "missing" in listed


def test_cursor_missing_or_unparsable_loses_no_record(project, source):
    source.records = [record(i, i) for i in range(50)]
    del source.records[5]["updated_at"]
    source.records[6]["updated_at"] = "yesterday"
    source.records[7]["updated_at"] = None
    project.connection("demo", connection(source.url))
    done = project.run("sync", "demo")
    landed = project.query("SELECT count(*) AS n FROM demo_records")[0]["n"]
    held = project.query("SELECT count(*) AS n FROM bronze.raw_demo_records")[0]["n"]
    assert held == 50
    assert landed >= 49
    assert "cursor" in done.stderr + done.stdout


def test_a_frozen_stream_stops_on_a_new_field(project, source):
    source.records = [record(i, i) for i in range(50)]
    project.connection("demo", connection(source.url, extra="streams: { records: { contract: freeze } }\n"))
    project.run("sync", "demo")
    source.records.append({**record(60, 60), "surprise": 1})
    refuse(project, 7, "sync", "demo", says=["surprise"])
    assert project.query("SELECT count(*) AS n FROM demo_records") == [{"n": 50}]


def test_usage_errors(project):
    assert project.run("snyc", ok=False).returncode == 2
    refuse(project, 1, "sync", "nothing", says=["nothing"])


def test_a_query_that_writes_is_refused(project, source):
    source.records = [record(i, i) for i in range(5)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    for sql in ("DELETE FROM demo_records", "COPY demo_records TO '/tmp/x.csv'", "SELECT 1; SELECT 2"):
        assert project.run("query", sql, ok=False).returncode != 0
    refuse(project, 1, "query", "SELECT * FROM demo_record", says=["demo_records"])


def test_reading_from_beyond_the_stored_cursor_is_refused(project, source):
    source.records = [record(i, i) for i in range(20)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    source.records += [record(i, i) for i in range(20, 30)]
    refuse(
        project, 2, "sync", "demo", "--from", stamp(25), says=["2026-01-01T00:00:25Z", "2026-01-01T00:00:19Z", "weir state set"]
    )
    project.run("sync", "demo", "--from", stamp(10))
    assert project.query("SELECT count(*) AS n FROM demo_records") == [{"n": 30}]
    refuse(project, 2, "sync", "demo", "--from", stamp(10), "--full")


def test_a_full_read_says_what_it_does_first(project, source):
    source.records = [record(i, i) for i in range(20)]
    project.connection("demo", connection(source.url, mode="incremental_append"))
    project.run("sync", "demo")
    done = project.run("sync", "demo", "--full")
    assert "incremental_append as full_refresh_replace" in done.stdout
    assert done.stdout.index("is replaced") < done.stdout.index("run ")
    assert project.query("SELECT count(*) AS n FROM demo_records") == [{"n": 20}]
    assert json.loads(project.run("sync", "demo", "--full", "--format", "json").stdout)


def test_words_are_not_booleans(project, source):
    source.records = [{"id": 1, "country": "no"}, {"id": 2, "country": "se"}]
    text = connection(source.url, cursor=False).replace(
        "      primary_key", "      params: { country: no, flag: on }\n      primary_key"
    )
    project.connection("demo", text)
    project.run("sync", "demo")
    assert source.requests[-1][1]["country"] == "no"
    assert source.requests[-1][1]["flag"] == "on"


@pytest.mark.parametrize(
    "args",
    [
        ("--memory", "1B"),
        ("--streams-at-once", "0"),
        ("--checkpoint-rows", "0"),
        ("--checkpoint-bytes", "1B"),
        ("--checkpoint-age", "0s"),
        ("--memory", "much"),
    ],
)
def test_nonsense_in_the_arguments(project, source, args):
    project.connection("demo", connection(source.url))
    refuse(project, 2, "sync", "demo", *args, says=[args[0], "weir sync --help"])
    done = refuse_json(project, 2, "sync", "demo", *args)
    assert done["next"] and done["kind"] == "usage"


def refuse_json(project, code, *args):
    done = project.run(*args, "--log-format", "json", ok=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def test_a_cursor_set_by_hand_must_be_one(project, source):
    source.records = [record(i, i) for i in range(5)]
    project.connection("demo", connection(source.url))
    refuse(project, 2, "state", "set", "demo", "records", "--cursor", "garbage", says=["garbage", "updated_at"])
    project.run("state", "set", "demo", "records", "--cursor", "2026-01-01")
    project.connection("flat", connection(source.url, cursor=False).replace("source: demo", "source: flat"))
    refuse(project, 2, "state", "set", "flat", "records", "--cursor", "2026-01-01", says=["no cursor"])


def test_every_failure_of_a_source_is_a_message(project):
    project.write("config.json", "{}")
    for args in (
        ("--manifest", "nope", "spec"),
        ("--manifest", "nope", "check", "--config", "config.json"),
        ("spec",),
        ("--manifest", "nope", "raed"),
    ):
        done = project.run("source", *args, ok=False)
        assert done.returncode == 1, done.stderr
        messages = [json.loads(line) for line in done.stdout.splitlines()]
        assert messages[-1]["type"] == "TRACE", done.stdout
        assert messages[-1]["trace"]["error"]["message"]
        assert done.stderr == ""


def test_an_error_names_each_value_once_and_nothing_else(project, source):
    source.records = [record(i, i) for i in range(5)]
    project.connection("demo", broken(source, "path: /records", "path: /nowhere"))
    done = refuse(project, 4, "sync", "demo")
    lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(lines) == len(set(lines)), done.stderr
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    done = project.run("query", "SELECT * FROM demo_records", "--as-of", "999", ok=False)
    assert done.returncode != 0
    assert "ERROR" not in done.stderr, done.stderr
    assert "next:" in done.stderr
