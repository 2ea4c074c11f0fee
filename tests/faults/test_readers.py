"""Readers beside writers, archives that come back, and a state that does not grow."""

import json
import os
import random
import shutil
import sqlite3
import threading
import time

import deltalake
import polars
import pytest

from source import connection, record

STATE_BYTES_MAX = 64 << 10


def fill(source, count):
    source.records = [record(i, i // 10) for i in range(count)]


class Readers:
    """DuckDB and polars, each in a loop of its own: what they count and what goes wrong."""

    def __init__(self, duck, table):
        self.table, self.ended = str(table), threading.Event()
        self.counts, self.errors = [], []
        self.duck = duck.cursor()
        loops = [self.by_duck, self.by_polars]
        self.threads = [threading.Thread(target=self.loop, args=(read,), daemon=True) for read in loops]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)

    def loop(self, read):
        while not self.ended.is_set():
            try:
                self.counts.append(read())
            except Exception as error:  # noqa: BLE001
                self.errors.append(f"{read.__name__}: {error}")
            time.sleep(0.02)

    def by_duck(self):
        return self.duck.execute(
            f"SELECT count(*), count(DISTINCT id), sum(id)::BIGINT FROM delta_scan('{self.table}')"
        ).fetchone()

    def by_polars(self):
        frame = polars.read_delta(self.table, columns=["id"])
        return (len(frame), frame["id"].n_unique(), int(frame["id"].sum()))


def test_readers_see_only_what_was_committed(project, source, duck, seed, is_long):
    dice = random.Random(seed)
    fill(source, 400)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    table = project.silver("demo_records")
    deadline = time.monotonic() + float(os.environ.get("WEIR_READERS_S") or (60 if is_long else 8))
    steps, second = 0, 1000
    with Readers(duck, table) as readers:
        while time.monotonic() < deadline:
            fresh = len(source.records)
            for number in range(fresh, fresh + dice.randint(20, 120)):
                second += 1
                source.records.append(record(number, second))
            # Always later than all before, so that each version has the first so many records.
            for place in dice.sample(range(fresh), 20):
                second += 1
                source.records[place] = record(source.records[place]["id"], second, f"edit {steps}")
            source.records.sort(key=lambda r: (r["updated_at"], r["id"]))
            project.run("sync", "demo", "--checkpoint-rows", "50")
            project.run("lake", "compact", "demo_records")
            # A reader that holds a version is promised its files for so long.
            project.run("lake", "vacuum", "demo_records", "--keep", "30s")
            steps += 1
    assert not readers.errors, readers.errors[:3]
    assert len(readers.counts) > steps > 0
    allowed = set()
    newest = deltalake.DeltaTable(str(table))
    for version in range(newest.version() + 1):
        try:
            at = deltalake.DeltaTable(str(table), version=version).to_pyarrow_table(columns=["id"])["id"].to_pylist()
        except (deltalake.exceptions.DeltaError, FileNotFoundError, OSError):
            continue  # vacuumed since; the invariants below hold for it too
        allowed.add((len(at), len(set(at)), sum(at)))
    for count, ids, total in readers.counts:
        assert count == ids, "a reader saw a row twice"
        assert (count, ids, total) in allowed or total == sum(range(count)), (count, total)
    print(f"{steps} rounds of sync, compact, vacuum; {len(readers.counts)} reads, 0 errors")


def hashed(duck, table):
    names = sorted(name for name, *_ in duck.execute(f"DESCRIBE SELECT * FROM delta_scan('{table}')").fetchall())
    columns = ", ".join(f'"{name}"' for name in names)
    return duck.execute(f"SELECT count(*), sum(hash({columns})::HUGEINT) FROM delta_scan('{table}')").fetchone()


def test_an_archive_comes_back_as_it_was(project, source, duck, tmp_path):
    fill(source, 300)
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    first = deltalake.DeltaTable(str(project.silver("demo_records"))).version()
    at_first = hashed(duck, project.silver("demo_records"))
    for path in (project.lake / "bronze").rglob("*.zst"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    before = {path.relative_to(project.lake): path.read_bytes() for path in (project.lake / "bronze").rglob("*.zst")}
    project.run("lake", "retention", "--bronze", "30d", "--archive", tmp_path / "cold")
    assert not list((project.lake / "bronze").rglob("*.zst"))
    archived = {path.relative_to(tmp_path / "cold"): path.read_bytes() for path in (tmp_path / "cold").rglob("*.zst")}
    assert archived == before
    for path in archived:
        (project.lake / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tmp_path / "cold" / path, project.lake / path)
    project.run("reconcile", "demo", "--with", "bronze")
    project.run("lake", "rebuild", "demo", "records")
    assert hashed(duck, project.silver("demo_records")) == at_first
    source.records += [record(1000 + i, 5000 + i) for i in range(50)]
    project.run("sync", "demo")
    project.run("lake", "restore", "demo_records", "--to", first)
    assert hashed(duck, project.silver("demo_records")) == at_first


def sizes(project):
    """Bytes of a stream's state: in the control store, and in the newest commit of its table."""
    store = sqlite3.connect(f"file:{project.folder}/.weir/weir.db?mode=ro", uri=True)
    [stored] = store.execute("SELECT length(state) FROM states").fetchall()
    store.close()
    log = project.silver("demo_records") / "_delta_log"
    for commit in sorted(log.glob("*.json"), reverse=True):  # maintenance commits carry none
        domains = [json.loads(line).get("domainMetadata") for line in commit.read_text().splitlines()]
        if sizes := [len(domain["configuration"]) for domain in domains if domain]:
            return stored[0], max(sizes)
    raise AssertionError("no commit carries a state")


# A table remembers this many full refreshes, in one short line each.
REFRESHES_MAX = 1_000


@pytest.mark.parametrize("mode", ["incremental_merge", "full_refresh_replace", "full_refresh_merge"])
def test_the_state_does_not_grow_with_runs(project, source, mode, is_long):
    """10,000 runs by 300 and a line: what each further run adds, times the runs that add, stays below the limit."""
    fill(source, 40)
    project.connection("demo", connection(source.url, mode=mode))
    runs = 300 if is_long else 24
    seen = []
    for run in range(runs):
        source.records.append(record(100 + run, 100 + run))
        project.run("sync", "demo")
        seen.append(sizes(project))
    # The runs that wrote the newest checkpoints stand there too, sixteen at most.
    settled = max(runs // 3, 18)
    growth = [(last - first) / (runs - settled) for first, last in zip(seen[settled], seen[-1])]
    more = REFRESHES_MAX if mode.startswith("full") else 10_000
    ends = [last + more * each for last, each in zip(seen[-1], growth)]
    print(f"{mode}: state {seen[0]} bytes after one run, {seen[-1]} after {runs}; in 10,000: {ends}")
    assert max(ends) <= STATE_BYTES_MAX, (mode, seen[0], seen[settled], seen[-1], ends)
