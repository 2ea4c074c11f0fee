"""Two servers over one store and three workers that have nothing but an address and a token, killed, frozen, cut off
from each other and started again at random: nothing lost, nothing doubled, every run ends, nothing is committed
under an old term.

20 blows a seed (3 in the short form), so 25 seeds are 500 blows. On PostgreSQL the database itself is restarted too,
and lines to it are cut. Whoever is frozen or cut off for long is so for longer than its leases hold.

Who judges terms: the log of each table, which says whose run made each commit; and, on PostgreSQL, triggers of the
test's own, which write down who took which term and which checkpoints were stored by whom.
"""

import collections
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
from links import Link
from source import connection, record
from test_serve import ANSWER_S_MAX, Store, serving

BLOWS = 20 if "WEIR_FAULT_SEEDS" in os.environ or "WEIR_FAULT_SEED" in os.environ else 3
NAMES = ("one", "two", "three")
PATIENT = "schedule: { tier: critical, jitter: 0s, backoff_base: 10ms, attempts: 20 }\n"
FROZEN_S = 40
CUT_S = (1, 8)
# By then what is due is in the queue.
QUEUED_S = 3
# Longer than a lease, so that others take over what whoever is cut off has.
LONG_CUT_S = 40

JUDGE = """
CREATE SCHEMA judge;
CREATE TABLE judge.terms (connection text, stream text, term bigint, run text, PRIMARY KEY (connection, stream, term, run));
CREATE TABLE judge.late (run text, stream text, sequence bigint, holder text);
CREATE FUNCTION judge.took() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO judge.terms VALUES (NEW.connection, NEW.stream, NEW.term, NEW.run) ON CONFLICT DO NOTHING;
    RETURN NEW;
END $$;
CREATE TRIGGER took AFTER INSERT OR UPDATE ON weir.leases FOR EACH ROW WHEN (NEW.run IS NOT NULL)
    EXECUTE FUNCTION judge.took();
CREATE FUNCTION judge.stored() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ DECLARE holder text; BEGIN
    SELECT l.run INTO holder FROM weir.leases l JOIN weir.runs r ON r.tenant = l.tenant AND r.connection = l.connection
        WHERE r.id = NEW.run AND l.stream = NEW.stream;
    IF holder IS DISTINCT FROM NEW.run THEN
        INSERT INTO judge.late VALUES (NEW.run, NEW.stream, NEW.sequence, holder);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER stored AFTER INSERT ON weir.receipts FOR EACH ROW WHEN (NEW.recovered = 0)
    EXECUTE FUNCTION judge.stored();
"""


class Fleet:
    """Two servers and three workers that are always started again."""

    def __init__(self, project, store, dice):
        self.project, self.store, self.dice = project, store, dice
        self.stack = contextlib.ExitStack()
        self.ports = [postgres.free_port(), postgres.free_port()]
        self.servers, self.workers = [], []
        self.database_links, self.control_links = [], []
        self.met = collections.Counter()

    def __enter__(self):
        self.home = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.stack.callback(self.end_workers)
        if self.store.server:
            database = ("127.0.0.1", self.store.server.port)
            self.database_links = [self.stack.enter_context(Link(database)) for _ in range(2)]
        controls = [("127.0.0.1", self.ports[which % 2]) for which in range(3)]
        self.control_links = [self.stack.enter_context(Link(control)) for control in controls]
        for which in range(2):
            self.servers.append(self.begin(which))
        if self.store.server:
            self.store.execute(JUDGE)
        made = self.project.run("token", "create", "carrier", "--role", "worker", env=self.store.env)
        self.token = made.stdout.strip()
        for which in range(3):
            self.workers.append(self.begin_worker(which))
        return self

    def __exit__(self, *_):
        self.stack.close()

    def begin(self, which):
        env = dict(self.store.env)
        if self.database_links:
            own = str(self.database_links[which].port)
            env["WEIR_DATABASE_URL"] = env["WEIR_DATABASE_URL"].replace(str(self.store.server.port), own)
        one = serving(self.project, "--runs-at-once", "1", env=env, port=self.ports[which])
        return self.stack.enter_context(one)

    def begin_worker(self, which):
        """In an empty folder, and without the store's address."""
        url = f"http://127.0.0.1:{self.control_links[which].port}"
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

    def line(self, kind):
        """One that is cut by this kind of blow."""
        return self.dice.choice(self.database_links if "database" in kind else self.control_links)

    def heal(self):
        for link in self.database_links + self.control_links:
            link.cut_until = link.deaf_until = 0.0

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
    left = [dice.randint(1, 6)]
    line = fleet.line(kind) if kind.startswith(("cut", "deafen")) else None
    for_s = LONG_CUT_S if BLOWS > 3 and dice.random() < 0.25 else dice.uniform(*CUT_S)
    struck = [dice.choice(fleet.workers if "worker" in kind else fleet.servers)]
    if kind == "kill both":
        struck.append(dice.choice(fleet.workers))

    def blow(_page):
        left[0] -= 1
        if left[0] != 0:
            return
        fleet.met[kind] += 1
        if line is not None:
            (line.cut if kind.startswith("cut") else line.deafen)(for_s)
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
    began = time.monotonic()
    while left[0] > 0 and time.monotonic() < began + ANSWER_S_MAX:
        if time.monotonic() > began + QUEUED_S and not store.open():
            break
        time.sleep(0.05)
    source.on_page = None
    if "freeze" in kind and left[0] <= 0:
        time.sleep(FROZEN_S)  # longer than a lease: another takes over meanwhile
        os.kill(struck[0].pid, signal.SIGCONT)
    # Nobody comes up whose line to the database is cut.
    if any(server.poll() is not None for server in fleet.servers):
        fleet.heal()
    fleet.replace_dead()


class Watched(Store):
    def open(self):
        """Whether a run waits or runs. A store that is away says nothing: then yes."""
        runs = self.runs()
        return not runs or any(run["status"] in ("queued", "running") for run in runs)

    def ask(self, sql):
        """Rows of PostgreSQL, past weir."""
        done = subprocess.run(["psql", self.server.url, "-At", "-F", "|", "-v", "ON_ERROR_STOP=1", "-c", sql],
                              check=True, capture_output=True, text=True)
        return [line.split("|") for line in done.stdout.splitlines()]

    def settle(self, before=None):
        """Until every run has ended; of each connection one that is not among those `before`."""
        deadline = time.monotonic() + 4 * ANSWER_S_MAX
        while time.monotonic() < deadline:
            runs = self.runs()
            is_open = any(run["status"] in ("queued", "running") for run in runs)
            new = {run["connection"] for run in runs if before is None or run["id"] not in before}
            if not is_open and new >= set(NAMES):
                return runs
            time.sleep(0.2)
        raise AssertionError(f"runs without an end: {self.runs()}")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, project):
    if request.param == "sqlite":
        yield Watched(project)
        return
    if postgres.is_left_out() or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.running() as server:
        yield Watched(project, server)


def commits(project, name):
    """Whose run made each checkpoint of the table, in the order of its log."""
    made = []
    for path in sorted(project.silver(f"{name}_records").glob("_delta_log/*.json")):
        for line in path.read_text().splitlines():
            domain = json.loads(line).get("domainMetadata")
            said = json.loads(domain["configuration"]) if domain and not domain["removed"] else {}
            if "run" in said and (not made or said["sequence"] != made[-1][1]):
                made.append((said["run"], said["sequence"]))
    return made


def refuse_old_terms(project, store):
    """How many checkpoints there are; fails where one was made by whoever was not the last to take the stream."""
    terms = {}
    if store.server:
        open_runs = "SELECT id, status FROM weir.runs WHERE status IN ('queued', 'running')"
        assert store.ask(open_runs) == [], "runs without an end"
        assert store.ask("SELECT * FROM judge.late") == [], "a checkpoint was stored by a run that had lost its stream"
        for connection, term, run in store.ask("SELECT connection, term, run FROM judge.terms"):
            assert terms.setdefault((connection, int(term)), run) == run, f"{connection}: two runs have term {term}"
    count = 0
    for name in NAMES:
        made = commits(project, name)
        count += len(made)
        assert [sequence for _, sequence in made] == sorted({sequence for _, sequence in made}), f"{name}: {made}"
        runs = [run for at, (run, _) in enumerate(made) if at == 0 or made[at - 1][0] != run]
        assert len(runs) == len(set(runs)), f"{name}: a run committed after another one had: {runs}"
        by_run = {run: term for (connection, term), run in terms.items() if connection == name}
        if terms:
            order = [by_run[run] for run in runs]
            assert order == sorted(order), f"{name}: terms {order}"
    return count


def report(seed, store, fleet, runs, checkpoints):
    """For docs/reliability.md: a line for each seed, where WEIR_FAULT_REPORT names a file."""
    path = os.environ.get("WEIR_FAULT_REPORT")
    if not path:
        return
    statuses = collections.Counter(run["status"] for run in runs)
    if store.server:  # the command lists the newest
        statuses = {status: int(count) for status, count in store.ask("SELECT status, count(*) FROM weir.runs GROUP BY 1")}
    told = {"seed": seed, "store": "postgres" if store.server else "sqlite", "blows": sum(fleet.met.values()),
            "kinds": fleet.met, "runs": statuses, "checkpoints": checkpoints}
    with open(path, "a") as out:
        out.write(json.dumps(told) + "\n")


def test_whatever_dies_nothing_is_lost_or_doubled(project, source, store, seed):
    dice = random.Random(seed)
    print(f"seed {seed}: WEIR_FAULT_SEED={seed} replays it")
    kinds = ["kill server"] * 4 + ["kill worker"] * 4 + ["kill both"] * 2 + (["database"] * 2 if store.server else [])
    kinds += ["cut worker", "deafen worker"] + (["cut database", "deafen database"] if store.server else [])
    kinds += ["freeze server", "freeze worker"] if BLOWS > 3 else []
    source.page_size_max = 20
    source.records = [record(n, n) for n in range(100)]
    for name in NAMES:
        text = connection(source.url, extra=PATIENT).replace("source: demo", f"source: {name}")
        project.connection(name, text.replace("value: 100", "value: 20"))
    with Fleet(project, store, dice) as fleet:
        strikes = 0
        while sum(fleet.met.values()) < BLOWS:  # runs may be over before a blow falls
            strikes += 1
            assert strikes <= 5 * BLOWS, fleet.met
            grown = len(source.records) + dice.randint(1, 60)
            source.records += [record(n, n) for n in range(len(source.records), grown)]
            strike(fleet, source, dice.choice(kinds))
        fleet.heal()
        before = {run["id"] for run in store.settle()}
        store.make_due()
        runs = store.settle(before)
    assert {run["status"] for run in runs} <= {"succeeded", "failed", "abandoned", "cancelled"}
    want = {"n": len(source.records), "keys": len(source.records), "total": sum(r["id"] for r in source.records)}
    for name in NAMES:
        sql = f"SELECT count(*) AS n, count(DISTINCT id) AS keys, sum(id) AS total FROM {name}_records"
        done = project.run("query", sql, "--format", "json", env=store.env)
        assert json.loads(done.stdout) == [want], f"seed {seed}: {name}"
    report(seed, store, fleet, runs, refuse_old_terms(project, store))
