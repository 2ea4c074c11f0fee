"""Each bad input gets a clear message with the next step and its exit code; no record is lost."""

import json
import pathlib

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


def test_a_version_whose_files_are_gone_says_so(project, source):
    source.records = [record(i, i) for i in range(20)]
    project.connection("demo", connection(source.url, mode="full_refresh_replace"))
    project.run("sync", "demo")
    first = project.json("lake", "tables")[0]["version"]
    source.records = [record(i, i, name="new") for i in range(20)]
    project.run("sync", "demo")
    for file in oldest_files(project):
        file.unlink()
    done = refuse(project, 5, "query", "SELECT * FROM demo_records", "--as-of", first, says=["vacuum", "--as-of"])
    assert "rebuild" not in done.stderr


def oldest_files(project):
    """The data files that the newest version no longer names."""
    import deltalake

    table = deltalake.DeltaTable(str(project.silver("demo_records")))
    live = {pathlib.Path(path).name for path in table.file_uris()}
    return [path for path in project.silver("demo_records").rglob("*.parquet") if path.name not in live]


def test_a_preview_shows_personal_fields_as_silver_does(project, source):
    source.records = [{"id": 1, "email": "ann@example.com", "user": {"phone": "555", "n": 1}}]
    pii = "streams: { records: { pii: { email: hash, user.phone: drop } } }\n"
    project.connection("demo", connection(source.url, cursor=False, extra=pii))
    for args in ((), ("--format", "json"), ("--format", "csv")):
        shown = project.run("preview", "demo", "records", *args).stdout
        assert "ann@" not in shown and "555" not in shown, shown
    [shown] = project.json("preview", "demo", "records")
    project.run("sync", "demo")
    [stored] = project.query("SELECT email FROM demo_records")
    assert shown["email"] == stored["email"]


def test_a_damaged_compressed_answer_is_named(project, source):
    def fault(handler, path, *_):
        if path == "/records":
            handler.send(200, b"\x1f\x8b\x08\x00garbage that is no gzip", {"Content-Encoding": "gzip"})
            return True

    source.faults.append(fault)
    project.connection("demo", connection(source.url))
    refuse(project, 4, "sync", "demo", says=["compressed", "damaged"])


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("path: /records", "pathh: /records", ["demo.yaml:10:7", "unknown field `pathh`", "did you mean 'path'?"]),
        ("order: ascending", "order: upward", ["demo.yaml:13:", "upward", "expected one of ascending, descending"]),
        ("  base_url:", "  base_ulr:", ["demo.yaml:6:3", "base_ulr", "did you mean 'base_url'?"]),
        ("value: 100", "value: many", ["demo.yaml:11:"]),
    ],
)
def test_settings_that_describe_an_api_are_named_with_their_line(project, source, old, new, says):
    project.connection("demo", broken(source, old, new))
    refuse(project, 3, "sync", "demo", says=says)
    done = project.run("validate", ok=False)
    assert says[0] in done.stdout, done.stdout


def test_a_single_stream_in_the_settings_is_named_with_its_line(project, source):
    text = f"connector: http_json\nallow_private_hosts: true\nconfig:\n  base_url: {source.url}\n  path: /records\n"
    project.connection("demo", text + "  cursor: { feild: updated_at }\n")
    refuse(project, 3, "sync", "demo", says=["demo.yaml:6:13", "feild", "did you mean 'field'?"])
    project.connection("demo", text + "  selects: data\n")
    refuse(project, 3, "sync", "demo", says=["demo.yaml:6:3", "did you mean 'select'?"])
    source.records = [record(1, 1)]
    project.connection("demo", text)
    project.run("sync", "demo")


def test_validate_refuses_what_a_sync_would_refuse(project, source):
    source.records = [record(1, 1)]
    for extra, word in (
        ("streams: { records: { partition_by: ['week(updated_at)'] } }\n", "week"),
        ("streams: { records: { pii: { id: drop } } }\n", "id"),
    ):
        project.connection("demo", connection(source.url, extra=extra))
        refuse(project, 3, "sync", "demo", says=[word])
        done = project.run("validate", ok=False)
        assert done.returncode == 3 and word in done.stdout, done.stdout


def test_validate_refuses_exploding_without_a_key(project, source):
    source.records = [{"id": 1, "items": [{"a": 1}]}]
    key = "      primary_key: [id]\n"
    text = connection(source.url, cursor=False)
    assert key in text
    project.connection("demo", text.replace(key, "      explode: [items]\n"))
    refuse(project, 3, "sync", "demo", says=["explodes 'items'", "primary_key: [id]"])
    done = project.run("validate", ok=False)
    assert done.returncode == 3 and "explodes 'items'" in done.stdout, done.stdout
    project.connection("demo", text.replace(key, key + "      explode: [items]\n"))
    assert project.run("validate").returncode == 0


def test_a_failed_cast_waits_in_quarantine(project, source):
    source.records = [{"id": 1, "n": "1"}, {"id": 2, "n": "two"}, {"id": 3, "n": "3"}]
    text = connection(source.url, cursor=False).replace(
        "      primary_key", "      transform: [{ cast: { n: integer } }, { rename: { n: count } }]\n      primary_key"
    )
    project.connection("demo", text)
    project.run("sync", "demo")
    assert project.query("SELECT id, count FROM demo_records ORDER BY id") == [
        {"id": 1, "count": 1},
        {"id": 3, "count": 3},
    ]
    [held] = project.json("quarantine", "list", "demo")
    assert "cast" in held["reason"] and "integer" in held["reason"] and "count" in held["reason"]
    project.run("lake", "rebuild", "demo", "records")
    assert project.query("SELECT count(*) AS n FROM demo_records") == [{"n": 2}]


def test_a_connectors_models_follow_the_connections_source(project, source):
    source.records = [record(i, i) for i in range(10)]
    host = source.url.removeprefix("http://")
    project.write(
        "connectors/shop/connector.yaml",
        "spec: 1\nconnector: shop\nversion: 1.0.0\nname: { en: Shop }\n"
        f"hosts: ['{host}']\nhttp: {{ base_url: '{source.url}' }}\n"
        "streams:\n  - { name: records, entity: orders, path: /records, primary_key: [id] }\n",
    )
    project.write("connectors/shop/README.md", "# Shop\n")
    project.write(
        "connectors/shop/gold/gold_sales_orders.sql",
        "/* weir\nmaterialize: table\n*/\nselect count(*) as n, 'shop_orders' as said from shop_orders\n",
    )
    for name in ("one", "two"):
        project.connection(name, f"connector: shop\nsource: shop_{name}\nallow_private_hosts: true\n")
        project.run("sync", name)
    project.run("model", "run")
    for name in ("one", "two"):
        assert project.query(f"SELECT * FROM gold_sales_orders_shop_{name}") == [{"n": 10, "said": "shop_orders"}]
