"""Two servers over one store and three workers that have nothing but an address and a token, killed, stopped and
started again at random: nothing lost, nothing doubled, every run ends.

20 blows a seed (3 in the short form), so 25 seeds are 500 blows. On PostgreSQL
the database itself is restarted too, and a server is frozen for longer than its leases hold.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
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
    """Two servers and three workers that are always started again."""

    def __init__(self, project, store, dice):
        self.project, self.store, self.dice = project, store, dice
        self.stack = contextlib.ExitStack()
        self.ports = [postgres.free_port(), postgres.free_port()]
        self.servers, self.workers = [], []

    def __enter__(self):
        self.home = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.stack.callback(self.end_workers)
        for which in range(2):
            self.servers.append(self.begin(which))
        made = self.project.run("token", "create", "carrier", "--role", "worker", env=self.store.env)
        self.token = made.stdout.strip()
        for which in range(3):
            self.workers.append(self.begin_worker(which))
        return self

    def __exit__(self, *_):
        self.stack.close()

    def begin(self, which):
        one = serving(self.project, "--runs-at-once", "1", env=self.store.env, port=self.ports[which])
        return self.stack.enter_context(one)

    def begin_worker(self, which):
        """In an empty folder, and without the store's address."""
        url = f"http://127.0.0.1:{self.ports[which % 2]}"
        return subprocess.Popen(
            [self.project.binary, "worker", "--control", url, "--name", f"worker-{which}", "--quiet"],
            cwd=self.home, env={"PATH": os.environ["PATH"], "HOME": self.home, "WEIR_TOKEN": self.token},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

    def end_workers(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()
        assert os.listdir(self.home) == []

    def kill(self, process):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def replace_dead(self):
        for which, server in enumerate(self.servers):
            if server.poll() is not None:
                self.servers[which] = self.begin(which)
        for which, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[which] = self.begin_worker(which)


def strike(fleet, source, kind):
    """Makes what is due, and lets the blow fall at a random page."""
    dice, store = fleet.dice, fleet.store
    left = [dice.randint(1, 12)]
    struck = [dice.choice(fleet.workers if "worker" in kind else fleet.servers)]
    if kind == "kill both":
        struck.append(dice.choice(fleet.workers))

    def blow(_page):
        left[0] -= 1
        if left[0] != 0:
            return
        if kind == "database":
            store.server.stop()
            store.server.start()
        for process in struck if kind != "database" else []:
            if "freeze" in kind:
                os.kill(process.pid, signal.SIGSTOP)
            elif process.poll() is None:
                fleet.kill(process)

    source.on_page = blow
    store.make_due()
    deadline = time.monotonic() + ANSWER_S_MAX
    while left[0] > 0 and time.monotonic() < deadline and store.open():
        time.sleep(0.05)
    source.on_page = None
    if "freeze" in kind and left[0] <= 0:
        time.sleep(FROZEN_S)  # longer than a lease: another takes over meanwhile
        os.kill(struck[0].pid, signal.SIGCONT)
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
    kinds = ["kill server"] * 4 + ["kill worker"] * 4 + ["kill both"] * 2 + (["database"] * 2 if store.server else [])
    kinds += ["freeze server", "freeze worker"] if BLOWS > 3 else []
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

