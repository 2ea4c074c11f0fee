"""kill -9 at every step of a call, an approval and a bundle: no effect twice, and every run ends with what is true.

At a vendor with state that ignores idempotency keys. Three fifths of the kills are at named points, the rest before the n-th
write to the control store or at a random moment. Each seed has KILLS of them.
"""

import contextlib
import json
import random
import signal
import sqlite3
import time

import pytest
from mart import Mart, open_shop
from project import make_project

KILLS = 25
FINAL = ("done", "failed", "compensated", "refused")
SENT = ["control.call_after_intent", "control.call_before_send", "control.call_after_send"]
FORWARD = ["control.bundle_after_register", "control.bundle_after_step", "control.bundle_before_end"]
BACK = ["control.bundle_before_undo", "control.bundle_after_undo"]
# What dies, and the named points that it passes, with how often.
NAMED = {
    "blind": [(point, 1) for point in SENT],
    "make": [(point, 1) for point in SENT],
    "approval": [(point, 1) for point in SENT[1:]],
    "bundle": [(point, 3) for point in SENT + FORWARD[:2]] + [(FORWARD[2], 1), ("control.bundle_after_intent", 1)],
    "failing": [(point, 5) for point in SENT] + [(point, 2) for point in BACK] + [(FORWARD[2], 1)],
    "asked": [(point, 2) for point in SENT[1:] + FORWARD[1:2]] + [(FORWARD[0], 1)],
}
# Writes to the store that each makes at least.
WRITES = {"blind": 2, "make": 2, "approval": 3, "bundle": 14, "failing": 18, "asked": 10}


class World:
    """One project and its vendor. Each run has a name of its own."""

    def __init__(self, binary, folder, mart):
        self.project, self.mart, self.number = make_project(binary, folder), mart, 0
        open_shop(self.project, mart)
        self.token = self.project.run("token", "create", "ann", "--kind", "user", "--role", "approver").stdout.strip()

    def new(self, kind):
        """A name, the command that asks, and the one that dies."""
        self.number += 1
        name = f"{kind}{self.number}"
        if kind == "failing":
            self.mart.refuses.add(f"{name}-c")
        if kind in ("bundle", "failing", "asked"):
            given = json.dumps({"run": name})
            ask = ("bundle", "run", "asked" if kind == "asked" else "three", "--input", given)
        else:
            ask = ("call", "shop", "ask" if kind == "approval" else kind, "--input", json.dumps({"thing": f"{name}-a"}))
        ask += ("--idempotency-key", name, "--format", "json")
        if kind in ("approval", "asked"):
            waits = json.loads(self.project.run(*ask).stdout)
            return name, ask, ("approval", "approve", waits.get("waits_for") or waits["id"])
        return name, ask, ask

    def env(self, dies):
        return {"WEIR_TOKEN": self.token} if dies[0] == "approval" else {}

    def dies_at(self, dies, point):
        done = self.project.run(*dies, ok=False, env={"WEIR_FAILPOINT": point, **self.env(dies)})
        if "no fail points" in done.stderr:
            pytest.skip("this binary has no fail points")
        return done.returncode == -signal.SIGABRT

    def dies_within(self, dies, seconds):
        process = self.project.start(*dies, env=self.env(dies))
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return process.returncode == -signal.SIGKILL

    def later(self):
        """What is looked at later is looked at now."""
        with contextlib.closing(sqlite3.connect(self.project.folder / ".weir/weir.db", timeout=30)) as store:
            for table in ("calls", "bundle_runs"):
                store.execute(f"UPDATE {table} SET look_at_ms = 0 WHERE look_at_ms IS NOT NULL")
            store.commit()

    def ended(self, ask, dies):
        """Whoever comes next goes on with it, until nobody but a person can."""
        for _ in range(12):
            if dies[0] == "approval":
                self.project.run(*dies, ok=False, env=self.env(dies))
            done = self.project.run(*ask, ok=False)
            assert done.stdout, done.stderr
            found = json.loads(done.stdout)
            if found["status"] in FINAL or found["status"] == "parked":
                return found
            if found["status"] == "uncertain" and not self.is_looked_at(found["id"]):
                return found
            self.later()
        raise AssertionError(f"nobody ends {found}")

    def is_looked_at(self, call):
        with contextlib.closing(sqlite3.connect(self.project.folder / ".weir/weir.db", timeout=30)) as store:
            row = store.execute("SELECT look_at_ms FROM calls WHERE id = ?", (call,)).fetchone()
        if row[0] is None:
            return False
        # A server would look: so does one that is asked for nothing else.
        self.later()
        server = self.project.start("serve", "--listen", "127.0.0.1:0", "--runs-at-once", "0")
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with contextlib.closing(sqlite3.connect(self.project.folder / ".weir/weir.db", timeout=30)) as store:
                    sql = "SELECT 1 FROM calls WHERE id = ? AND status = 'uncertain' AND look_at_ms = 0"
                    if store.execute(sql, (call,)).fetchone() is None:
                        break
                time.sleep(0.05)
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()
        return True

    def judge(self, kind, name, found):
        things = ["a"] if kind in ("blind", "make", "approval") else ["a", "b", "c"]
        nets = self.mart.nets(name, *things)
        status = found["status"]
        if status == "done":
            assert nets == [1] * len(things), (kind, found, nets)
        elif status in ("failed", "compensated", "refused"):
            assert nets == [0] * len(things), (kind, found, nets)
        else:
            # Uncertain, or parked: a person is told why, and what to do.
            why = found.get("parked_error") or found["error"]
            assert why["message"] and why["hint"], (kind, found)
        return status


def kills(dice):
    """Named points, drawn without repeats, then writes and moments."""
    named = [(kind, *point) for kind, points in NAMED.items() for point in points]
    dice.shuffle(named)
    chosen = [(kind, f"{point}:{dice.randint(1, times)}") for kind, point, times in named[: KILLS * 3 // 5]]
    while len(chosen) < KILLS:
        kind = dice.choice(list(WRITES))
        if dice.random() < 0.4:
            chosen.append((kind, dice.uniform(0.05, 0.6)))
        else:
            chosen.append((kind, f"control.before_write:{dice.randint(1, WRITES[kind])}"))
    dice.shuffle(chosen)
    return chosen


def test_no_effect_twice_wherever_a_process_dies(binary, tmp_path, seed):
    ended, died = {}, 0
    with Mart() as mart:
        world = World(binary, tmp_path, mart)
        for kind, when in kills(random.Random(seed)):
            name, ask, dies = world.new(kind)
            if isinstance(when, float):
                # A moment after its end is no kill: another one is taken instead.
                while not world.dies_within(dies, when):
                    name, ask, dies = world.new(kind)
                    when /= 2
            else:
                assert world.dies_at(dies, when), f"WEIR_FAULT_SEED={seed}: {kind} passes {when} never"
            died += 1
            status = world.judge(kind, name, world.ended(ask, dies))
            assert not mart.doubled(), (f"WEIR_FAULT_SEED={seed}", kind, when, mart.doubled())
            ended[status] = ended.get(status, 0) + 1
        assert died == KILLS and sum(ended.values()) == KILLS
        assert not mart.doubled()
        world.project.run("audit", "verify")
    print(f"seed {seed}: {died} kills, 0 second effects, ended {ended}")
