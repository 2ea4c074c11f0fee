"""kill -9 at each point on the way of a slice that another worker reads: the same rows as with one, and no spool left.

The short form takes one point of each side, the long form all.
"""

import random

import pytest
from test_slices import ROWS, Slow, connect, left_over, run_once
from test_workers import Control, Store, own, workers  # noqa: F401

# Who passes it, and how often at most it may be passed before: each is passed for every slice.
POINTS = {
    "control.after_offer": "owner",
    "control.before_forget": "owner",
    "control.after_forget": "owner",
    "control.before_spool": "helper",
    "control.after_spool": "helper",
}
NTH_MAX = 4


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


def succeeded(store):
    return sum(run["status"] == "succeeded" for run in store.runs())


def test_nothing_is_lost_or_doubled_at_any_point_of_a_slice(project, source, control, workers, seed, is_long):  # noqa: F811
    store = Store(project)
    slow = Slow(source, wait_s=0.05)
    connect(project, source, workers_max=2)
    control.start()
    token = control.token()
    patient = workers.start(control, token, "--concurrency", "1")
    for count, (point, nth) in enumerate(chosen(seed, is_long), 1):
        slow.times.clear()
        # Whichever of the two has the run: an owner alone passes an owner's points, a helper a helper's.
        armed = workers.start(control, token, "--concurrency", "1", env={"WEIR_FAILPOINT": f"{point}:{nth}"})
        tries = 0
        while armed.poll() is None:
            tries += 1
            assert tries <= 12, f"{point} was never passed"
            run_once(store, succeeded(store) + 1)
        print(f"WEIR_FAULT_SEED={seed}: {point}:{nth} died at try {tries}")
        run_once(store, succeeded(store) + 1)
        assert store.rows() == {"n": ROWS, "keys": ROWS}, point
        assert left_over(project, store) == [], point
    assert patient.poll() is None
