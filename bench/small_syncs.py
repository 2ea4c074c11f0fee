#!/usr/bin/env python3
"""How a table reads after many small syncs, against the same table compacted (DuckDB's delta extension).

    .tools/py/bin/python bench/small_syncs.py WEIR [--syncs 2000] [--rows 20]
"""

import argparse
import os
import pathlib
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time

import deltalake
import duckdb

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

from project import make_project  # noqa: E402
from source import Source, connection, record  # noqa: E402

READS = 25


def opened():
    extension = pathlib.Path(sysconfig.get_paths()["purelib"]).glob(
        f"duckdb_ext/extensions/v{duckdb.__version__}/*/delta.duckdb_extension"
    )
    duck = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    duck.execute(f"LOAD '{next(extension)}'")
    return duck


def read(duck, table):
    """Seconds of wall and of CPU, the middle of several reads of every column, the log included."""
    sql = f"SELECT count(*), sum(id), sum(length(text)), max(nested.level), sum(hash(updated_at)) FROM delta_scan('{table}')"
    walls, cpus = [], []
    for _ in range(READS):
        before, cpu = time.perf_counter(), time.process_time()
        found = duck.execute(sql).fetchone()
        walls.append(time.perf_counter() - before)
        cpus.append(time.process_time() - cpu)
    return found, statistics.median(walls), statistics.median(cpus)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weir")
    parser.add_argument("--syncs", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-small-") as place, Source() as source:
        project = make_project(os.path.abspath(args.weir), pathlib.Path(place))
        project.connection("demo", connection(source.url, mode="incremental_merge"))
        began = time.perf_counter()
        for sync in range(args.syncs):
            first = sync * args.rows
            # The source keeps only what is new: a sync asks for what came since.
            source.records = source.records[-args.rows :] + [record(first + n, first + n) for n in range(args.rows)]
            project.run("sync", "demo")
        took = time.perf_counter() - began
        table, copy = project.silver("demo_records"), pathlib.Path(place) / "copy"
        shutil.copytree(table, copy)
        files = len(deltalake.DeltaTable(str(copy)).file_uris())
        project.run("lake", "compact", "demo_records")
        compacted = len(deltalake.DeltaTable(str(table)).file_uris())
        duck = opened()
        read(duck, table)
        # In turns, so that what else the machine does falls on both.
        turns = [(read(duck, copy), read(duck, table)) for _ in range(3)]
        assert all(one[0] == other[0] for one, other in turns), "the tables differ"
        assert turns[0][0][0][0] == args.syncs * args.rows, turns[0][0][0]
        walls = [min(turn[side][1] for turn in turns) for side in (0, 1)]
        cpus = [min(turn[side][2] for turn in turns) for side in (0, 1)]
        print(f"{args.syncs} syncs of {args.rows} rows in {took:.0f} s: {files} files, {compacted} compacted")
        print(f"read: {walls[0] * 1000:.1f} ms against {walls[1] * 1000:.1f} ms compacted ({walls[0] / walls[1]:.2f} times); "
              f"CPU {cpus[0] * 1000:.1f} against {cpus[1] * 1000:.1f} ms ({cpus[0] / cpus[1]:.2f} times)")


if __name__ == "__main__":
    main()
