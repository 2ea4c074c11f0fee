"""A large full refresh that is killed five times: nothing lost, nothing doubled, little read again.

`WEIR_LARGE_ROWS=10000000` takes that many rows (with a release binary in WEIR_BIN, about two minutes).
"""

import os
import random
import signal
import threading
import time

import pytest

from source import Source, connection

PER_PAGE = 5_000
KILLS = 5
PAGING = f"{{ by: page_token, from_header: X-Next, request: {{ param: after }}, size: {{ param: per_page, value: {PER_PAGE} }} }}"
# What was read again: of all rows, or of the time that all of it took.
AGAIN_PART_MAX, AGAIN_S_MAX = 0.01, 60


class Pages(Source):
    """Records by their number: `value` is such that a sum tells which ones there are."""

    def __init__(self, count):
        super().__init__()
        self.count, self.served = count, 0

    def answer(self, handler, path, query):
        if path != "/records":
            return super().answer(handler, path, query)
        page = int(query.get("after", "mark-0").removeprefix("mark-"))
        first, end = page * PER_PAGE, min((page + 1) * PER_PAGE, self.count)
        rows = (
            f'{{"id":{n},"value":{n * 7919 % 1000003},"at":"2026-01-01T00:00:{n % 60:02d}Z","text":"some text of record {n:09d} of many"}}'
            for n in range(first, end)
        )
        body = ("[" + ",".join(rows) + "]").encode()
        with self.lock:
            self.served += end - first
        if self.on_page:
            self.on_page(page)
        handler.send(200, body, {"X-Next": f"mark-{page + 1}"} if end < self.count else None)


def is_killed_at(project, source, page, dice):
    reached = threading.Event()
    source.on_page = lambda at: at >= page and reached.set()
    running = project.start("sync", "demo")
    while running.poll() is None and not reached.wait(0.02):
        pass
    reached.clear()
    reached.wait(dice.uniform(0, 0.2))  # somewhere in what is done with that page
    running.send_signal(signal.SIGKILL)
    running.communicate()
    source.on_page = None
    return running.returncode == -signal.SIGKILL


@pytest.mark.parametrize("mode", ["full_refresh_replace"])
def test_a_large_full_refresh_is_killed_five_times(project, duck, seed, is_long, mode):
    rows = int(os.environ.get("WEIR_LARGE_ROWS") or (400_000 if is_long else 60_000))
    dice = random.Random(seed)
    with Pages(rows) as source:
        text = connection(source.url, mode=mode, cursor=False, paginate=PAGING)
        project.connection("demo", text)
        pages, began = rows // PER_PAGE, time.monotonic()
        killed = sum(is_killed_at(project, source, page, dice) for page in sorted(dice.sample(range(1, pages), KILLS)))
        project.run("sync", "demo", timeout=900)
        again = source.served - rows
        again_s = (time.monotonic() - began) * again / source.served
    expected = (rows, rows, rows * (rows - 1) // 2, sum(n * 7919 % 1000003 for n in range(rows)))
    found = duck.execute(
        f"SELECT count(*), count(DISTINCT id), sum(id)::BIGINT, sum(value)::BIGINT FROM delta_scan('{project.silver('demo_records')}')"
    ).fetchone()
    print(f"{rows} rows, {killed} kills: {again} rows read again ({again / rows:.2%}), {again_s:.1f} s")
    assert found == expected
    assert killed == KILLS
    assert again <= rows * AGAIN_PART_MAX or again_s <= AGAIN_S_MAX, f"{again} rows were read again in {again_s} s"
