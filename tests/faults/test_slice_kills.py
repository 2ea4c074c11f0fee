"""kill -9 at each point on the way of a slice that another worker reads: the same rows as with one, and no spool left.

The short form takes one point of each side, the long form all.
"""

import random
import signal
import time

import pytest
from test_serve import ANSWER_S_MAX
from test_slices import ROWS, Slow, connect, left_over, said
from test_workers import Control, Store, own, workers  # noqa: F401

# Who passes it, and how often at most it may be passed before: each is passed for every slice.
POINTS = {
    "control.after_offer": "owner",
    "control.before_forget": "owner",
    "control.after_forget": "owner",
    "control.before_spool": "helper",
    "control.after_spool": "helper",
}
NTH_MAX = 3


@pytest.fixture
def control(project, own):  # noqa: F811
    running = Control(project, own, {})
    with running.stack:
        yield running


def chosen(seed, is_long):
    dice = random.Random(seed)
    sides = [[point for point, side in POINTS.items() if side == who] for who in ("owner", "helper")]
    points = list(POINTS) if is_long else [dice.choice(side) for side in sides]
    return [(point, dice.randint(1, NTH_MAX)) for point in points]


def wait_for_claim(worker):
    deadline = time.monotonic() + ANSWER_S_MAX
    while not said(worker, "run claimed"):
        assert time.monotonic() < deadline, worker.log.read_text()
        time.sleep(0.05)


def test_nothing_is_lost_or_doubled_at_any_point_of_a_slice(project, source, control, workers, seed, is_long):  # noqa: F811
    store = Store(project)
    Slow(source, wait_s=0.2)
    connect(project, source, workers_max=2)
    control.start()
    token = control.token()
    for count, (point, nth) in enumerate(chosen(seed, is_long), 1):
        print(f"WEIR_FAULT_SEED={seed}: {point}:{nth}")
        deadly = {"WEIR_FAILPOINT": f"{point}:{nth}"}
        is_owner = POINTS[point] == "owner"
        # The first one has the run, the second one helps.
        first = workers.start(control, token, "--concurrency", "1", env=deadly if is_owner else None)
        store.make_due()
        wait_for_claim(first)
        second = workers.start(control, token, "--concurrency", "1", env=None if is_owner else deadly)
        store.until("succeeded", count)
        armed = first if is_owner else second
        assert armed.wait(ANSWER_S_MAX) == -signal.SIGABRT, f"{point} was never passed"
        assert store.rows() == {"n": ROWS, "keys": ROWS}, point
        assert left_over(project, store) == [], point
        workers.stop()
