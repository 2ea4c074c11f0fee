"""A source, a project, and what the lake must hold of them: the model that every fault test compares with.

The model is plain Python over the records that the source had when a sync came to its end. It knows nothing of
checkpoints; whatever died in between, the lake must come to what it says.
"""

import copy
import itertools
import json
import signal
import sqlite3

import pyarrow

from project import Project, make_project
from source import BY_LINK, BY_MARK, Source, connection, stamp

ENTITY = "demo_records"
DATA = "id, name, updated_at, nested.level"
GOLD = "gold_test_buckets"
GOLD_SQL = """/* weir
materialize: {materialize}
unique_key: [bucket]
checks: [{{ unique: [bucket] }}]
*/
select id % 7 as bucket, count(*) as n, sum(id) as ids, count(distinct name) as names from demo_records group by 1
"""

# name: (sync mode, further lines of the stream, key, paging)
MODES = {
    "merge": ("incremental_merge", "", "[id]", BY_LINK),
    "append": ("incremental_append", "", "[id]", BY_LINK),
    "append_keyless": ("incremental_append", "", "[]", BY_LINK),
    "history": ("incremental_history", "", "[id]", BY_LINK),
    "replace": ("full_refresh_replace", "", "[id]", BY_MARK),
    "refresh_append": ("full_refresh_append", "", "[id]", BY_MARK),
    "refresh_merge": ("full_refresh_merge", "", "[id]", BY_MARK),
    "children": ("incremental_merge", "      explode: [lines]\n", "[id]", BY_LINK),
    "vectors": ("incremental_merge", "      deletion_vectors: true\n", "[id]", BY_LINK),
    "partitioned": ("incremental_merge", "      partition_by: [month(created_at)]\n", "[id]", BY_LINK),
}
MERGES = {"merge", "children", "vectors", "partitioned", "refresh_merge"}
# Sorts by time; the second of creation is days apart, so that partitions differ.
DAY = 86_400


def made(number, second, version=0):
    return {
        "id": number,
        "name": f"name {number}.{version}",
        "updated_at": stamp(second),
        "created_at": stamp((number % 90) * DAY),
        "nested": {"level": (number * 31 + version) % 97},
        "tags": [f"t{number % 5}"],
        "lines": [{"sku": f"s{number}-{i}", "count": number + version + i} for i in range((number + version) % 4)],
        "text": "x" * 40,
    }


def row(record):
    return (record["id"], record["name"], record["updated_at"], record["nested"]["level"])


class World:
    """One scenario: its own folder, its own source, one stream in one mode."""

    def __init__(self, binary, folder, duck, dice, mode, contract="evolve"):
        self.dice, self.mode, self.duck = dice, mode, duck.cursor()
        self.duck.execute("SET TimeZone = 'UTC'")
        self.project: Project = make_project(binary, folder)
        self.source = Source().__enter__()
        self.page, self.second, self.ids = dice.choice([20, 37, 50]), 0, 0
        self.synced, self.seen, self.maybe = [], {}, []
        self.describe(contract)
        gold = "incremental" if dice.random() < 0.5 else "table"
        self.project.write(f"models/{GOLD}.sql", GOLD_SQL.format(materialize=gold))
        self.grow(dice.randint(120, 200))

    def close(self):
        self.source.__exit__()

    def describe(self, contract):
        mode, more, key, paginate = MODES[self.mode]
        paginate = paginate.replace("value: 100", f"value: {self.page}")
        text = connection(self.source.url, mode=mode, key=key, paginate=paginate) + more
        self.project.connection("demo", text + f"streams: {{ records: {{ contract: {contract} }} }}\n")

    # What happens at the source

    def grow(self, count):
        """New records. About three share each second, so that page edges fall between equal cursors."""
        for _ in range(count):
            self.second += self.dice.random() < 0.35
            self.source.records.append(made(self.ids, self.second))
            self.ids += 1

    def change(self, count):
        """Edits and new records. A full refresh may also find that records are gone."""
        self.second += 1
        for place in self.dice.sample(range(len(self.source.records)), min(count, len(self.source.records))):
            old = self.source.records[place]
            self.second += self.dice.random() < 0.35
            version = int(old["name"].rsplit(".", 1)[1]) + 1
            self.source.records[place] = made(old["id"], self.second, version)
        if "full" in MODES[self.mode][0]:
            for _ in range(self.dice.randint(0, 5)):
                self.source.records.pop(self.dice.randrange(len(self.source.records)))
        self.grow(self.dice.randint(1, count))
        self.source.records.sort(key=lambda r: (r["updated_at"], r["id"]))

    def spoil(self, count):
        """Records that cannot be typed. They are mended by `mend`, as a vendor would."""
        self.second += 1
        for place in self.dice.sample(range(len(self.source.records)), count):
            old = self.source.records[place]
            bad = made(old["id"], self.second, int(old["name"].rsplit(".", 1)[1]) + 1)
            self.source.records[place] = {**bad, "nested": "flat", "is_bad": True}
        self.source.records.sort(key=lambda r: (r["updated_at"], r["id"]))

    def mend(self):
        self.second += 1
        for place, old in enumerate(self.source.records):
            if old.get("is_bad"):
                self.source.records[place] = made(old["id"], self.second, int(old["name"].rsplit(".", 1)[1]) + 1)
        self.source.records.sort(key=lambda r: (r["updated_at"], r["id"]))

    # What weir does

    def sync(self, *args, ok=True):
        done = self.project.run("sync", "demo", "--checkpoint-rows", "60", *args, ok=ok)
        if done.returncode == 0:
            self.ended()
        return done

    def ended(self):
        """A sync came to its end: from now on the lake must hold what the source has."""
        now = [r for r in copy.deepcopy(self.source.records) if not r.get("is_bad")]
        self.synced.append(now)
        for record in now:
            self.seen[row(record)] = record

    def died(self):
        """A sync died, perhaps after its last commit: a full refresh that appends stands there whole then."""
        if self.mode == "refresh_append":
            self.maybe.append([row(r) for r in self.source.records])

    def dies_at(self, point, nth, *args):
        """Whether it passed that point so often. Everything else that ends it badly fails the test."""
        done = self.project.run(*args, ok=False, env={"WEIR_FAILPOINT": f"{point}:{nth}"})
        assert done.returncode in (0, -signal.SIGABRT), (args, done.returncode, done.stdout, done.stderr)
        return done.returncode != 0

    # What must be true

    def silver(self, table=ENTITY):
        return f"delta_scan('{self.project.silver(table)}')"

    def rows(self, where="true"):
        stamped = DATA.replace("updated_at", "strftime(updated_at, '%Y-%m-%dT%H:%M:%SZ')")
        return sorted(self.duck.execute(f"SELECT {stamped} FROM {self.silver()} WHERE {where}").fetchall())

    def expected(self):
        newest = [row(r) for r in self.synced[-1]]
        if self.mode in ("append", "append_keyless", "history"):
            return sorted(self.seen)
        if self.mode == "refresh_append":
            return sorted(row(r) for snapshot in self.synced for r in snapshot)
        if self.mode == "refresh_merge":
            last = {r["id"]: row(r) for snapshot in self.synced for r in snapshot}
            return sorted(last.values())
        return sorted(newest)

    def check_silver(self):
        found, expected = self.rows(), self.expected()
        lost, doubled = _difference(expected, found), _difference(found, expected)
        for count in range(1, len(self.maybe) + 1):
            for whole in itertools.combinations(self.maybe, count):
                if doubled == sorted(itertools.chain(*whole)):
                    doubled = []
        assert not lost and not doubled, (self.mode, "lost", lost[:5], len(lost), "doubled", doubled[:5], len(doubled))
        newest = sorted(row(r) for r in self.synced[-1])
        if self.mode == "history":
            assert self.rows("_is_current") == newest
        if self.mode == "refresh_merge":
            assert self.rows("_deleted_at IS NULL") == newest
        if self.mode == "children":
            lines = f"SELECT _parent_id, _index, sku, count FROM {self.silver(ENTITY + '_lines')} ORDER BY ALL"
            wanted = [
                (r["id"], i, line["sku"], line["count"]) for r in self.synced[-1] for i, line in enumerate(r["lines"])
            ]
            assert self.duck.execute(lines).fetchall() == sorted(wanted)

    def check_gold(self):
        """The model comes to what its SQL says of Silver's rows, which were judged before."""
        self.project.run("model", "run")
        wanted = {}
        for number, name, *_ in self.rows():
            wanted.setdefault(number % 7, []).append((number, name))
        wanted = sorted(
            (bucket, len(rows), sum(n for n, _ in rows), len({name for _, name in rows}))
            for bucket, rows in wanted.items()
        )
        table = f"delta_scan('{self.project.lake / 'gold' / GOLD}')"
        assert self.duck.execute(f"SELECT bucket, n, ids, names FROM {table} ORDER BY 1").fetchall() == wanted

    def bronze(self):
        """Every line of Bronze, read by a zstd that is not ours."""
        lines = []
        for path in sorted((self.project.lake / "bronze").rglob("*.zst")):
            with pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd") as opened:
                lines += [json.loads(line) for line in opened.read().splitlines()]
        return lines

    def check_books(self):
        """`read = landed + filtered + deduplicated + quarantined` of each run, and Bronze holds what was read."""
        store = sqlite3.connect(f"file:{self.project.folder}/.weir/weir.db?mode=ro", uri=True)
        books = store.execute("SELECT read, landed, filtered, deduplicated, quarantined FROM run_streams").fetchall()
        unfinished = store.execute("SELECT count(*) FROM runs WHERE status IN ('queued', 'running')").fetchone()
        store.close()
        assert unfinished == (0,), "a run is still said to run"
        for read, *parts in books:
            assert read == sum(parts), (self.mode, books)
        # A checkpoint that changed no row is none, and its Bronze goes; what an appending stream knows of the edge
        # between two reads has no line either. Both are deduplicated.
        return sum(book[1] + book[4] for book in books), sum(book[0] - book[2] for book in books)

    def fingerprint(self, table=ENTITY, with_lineage=True):
        names = [name for name, *_ in self.duck.execute(f"DESCRIBE SELECT * FROM {self.silver(table)}").fetchall()]
        names = [name for name in names if with_lineage or not name.startswith("_")]
        columns = ", ".join(f'"{name}"' for name in sorted(names))
        return self.duck.execute(
            f"SELECT count(*), sum(hash({columns})::HUGEINT), '{columns}' FROM {self.silver(table)}"
        ).fetchone()

    def check(self, is_bronze_whole=True, with_lineage=True):
        self.check_silver()
        least, most = self.check_books()
        lines = self.bronze()
        assert all(line["source"] == "demo" for line in lines)
        if is_bronze_whole:
            assert least <= len(lines) <= most, f"{self.mode}: Bronze holds {len(lines)} lines, the books say {least} to {most}"
        self.check_gold()
        if MODES[self.mode][2] != "[]" and "append" not in self.mode:
            self.project.run("reconcile", "demo")
        if is_bronze_whole:
            before = self.fingerprint(with_lineage=with_lineage)
            self.project.run("lake", "rebuild", "demo", "records")
            assert self.fingerprint(with_lineage=with_lineage) == before, f"{self.mode}: a rebuild came to other rows"
            self.check_silver()


def _difference(ours, theirs):
    rest = list(theirs)
    counts = {}
    for one in rest:
        counts[one] = counts.get(one, 0) + 1
    missing = []
    for one in ours:
        if counts.get(one):
            counts[one] -= 1
        else:
            missing.append(one)
    return missing
