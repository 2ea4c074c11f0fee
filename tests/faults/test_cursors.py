"""What a cursor does that it should not, at every kind of source: nothing is lost after the next sync, or it is found.

`EXPECTED` is the one table of what holds; docs/reliability.md prints it, and a test compares both.
"""

import json
import random
import re

import pytest

from cursor_kinds import KINDS, PAGE
from project import ROOT
from source import record, stamp

HELD, DETECTED = "held", "detected"
COUNT = 90


class Api:
    """A source, its kind of reader, and the lake that it is read into."""

    def __init__(self, project, source, folder, kind, dice):
        self.project, self.source, self.dice = project, source, dice
        source.page_size_max = 10_000
        source.records = [record(i, i // 3) for i in range(COUNT)]
        self.kind = KINDS[kind](project, source, folder)
        self.kind.connect()

    def sync(self, *args):
        self.kind.before_sync()
        return self.project.run("sync", "demo", *args)

    def sort(self):
        self.source.records.sort(key=lambda r: (str(r.get("updated_at") or ""), r["id"]))

    def while_paging(self, page, deed):
        """Does something once, before this page is answered. Files have no paging: it happens between two syncs."""
        if isinstance(self.kind, KINDS["files"]):
            self.sync()
            deed()
            return
        done = []

        def on_page(number):
            if number == page and not done:
                done.append(1)
                deed()

        self.source.on_page = on_page
        self.sync()
        self.source.on_page = None
        assert done, "the page was never asked for"


def edit(api, place, second, name="edited"):
    old = api.source.records[place]
    api.source.records[place] = {**record(old["id"], second, name), "updated_at": stamp(second)}


# Each case begins with an empty lake and ends before the last sync.


def ties_across_a_page_edge(api):
    api.source.records = [record(i, 5) for i in range(COUNT)]
    api.sync()
    api.source.records += [record(COUNT + i, 5) for i in range(PAGE + 3)]


def late_commit_below_the_maximum(api):
    """A row that was begun early and committed late: its time lies an hour before the newest one."""
    api.source.records = [record(i, 7200 + i) for i in range(COUNT)]
    api.sync()
    api.source.records.append(record(500, 4000))
    api.sort()


def the_clock_goes_back(api):
    """The source's clock is set back: edits bear times before those that were read."""
    api.source.records = [record(i, 7200 + i) for i in range(COUNT)]
    api.sync()
    for place in (3, 40, 80):
        edit(api, place, 5000 + place)
    api.sort()


def a_cursor_becomes_null(api):
    api.sync()
    api.source.records[10] = {**api.source.records[10], "updated_at": None, "name": "without"}
    api.source.records.append({**record(600, 0), "updated_at": None})


def edits_while_paging(api):
    def deed():
        for place in (5, 30, 70):
            edit(api, place, 1000 + place)
        api.sort()

    api.while_paging(3, deed)


def pages_shift(api):
    """A record goes from a page that was read: the rest moves up, and one is never shown."""
    api.while_paging(3, lambda: api.source.records.pop(2))


def deleted_and_created_again(api):
    api.sync()
    del api.source.records[20]
    api.sync()
    api.source.records.append(record(20, 2000, "again"))


def a_state_in_the_far_future(api):
    """One record bears a time that is years ahead; records of today come after it."""
    api.source.records.append({**record(700, 0), "updated_at": "2099-01-01T00:00:00Z"})
    api.sync()
    api.source.records += [record(800 + i, 5000 + i) for i in range(5)]
    api.sort()


def descending_order(api):
    api.kind.connect(order="descending")
    api.source.records.reverse()
    api.sync()
    api.source.records = [record(900 + i, 3000 - i) for i in range(PAGE + 5)] + api.source.records


def pages_twice(api):
    """For a while the source gives one page twice: that is merged, or told as a page that repeats."""
    once = api.source.records
    api.source.records = once[: 2 * PAGE] + once[PAGE : 2 * PAGE] + once[2 * PAGE :]
    api.kind.before_sync()
    done = api.project.run("sync", "demo", ok=False)
    assert done.returncode == 0 or "repeat" in done.stderr, done.stderr
    api.source.records = [*once, record(950, 3000)]


def an_empty_window(api):
    kept, api.source.records = api.source.records, []
    api.source.records = kept[:50]
    api.sync()
    api.source.records = []
    api.sync() if not isinstance(api.kind, KINDS["files"]) else None
    api.source.records = kept


def another_page_size(api):
    api.while_paging(2, lambda: setattr(api.source, "page_size_max", PAGE))
    api.kind.connect(page=7)
    api.source.records += [record(970 + i, 3000) for i in range(30)]


CASES = {
    "ties across a page edge": ties_across_a_page_edge,
    "late commit below the maximum": late_commit_below_the_maximum,
    "clock going back": the_clock_goes_back,
    "null cursor": a_cursor_becomes_null,
    "edit while paging": edits_while_paging,
    "page shift": pages_shift,
    "delete and recreate": deleted_and_created_again,
    "far-future state": a_state_in_the_far_future,
    "descending order": descending_order,
    "duplicate pages": pages_twice,
    "empty window": an_empty_window,
    "changed page size": another_page_size,
}

# What does not hold everywhere; every other cell is `held`.
BY_TIME = ["http_json", "manifest", "airbyte program", "singer program"]
EXPECTED = {case: dict.fromkeys(KINDS, HELD) for case in CASES}


def exceptions(case, kinds):
    EXPECTED[case].update(dict.fromkeys(kinds, DETECTED))


# Before what was read already: asked for again only with a lookback.
exceptions("late commit below the maximum", BY_TIME)
# Of two records with one key the one with the newer cursor is kept, whichever was read later.
exceptions("clock going back", KINDS)
exceptions("null cursor", KINDS)
# The rest moves up while it is read, and what is skipped lies before the next read's start.
exceptions("edit while paging", BY_TIME)
exceptions("page shift", BY_TIME)
# Such manifests go on at the greatest cursor seen, as their reference does; programs go by their own state.
exceptions("far-future state", [kind for kind in KINDS if "manifest" in kind or "program" in kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_a_cursor_that_misbehaves(project, source, tmp_path, duck, case, kind, seed, is_long):
    if not is_long and (list(CASES).index(case) + list(KINDS).index(kind)) % 4 != seed % 4:
        pytest.skip("a quarter of the table is enough within make test")
    api = Api(project, source, tmp_path, kind, random.Random(f"{seed}{case}{kind}"))
    CASES[case](api)
    api.sync()
    found = judged(api, duck)
    assert found == EXPECTED[case][kind], (case, kind, found)


def judged(api, duck):
    """`held` where each record of the source stands in Silver as it is; else whether reconcile says that one does not."""
    stored = dict(
        duck.execute(f"SELECT id, name FROM delta_scan('{api.project.silver('demo_records')}')").fetchall()
    )
    wanted = {r["id"]: r["name"] for r in api.source.records}
    lost = {number: name for number, name in wanted.items() if stored.get(number) != name}
    api.kind.before_sync()
    done = api.project.run("reconcile", "demo", "--with", "source", "--format", "json", ok=False)
    told = json.loads(done.stdout)[0]
    if not lost:
        return HELD
    assert done.returncode == 7 and told["missing"] + told["stale"] >= len(lost), ("found by nobody", lost, told)
    return DETECTED


def table():
    lines = ["| case | " + " | ".join(KINDS) + " |", "|---|" + "---|" * len(KINDS)]
    lines += [f"| {case} | " + " | ".join(EXPECTED[case][kind] for kind in KINDS) + " |" for case in CASES]
    return "\n".join(lines)


def test_the_documentation_prints_this_table():
    text = (ROOT / "docs/reliability.md").read_text()
    found = re.search(r"\| case \|.*?\n\n", text, re.S)
    assert found and found.group(0).strip() == table(), "put this into docs/reliability.md:\n" + table()
