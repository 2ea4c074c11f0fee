"""100 faults planted in Silver by another writer, one row each: every one is found by `weir reconcile`."""

import json
import pathlib
import random
import time

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pytest

from world import MODES, World

FAULTS = 100
KINDS = ["deleted", "doubled", "altered", "altered deep", "altered lineage"]


def plant(path, dice, kind):
    """Writes the table anew with one row changed, as any Delta writer could. Answers with what was done."""
    table = deltalake.DeltaTable(str(path))
    rows = table.to_pyarrow_table()
    at = dice.randrange(rows.num_rows)
    one = rows.slice(at, 1)
    if kind == "deleted":
        rows = pa.concat_tables([rows.slice(0, at), rows.slice(at + 1)])
    elif kind == "doubled":
        rows = pa.concat_tables([rows, one])
    else:
        value = one.to_pylist()[0]
        if kind == "altered":
            column = dice.choice(["name", "text", "updated_at", "created_at"])
            old = value[column]
            value[column] = old[:-1] + chr(ord(old[-1]) ^ 1) if isinstance(old, str) else old.replace(microsecond=1)
        elif kind == "altered deep":
            if dice.random() < 0.5:
                value["nested"]["level"] += 1
            else:
                value["tags"] = [*value["tags"], "more"]
        else:
            value["_cursor"] = (value["_cursor"] or "") + " "
        changed = pa.Table.from_pylist([value], schema=rows.schema)
        rows = pa.concat_tables([rows.slice(0, at), changed, rows.slice(at + 1)])
    return one["id"][0].as_py(), overwrite(table, rows)


def overwrite(table, rows):
    """One more commit, by hand: delta-rs does not write tables whose log carries domains. Partitions: none."""
    path = pathlib.Path(table.table_uri.removeprefix("file://"))
    pyarrow.parquet.write_table(rows, path / "planted.parquet")
    now = int(time.time() * 1000)
    gone = [pathlib.Path(uri).relative_to(path) for uri in table.file_uris()]
    lines = [{"remove": {"path": str(old), "deletionTimestamp": now, "dataChange": True}} for old in gone]
    stats = json.dumps({"numRecords": rows.num_rows})
    size = (path / "planted.parquet").stat().st_size
    lines.append({"add": {"path": "planted.parquet", "partitionValues": {}, "size": size, "modificationTime": now,
                          "dataChange": True, "stats": stats}})
    log = path / "_delta_log" / f"{table.version() + 1:020}.json"
    log.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return log


EXPECTED = {
    "deleted": ("not in silver", 1),
    "doubled": ("doubled", 1),
    "altered": ("altered", 1),
    "altered deep": ("altered", 1),
    "altered lineage": ("altered", 1),
}


def reconcile(world, *args):


    done = world.project.run("reconcile", "demo", *args, "--format", "json", ok=False)
    assert done.returncode in (0, 7), done.stderr
    return done.returncode, json.loads(done.stdout)[0]


@pytest.mark.parametrize("mode", ["merge", "history", "append"])
def test_every_planted_fault_is_found(binary, tmp_path, duck, mode, seed, is_long):
    if mode != "merge" and not is_long:
        pytest.skip("one mode is enough within make test")
    dice = random.Random(f"{seed}{mode}")
    world = World(binary, tmp_path, duck, dice, mode)
    try:
        world.sync()
        world.change(40)
        world.sync()
        assert reconcile(world, "--with", "bronze")[0] == 0
        path = world.project.silver("demo_records")
        found = []
        count = FAULTS if is_long and mode == "merge" else 10 if is_long else 5
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            planted, log = plant(path, dice, kind)
            code, told = reconcile(world, "--with", "bronze")
            column, wanted = EXPECTED[kind]
            found.append(code == 7 and told[column] == wanted)
            assert found[-1], (seed, number, kind, planted, told)
            log.unlink()
        assert sum(found) == count
        assert reconcile(world, "--with", "bronze")[0] == 0
    finally:
        world.close()


def test_a_hundred_faults_at_once_are_all_counted(binary, tmp_path, duck, seed):
    """Each in a row of its own, so that the counts must come to exactly what was planted."""
    dice = random.Random(seed)
    world = World(binary, tmp_path, duck, dice, "merge")
    try:
        world.grow(200)
        world.sync()
        path = world.project.silver("demo_records")
        table = deltalake.DeltaTable(str(path))
        rows = table.to_pyarrow_table()
        chosen = dice.sample(range(rows.num_rows), FAULTS)
        deleted, doubled, altered = chosen[:33], chosen[33:66], chosen[66:]
        values = rows.to_pylist()
        for at in altered:
            values[at]["nested"]["level"] += 1000
        kept = [value for at, value in enumerate(values) if at not in set(deleted)]
        kept += [values[at] for at in doubled]
        overwrite(table, pa.Table.from_pylist(kept, schema=rows.schema))
        code, told = reconcile(world)
        assert code == 7
        counts = (told["missing"], told["not in silver"], told["doubled"], told["altered"], told["not in bronze"])
        assert counts == (33, 33, 33, 34, 0), told
        world.project.run("lake", "rebuild", "demo", "records")
        world.check()
    finally:
        world.close()


@pytest.mark.parametrize("mode", list(MODES))
def test_nothing_is_found_where_nothing_was_planted(binary, tmp_path, duck, mode, seed, is_long):
    if mode not in ("history", "refresh_merge", "children") and not is_long:
        pytest.skip("three modes are enough within make test")
    dice = random.Random(f"{seed}{mode}")
    world = World(binary, tmp_path, duck, dice, mode)
    try:
        for _ in range(3):
            world.sync()
            world.change(30)
        world.spoil(3) if mode == "merge" else None
        world.sync()
        code, told = reconcile(world, "--with", "bronze")
        assert code == 0 and told["unproven"] == 0, told
        assert not list(world.project.silver("demo_records").glob("c*/")), "something of the comparison stays"
        if mode == "children":
            child = deltalake.DeltaTable(str(world.project.silver("demo_records_lines")))
            rows = child.to_pyarrow_table()
            one_more = pc.add(rows["count"], pa.array([1] + [0] * (rows.num_rows - 1)))
            changed = rows.set_column(rows.schema.get_field_index("count"), "count", one_more)
            overwrite(child, changed)
            code, told = reconcile(world, "--with", "bronze")
            assert code == 7 and told["altered"] == 1, told
    finally:
        world.close()
