"""The demo's own claims, checked by other engines on the folder that it leaves."""

import json
import pathlib

import deltalake
import polars


def columns_of(duck, table):
    described = duck.execute(f"DESCRIBE SELECT * FROM delta_scan('{table}')").fetchall()
    return [name for name, *_ in described]


def test_the_demo_tables_read_back_equal(project, duck, tmp_path):
    kept = tmp_path / "demo"
    done = project.run("demo", "--keep", kept, timeout=600)
    assert "GITHUB_TOKEN" in done.stdout, "the one command for a real repository is missing"
    silver = sorted(path.parent for path in pathlib.Path(kept).rglob("silver/*/_delta_log"))
    assert {"github_issues", "github_issue_comments"} <= {table.name for table in silver}, silver
    for table in silver:
        keys = ["id"] if "id" in columns_of(duck, table) else columns_of(duck, table)[:1]
        by_duck = duck.execute(f"SELECT count(*), count(DISTINCT {keys[0]}) FROM delta_scan('{table}')").fetchone()
        by_polars = polars.read_delta(str(table))
        by_delta_rs = deltalake.DeltaTable(str(table)).to_pyarrow_table()
        assert by_duck[0] == by_polars.height == by_delta_rs.num_rows, table
        assert by_duck[1] == by_polars[keys[0]].n_unique() == by_duck[0], f"{table} has a key twice"
        # Row by row: every column as JSON text, by two readers.
        left = duck.execute(f"SELECT to_json(t)::VARCHAR FROM delta_scan('{table}') t ORDER BY {keys[0]}").fetchall()
        duck.register("other", by_delta_rs)
        right = duck.execute(f"SELECT to_json(t)::VARCHAR FROM other t ORDER BY {keys[0]}").fetchall()
        duck.unregister("other")
        assert [json.loads(row) for (row,) in left] == [json.loads(row) for (row,) in right], table
    gold = sorted(path.parent for path in pathlib.Path(kept).rglob("gold/*/_delta_log"))
    assert len(gold) >= 2, gold
    for table in gold:
        assert duck.execute(f"SELECT count(*) FROM delta_scan('{table}')").fetchone()[0] > 0
