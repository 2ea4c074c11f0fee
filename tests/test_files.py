"""The files connector on CSV, JSON Lines and Parquet made by DuckDB and polars, from a folder and from S3."""

import datetime
import decimal
import os

import polars
import pytest

ROWS = 5000


def frame():
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    return polars.DataFrame(
        {
            "id": range(ROWS),
            "name": [f"name, \"{i}\"\nline" if i % 50 == 0 else f"name {i}" for i in range(ROWS)],
            "amount": [i / 8 for i in range(ROWS)],
            "good": [None if i % 9 == 0 else i % 2 == 0 for i in range(ROWS)],
            "seen": [start + datetime.timedelta(minutes=i) for i in range(ROWS)],
            "code": [f"{i:06}" for i in range(ROWS)],
        }
    )


def files(path, streams, extra=""):
    lines = "\n".join(f"    - {{ name: {name}, pattern: '{pattern}', primary_key: [id] }}" for name, pattern in streams)
    return f"""connector: files
config:
  path: {path}
{extra}  streams:
{lines}
"""


def check(duck, table):
    scan = f"delta_scan('{table}')"
    count, ids, amounts, good, nulls = duck.execute(
        f"SELECT count(*), count(DISTINCT id), sum(amount), count_if(good), count_if(good IS NULL) FROM {scan}"
    ).fetchone()
    data = frame()
    assert (count, ids) == (ROWS, ROWS)
    assert amounts == pytest.approx(data["amount"].sum())
    assert good == data["good"].sum()
    assert nulls == data["good"].null_count()
    assert duck.execute(f"SELECT name FROM {scan} WHERE id = 50").fetchone() == ('name, "50"\nline',)
    assert duck.execute(f"SELECT code FROM {scan} WHERE id = 7").fetchone() == ("000007",)
    seconds = duck.execute(f"SELECT epoch(seen) FROM {scan} WHERE id = 61").fetchone()[0]
    assert seconds == datetime.datetime(2026, 1, 1, 1, 1, tzinfo=datetime.timezone.utc).timestamp()


def test_a_folder_of_three_formats(project, tmp_path, duck):
    data = tmp_path / "data"
    data.mkdir()
    made = frame()
    made.write_csv(data / "a.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    made.with_columns(polars.col("seen").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_ndjson(data / "b.jsonl")
    duck.register("made", made.to_arrow())
    duck.execute(f"COPY made TO '{data}/c.parquet' (FORMAT parquet, ROW_GROUP_SIZE 1000)")
    duck.unregister("made")
    project.connection("files", files(data, [("csvs", "*.csv"), ("lines", "*.jsonl"), ("parquets", "*.parquet")]))
    project.run("check", "files")
    project.run("sync", "files")
    for stream in ("csvs", "lines", "parquets"):
        check(duck, project.silver(f"files_{stream}"))

    # Nothing changed: the second sync reads no record.
    project.run("sync", "files")
    check(duck, project.silver("files_csvs"))


def test_nested_parquet_keeps_its_types(project, tmp_path, duck):
    data = tmp_path / "data"
    data.mkdir()
    duck.execute(
        f"""COPY (SELECT i AS id, {{'a': i, 'b': [i, i + 1]}} AS pair, [{{'k': 'x' || i}}] AS list,
                   (i / 4)::DECIMAL(18, 4) AS price, DATE '2026-02-03' AS day, TIMESTAMP '2026-02-03 04:05:06.789' AS local
            FROM range(300) t(i)) TO '{data}/nested.parquet' (FORMAT parquet)"""
    )
    project.connection("files", files(data, [("nested", "*.parquet")]))
    project.run("sync", "files")
    row = duck.execute(
        f"SELECT pair.b[2], list[1].k, price, day FROM delta_scan('{project.silver('files_nested')}') WHERE id = 9"
    ).fetchone()
    assert row[:2] == (10, "x9")
    assert decimal.Decimal(row[2]) == decimal.Decimal("2.25")
    assert row[3] == datetime.date(2026, 2, 3)


def test_bad_lines_wait_in_quarantine(project, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "events.jsonl").write_text('{"id": 1}\nnot json\n{"id": 2}\n[3]\n')
    project.connection("files", files(data, [("events", "*.jsonl")]))
    project.run("sync", "files")
    assert project.query("SELECT id FROM files_events ORDER BY id") == [{"id": 1}, {"id": 2}]
    held = project.run("quarantine", "list", "files").stdout
    assert "2" in held


@pytest.mark.parametrize("mode", ["full_refresh_replace", "full_refresh_append"])
def test_a_read_that_was_cut_off_begins_anew_where_its_file_changed(project, tmp_path, duck, mode):
    """No key tells rows of the old file from those of the new one: none of the old may stay."""
    data = tmp_path / "data"
    data.mkdir()
    file = data / "many.jsonl"
    file.write_text("".join(f'{{"n": {n}, "era": "old"}}\n' for n in range(120_000)))
    project.connection(
        "files", f"connector: files\nconfig:\n  path: {data}\nstreams:\n  many: {{ mode: {mode} }}\n"
    )
    point = {"WEIR_FAILPOINT": "control.before_finish:1"}
    died = project.run("sync", "files", "--checkpoint-rows", "40000", ok=False, env=point)
    assert died.returncode != 0
    file.write_text("".join(f'{{"n": {n}, "era": "new"}}\n' for n in range(60_000)))
    done = project.run("sync", "files")
    if mode == "full_refresh_replace":
        assert "begun anew" in done.stdout + done.stderr, done.stderr

    def rows():
        scan = f"delta_scan('{project.silver('files_many')}')"
        return duck.execute(f"SELECT count(*), count(DISTINCT n), min(era) FROM {scan}").fetchone()

    assert rows() == (60_000, 60_000, "new")
    # Nor does Bronze have any.
    project.run("lake", "rebuild", "files", "many")
    assert rows() == (60_000, 60_000, "new")


def test_from_s3(project, s3, duck):
    endpoint, bucket = s3
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(keys)
    frame().write_parquet(
        f"s3://{bucket}/in/part.parquet",
        storage_options={
            "aws_endpoint_url": endpoint,
            "aws_allow_http": "true",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "aws_region": "us-east-1",
        },
    )
    project.connection(
        "files",
        files(f"s3://{bucket}/in", [("parts", "*.parquet")], f"  endpoint: {endpoint}\n  region: us-east-1\n")
        + "allow_private_hosts: true\n"
        + "credential: { access_key_id: test, secret_access_key: test }\n",
    )
    project.run("sync", "files")
    check(duck, project.silver("files_parts"))
