"""Two servers over one store, killed, stopped and started again at random: nothing lost, nothing doubled,
every run ends.

20 blows a seed (3 in the short form), so 25 seeds are 500 blows. On PostgreSQL
the database itself is restarted too, and a server is frozen for longer than its leases hold.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import time

import postgres
import pytest
from source import connection, record
from test_serve import ANSWER_S_MAX, Store, serving

BLOWS = 20 if "WEIR_FAULT_SEEDS" in os.environ or "WEIR_FAULT_SEED" in os.environ else 3
NAMES = ("one", "two", "three")
PATIENT = "schedule: { tier: critical, jitter: 0s, backoff_base: 10ms, attempts: 20 }\n"
FROZEN_S = 40


class Fleet:
    """Two servers that are always started again."""

    def __init__(self, project, store, dice):
        self.project, self.store, self.dice = project, store, dice
        self.stack = contextlib.ExitStack()
        self.servers = []

    def __enter__(self):
        for _ in range(2):
            self.servers.append(self.begin())
        return self

    def __exit__(self, *_):
        self.stack.close()

    def begin(self):
        return self.stack.enter_context(serving(self.project, env=self.store.env))

    def kill(self, which):
        os.kill(self.servers[which].pid, signal.SIGKILL)
        self.servers[which].wait()

    def replace_dead(self):
        for which, server in enumerate(self.servers):
            if server.poll() is not None:
                self.servers[which] = self.begin()


def strike(fleet, source, kind):
    """Makes what is due, and lets the blow fall at a random page."""
    dice, store = fleet.dice, fleet.store
    left = [dice.randint(1, 12)]
    which = dice.randrange(2)

    def blow(_page):
        left[0] -= 1
        if left[0] != 0:
            return
        if kind == "database":
            store.server.stop()
            store.server.start()
        elif kind == "freeze":
            os.kill(fleet.servers[which].pid, signal.SIGSTOP)
        else:
            fleet.kill(which)

    source.on_page = blow
    store.make_due()
    deadline = time.monotonic() + ANSWER_S_MAX
    while left[0] > 0 and time.monotonic() < deadline and store.open():
        time.sleep(0.05)
    source.on_page = None
    if kind == "freeze" and left[0] <= 0:
        time.sleep(FROZEN_S)  # longer than a lease: the other server takes over meanwhile
        os.kill(fleet.servers[which].pid, signal.SIGCONT)
    fleet.replace_dead()


class Watched(Store):
    def open(self):
        """Whether a run waits or runs. A store that is away says nothing: then yes."""
        runs = self.runs()
        return not runs or any(run["status"] in ("queued", "running") for run in runs)

    def settle(self):
        deadline = time.monotonic() + 4 * ANSWER_S_MAX
        while time.monotonic() < deadline:
            runs = self.runs()
            if runs and not any(run["status"] in ("queued", "running") for run in runs):
                return runs
            time.sleep(0.2)
        raise AssertionError(f"runs without an end: {self.runs()}")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, project):
    if request.param == "sqlite":
        yield Watched(project)
        return
    if postgres.program("initdb") is None or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.running() as server:
        yield Watched(project, server)


def test_whatever_dies_nothing_is_lost_or_doubled(project, source, store, seed):
    dice = random.Random(seed)
    print(f"seed {seed}: WEIR_FAULT_SEED={seed} replays it")
    kinds = ["kill"] * 8 + (["database"] * 2 if store.server else []) + (["freeze"] if BLOWS > 3 else [])
    source.page_size_max = 20
    source.records = [record(n, n) for n in range(100)]
    for name in NAMES:
        text = connection(source.url, extra=PATIENT).replace("source: demo", f"source: {name}")
        project.connection(name, text.replace("value: 100", "value: 20"))
    with Fleet(project, store, dice) as fleet:
        for _ in range(BLOWS):
            grown = len(source.records) + dice.randint(1, 60)
            source.records += [record(n, n) for n in range(len(source.records), grown)]
            strike(fleet, source, dice.choice(kinds))
        store.settle()
        store.make_due()
        runs = store.settle()
    assert {run["status"] for run in runs} <= {"succeeded", "failed", "abandoned", "cancelled"}
    want = {"n": len(source.records), "keys": len(source.records), "total": sum(r["id"] for r in source.records)}
    for name in NAMES:
        sql = f"SELECT count(*) AS n, count(DISTINCT id) AS keys, sum(id) AS total FROM {name}_records"
        done = project.run("query", sql, "--format", "json", env=store.env)
        assert json.loads(done.stdout) == [want], f"seed {seed}: {name}"

