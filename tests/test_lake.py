"""The lake as other engines see it: all sync modes, S3, maintenance, rebuild, time travel."""

import os
import shutil

import deltalake
import polars
import pytest

from source import connection, record


def fill(source, count, start=0):
    source.records = [record(i, start + i) for i in range(count)]


def rows(duck, project, table, columns="id, name"):
    return duck.execute(f"SELECT {columns} FROM delta_scan('{project.silver(table)}') ORDER BY 1").fetchall()


def fingerprint(duck, project, table):
    """Row hashes of all data columns, as a set-like sum."""
    return duck.execute(
        f"""SELECT count(*), sum(hash(id, name, updated_at, nested, tags, text) % 1000000007)
            FROM delta_scan('{project.silver(table)}')"""
    ).fetchone()


def test_three_readers_agree_and_bronze_is_plain_jsonl(project, source, duck):
    fill(source, 1234)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    table = project.silver("demo_records")
    assert duck.execute(f"SELECT count(*), sum(id), sum(nested.level), sum(len(tags)) FROM delta_scan('{table}')").fetchone() == (
        1234,
        sum(range(1234)),
        sum(i % 7 for i in range(1234)),
        2468,
    )
    arrow = deltalake.DeltaTable(str(table)).to_pyarrow_table(columns=["id"])
    assert sorted(arrow["id"].to_pylist()) == list(range(1234))
    assert polars.read_delta(str(table)).select(polars.col("id").sum()).item() == sum(range(1234))
    bronze = duck.execute(
        f"SELECT count(*), sum((record->>'id')::INT), min(source) FROM read_json('{project.lake}/bronze/raw_demo_records/**/*.jsonl.zst', "
        "columns = {emitted_at: 'VARCHAR', source: 'VARCHAR', stream: 'VARCHAR', cursor: 'VARCHAR', record: 'JSON'})"
    ).fetchone()
    assert bronze == (1234, sum(range(1234)), "demo")


def test_a_second_sync_merges_changes_and_an_idle_one_commits_nothing(project, source, duck):
    fill(source, 500)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    source.records[10] = record(10, 900, name="changed")
    source.records.append(record(500, 901))
    source.records.sort(key=lambda r: r["updated_at"])
    project.run("sync", "demo")
    found = dict(rows(duck, project, "demo_records"))
    assert len(found) == 501 and found[10] == "changed"
    version = deltalake.DeltaTable(str(project.silver("demo_records"))).version()
    project.run("sync", "demo")
    assert deltalake.DeltaTable(str(project.silver("demo_records"))).version() == version


@pytest.mark.parametrize("mode", ["full_refresh_append", "full_refresh_replace", "full_refresh_merge", "full_refresh_history"])
def test_full_refresh_modes(project, source, duck, mode):
    fill(source, 300)
    project.connection("demo", connection(source.url, mode=mode))
    project.run("sync", "demo")
    source.records = source.records[50:]
    source.records[0] = record(50, 50, name="changed")
    project.run("sync", "demo")
    table = f"delta_scan('{project.silver('demo_records')}')"
    count = lambda where: duck.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]  # noqa: E731
    if mode == "full_refresh_append":
        assert count("true") == 550
    elif mode == "full_refresh_replace":
        assert count("true") == 250 and count("name = 'changed'") == 1
    elif mode == "full_refresh_merge":
        assert count("true") == 300 and count("_deleted_at IS NOT NULL") == 50
        assert count("name = 'changed' AND _deleted_at IS NULL") == 1
    else:
        assert count("true") == 301 and count("_is_current") == 250
        assert count("id = 50") == 2 and count("id = 50 AND _is_current AND name = 'changed'") == 1


@pytest.mark.parametrize("mode", ["incremental_append", "incremental_merge", "incremental_history"])
def test_incremental_modes_do_not_double_the_edge(project, source, duck, mode):
    fill(source, 250)
    project.connection("demo", connection(source.url, mode=mode))
    for step in range(3):
        project.run("sync", "demo")
        source.records.append(record(1000 + step, 1000 + step))
    table = f"delta_scan('{project.silver('demo_records')}')"
    assert duck.execute(f"SELECT count(*), count(DISTINCT id) FROM {table}").fetchone() == (252, 252)


def test_append_without_a_key_does_not_double_the_edge(project, source, duck):
    fill(source, 250)
    project.connection("demo", connection(source.url, mode="incremental_append", key="[]"))
    for step in range(3):
        project.run("sync", "demo")
        source.records.append(record(1000 + step, 249 + (step == 1)))
    table = f"delta_scan('{project.silver('demo_records')}')"
    assert duck.execute(f"SELECT count(*), count(DISTINCT id) FROM {table}").fetchone() == (252, 252)


def test_rebuild_compact_vacuum_and_time_travel(project, source, duck):
    fill(source, 400)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    first = deltalake.DeltaTable(str(project.silver("demo_records"))).version()
    for step in range(5):
        source.records[step] = record(step, 2000 + step, name=f"step {step}")
        source.records.append(record(3000 + step, 2000 + step))
        source.records.sort(key=lambda r: r["updated_at"])
        project.run("sync", "demo")
    before = fingerprint(duck, project, "demo_records")
    assert before[0] == 405
    project.run("lake", "compact", "demo_records")
    assert fingerprint(duck, project, "demo_records") == before
    assert len(deltalake.DeltaTable(str(project.silver("demo_records"))).file_uris()) == 1
    assert project.query("SELECT count(*) AS n FROM demo_records", "--as-of", str(first)) == [{"n": 400}]
    project.run("lake", "rebuild", "demo", "records")
    assert fingerprint(duck, project, "demo_records") == before
    project.run("lake", "vacuum", "demo_records")
    assert fingerprint(duck, project, "demo_records") == before
    project.run("sync", "demo")
    assert fingerprint(duck, project, "demo_records") == before


def test_schema_evolves_and_old_files_read_on(project, source, duck):
    fill(source, 200)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    for i in range(5):
        source.records.append({**record(500 + i, 5000 + i), "extra": {"a": i}, "id": 500 + i})
    source.records.append({**record(600, 6000), "nested": {"level": 1.5, "label": "half", "more": True}})
    source.records.append({**record(700, 7000), "name": ["not", "text"]})
    project.run("sync", "demo")
    table = f"delta_scan('{project.silver('demo_records')}')"
    assert duck.execute(f"SELECT count(*), count(extra), sum(extra.a) FROM {table}").fetchone()[1:] == (5, 10)
    assert duck.execute(f"SELECT nested.level FROM {table} WHERE id = 600").fetchone() == (1.5,)
    assert duck.execute(f"SELECT nested.level FROM {table} WHERE id = 3").fetchone() == (3.0,)


def test_a_lake_on_s3(project, source, s3):
    endpoint, bucket = s3
    config = (project.folder / "weir.yaml").read_text()
    assert "lake" in config
    project.write(
        "weir.yaml",
        f"""project: demo
lake:
  location: s3://{bucket}/lake
  options: {{ endpoint: {endpoint}, region: us-east-1, access_key_id: test, secret_access_key: test, allow_http: "true" }}
""",
    )
    fill(source, 700)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    source.records[3] = record(3, 5000, name="changed")
    source.records.sort(key=lambda r: r["updated_at"])
    project.run("sync", "demo")
    storage = {
        "endpoint_url": endpoint,
        "region": "us-east-1",
        "access_key_id": "test",
        "secret_access_key": "test",
        "allow_http": "true",
        "conditional_put": "etag",
    }
    table = deltalake.DeltaTable(f"s3://{bucket}/lake/silver/demo_records", storage_options=storage)
    found = table.to_pyarrow_table(columns=["id", "name"]).to_pydict()
    assert sorted(found["id"]) == list(range(700))
    assert dict(zip(found["id"], found["name"]))[3] == "changed"
    assert project.query("SELECT count(*) AS n FROM demo_records") == [{"n": 700}]


@pytest.mark.parametrize("mode", ["incremental_append", "incremental_merge", "incremental_history"])
def test_a_full_read_between_incremental_ones(project, source, duck, mode):
    fill(source, 250)
    project.connection("demo", connection(source.url, mode=mode))
    project.run("sync", "demo")
    project.run("sync", "demo", "--full")
    source.records.append(record(1000, 1000))
    project.run("sync", "demo")
    table = f"delta_scan('{project.silver('demo_records')}')"
    assert duck.execute(f"SELECT count(*), count(DISTINCT id) FROM {table}").fetchone() == (251, 251)


def test_a_full_refresh_of_which_nothing_fits_leaves_the_table_and_shows_its_books(project, source, duck):
    fill(source, 120)
    text = connection(source.url, mode="full_refresh_replace")
    project.connection("demo", text)
    project.run("sync", "demo")
    # The key is gone from every record: the vendor changed its answers.
    source.records = [{"number": i, "updated_at": r["updated_at"]} for i, r in enumerate(source.records)]
    for _ in range(2):
        done = project.run("sync", "demo", "--checkpoint-rows", "50", ok=False)
        assert done.returncode not in (0, 101), done.stderr
        assert "all 120 wait in quarantine" in done.stderr and "weir quarantine list" in done.stderr, done.stderr
        run = project.json("run", "list")[0]
        assert run["status"] == "failed"
        shown = project.json("run", "show", run["id"])["streams"][0]
        books = shown["books"]
        assert (books["read"], books["landed"], books["quarantined"]) == (120, 0, 120), shown
        assert shown["quarantine_reasons"], shown
        table = f"delta_scan('{project.silver('demo_records')}')"
        assert duck.execute(f"SELECT count(*) FROM {table}").fetchone() == (120,)
        assert project.json("quarantine", "list", "demo", "records")
    fill(source, 130)
    project.run("sync", "demo")
    assert duck.execute(f"SELECT count(*) FROM {table}").fetchone() == (130,)
    assert not project.json("quarantine", "list", "demo", "records")


def test_old_bronze_goes_to_the_archive_and_a_rebuild_knows_that_it_is_gone(project, source, duck, tmp_path):
    fill(source, 150)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    old = sorted(project.lake.joinpath("bronze").rglob("*.zst"))
    for path in old:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    source.records.append(record(1000, 1000))
    project.run("sync", "demo")
    cold = tmp_path / "cold"
    project.run("lake", "retention", "--bronze", "30d", "--archive", cold)
    left = sorted(project.lake.joinpath("bronze").rglob("*.zst"))
    assert left and not set(left) & set(old)
    assert len(list(cold.joinpath("bronze").rglob("*.zst"))) == len(old) > 0
    before = fingerprint(duck, project, "demo_records")
    done = project.run("lake", "rebuild", "demo", "records", ok=False)
    assert done.returncode != 0 and "--accept-loss" in done.stderr, done.stderr
    assert fingerprint(duck, project, "demo_records") == before
    for path in cold.joinpath("bronze").rglob("*.zst"):
        shutil.copy2(path, project.lake / path.relative_to(cold))
    project.run("lake", "rebuild", "demo", "records")
    assert fingerprint(duck, project, "demo_records") == before


def test_bronze_deleted_for_good_needs_consent_for_a_rebuild(project, source, duck):
    fill(source, 150)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    for path in project.lake.joinpath("bronze").rglob("*.zst"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    source.records.append(record(1000, 1000))
    project.run("sync", "demo")
    young = [path for path in project.lake.joinpath("bronze").rglob("*.zst") if path.stat().st_mtime > 1_700_000_000]
    project.run("lake", "retention", "--bronze", "30d", "--delete")
    assert list(project.lake.joinpath("bronze").rglob("*.zst")) == young
    table = f"delta_scan('{project.silver('demo_records')}')"
    done = project.run("lake", "rebuild", "demo", "records", ok=False)
    assert done.returncode != 0 and "--accept-loss" in done.stderr, done.stderr
    assert duck.execute(f"SELECT count(*) FROM {table}").fetchone() == (151,)
    project.run("lake", "rebuild", "demo", "records", "--accept-loss")
    left = duck.execute(f"SELECT count(*), max(id) FROM {table}").fetchone()
    assert left[0] < 151 and left[1] == 1000


def exploded(number, second, lines):
    made = [{"sku": f"s{number}-{i}", "count": number + i} for i in range(lines)]
    return {**record(number, second), "lines": made}


@pytest.mark.parametrize("mode", ["incremental_merge", "full_refresh_replace", "incremental_history"])
def test_child_tables_join_their_parents_for_other_engines(project, source, duck, mode):
    source.records = [exploded(i, i, i % 4) for i in range(200)]
    text = connection(source.url, mode=mode) + "      explode: [lines, tags]\n"
    project.connection("demo", text)
    project.run("sync", "demo")
    # One record loses lines, one gets some, one comes.
    source.records[7] = exploded(7, 300, 1)
    source.records[8] = exploded(8, 301, 5)
    source.records.append(exploded(200, 302, 2))
    source.records.sort(key=lambda r: r["updated_at"])
    project.run("sync", "demo")
    wanted = sorted((r["id"], i, line["sku"], line["count"]) for r in source.records for i, line in enumerate(r["lines"]))
    current = "WHERE p._is_current AND c._is_current" if mode.endswith("history") else ""
    parent, child = project.silver("demo_records"), project.silver("demo_records_lines")
    assert duck.execute(
        f"""SELECT p.id, c._index, c.sku, c.count FROM delta_scan('{parent}') p
            JOIN delta_scan('{child}') c ON c._parent_id = p.id {current} ORDER BY ALL"""
    ).fetchall() == wanted
    orphans = f"SELECT count(*) FROM delta_scan('{child}') WHERE _parent_id NOT IN (SELECT id FROM delta_scan('{parent}'))"
    assert duck.execute(orphans).fetchone() == (0,)
    parents, children = polars.read_delta(str(parent)), polars.read_delta(str(child))
    assert "lines" not in parents.columns and "tags" not in parents.columns
    if current:
        parents, children = (frame.filter(polars.col("_is_current")) for frame in (parents, children))
    joined = parents.join(children, left_on="id", right_on="_parent_id")
    assert sorted(joined.select("id", "_index", "sku", "count").rows()) == wanted
    tags = deltalake.DeltaTable(str(project.silver("demo_records_tags"))).to_pyarrow_table(columns=["_parent_id", "value"])
    assert set(tags["value"].to_pylist()) == {t for r in source.records for t in r["tags"]}


def test_rows_marked_as_gone_are_seen_by_nobody(project, source, duck):
    """A merge with deletion vectors leaves the files alone; weir and DuckDB leave the marked rows out."""
    fill(source, 1000)
    project.connection("demo", connection(source.url) + "      deletion_vectors: true\n")
    project.run("sync", "demo")
    table = project.silver("demo_records")
    before = {path.name for path in table.glob("*.parquet")}
    for number in range(0, 1000, 20):
        source.records[number] = record(number, 2000 + number, name=f"changed {number}")
    source.records.sort(key=lambda r: r["updated_at"])
    project.run("sync", "demo")
    assert before <= {path.name for path in table.glob("*.parquet")}
    assert len(list(table.glob("deletion_vector_*.bin"))) == 1
    found = dict(rows(duck, project, "demo_records"))
    assert len(found) == 1000 and found[40] == "changed 40" and found[41] == "name 41"
    assert deltalake.DeltaTable(str(table)).protocol().reader_features == ["deletionVectors"]
    counted = "select count(*), count(distinct id), sum(id), count(*) filter (where name like 'changed%') from demo_records"
    assert list(project.query(counted)[0].values()) == [1000, 1000, 499500, 50]
    project.run("lake", "compact", "demo_records")
    assert dict(rows(duck, project, "demo_records")) == found
    assert sorted(polars.read_delta(str(table))["id"].to_list()) == list(range(1000))
    project.run("lake", "rebuild", "demo", "records")
    assert dict(rows(duck, project, "demo_records")) == found
