"""`weir serve`: schedules, the queue, workers that die, a database that goes away."""

import contextlib
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import time

import postgres
import pytest
from source import connection, record

# Each hour, and not in the middle of a test: the next moment comes three quarters of an hour after the tests began.
MINUTE = (time.gmtime().tm_min + 45) % 60
HOURLY = f"schedule: {{ tier: critical, cron: '{MINUTE} * * * *', jitter: 0s, backoff_base: 100ms }}\n"
ANSWER_S_MAX = 90
AWAY_S = 8
DAY_MS = 24 * 3_600_000


@contextlib.contextmanager
def serving(project, *arguments, env=None, port=0):
    """A server that has said where it listens; ended when the block ends."""
    process = project.start("serve", "--listen", f"127.0.0.1:{port}", *arguments, env=env)
    try:
        ready, _, _ = select.select([process.stdout], [], [], ANSWER_S_MAX)
        url = process.stdout.readline().strip() if ready else ""
        if not url.startswith(("http://", "https://")):
            process.kill()
            raise AssertionError(f"the server did not come up: {url}\n{process.stderr.read()}")
        process.url = url
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(ANSWER_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        process.stderr.close()


class Store:
    """The control store beside weir, to let time pass."""

    def __init__(self, project, server=None):
        self.project, self.server, self.shifts = project, server, 0

    @property
    def env(self):
        return {"WEIR_DATABASE_URL": self.server.url} if self.server else {}

    def execute(self, sql):
        if self.server:
            command = ["psql", self.server.url, "-q", "-v", "ON_ERROR_STOP=1", "-c", f"SET search_path = weir; {sql}"]
            deadline = time.monotonic() + ANSWER_S_MAX
            while subprocess.run(command, check=False).returncode:
                # It may be restarting just now.
                assert time.monotonic() < deadline, sql
                time.sleep(0.2)
        else:
            with contextlib.closing(sqlite3.connect(next(self.project.folder.glob("**/*.db")), timeout=30)) as store:
                store.execute(sql)
                store.commit()

    def make_due(self):
        """As if what ran so far had been due a while ago, and the next moment had come."""
        self.shifts += 1
        # Each time to a day of its own, so that no row meets another one, however often time passes.
        ago, since = DAY_MS * self.shifts, int(time.time() * 1000) - DAY_MS // 2
        self.execute(f"UPDATE runs SET due_at_ms = due_at_ms - {ago} WHERE due_at_ms > {since}")
        self.execute("UPDATE schedules SET next_due_at_ms = next_due_at_ms - 3600000")

    def runs(self):
        done = self.project.run("run", "list", "--format", "json", env=self.env, ok=self.server is None)
        # The database may be away: that is not the command's fault.
        assert done.returncode == 0 or "PostgreSQL" in done.stderr, done.stderr
        return json.loads(done.stdout or "[]")

    def until(self, status, count=1):
        """Waits until so many runs have a status; runs come newest first."""
        deadline = time.monotonic() + ANSWER_S_MAX
        while time.monotonic() < deadline:
            runs = self.runs()
            if sum(run["status"] == status for run in runs) >= count:
                return runs
            time.sleep(0.2)
        raise AssertionError(f"no {count} runs became {status}: {self.runs()}")

    def rows(self):
        done = self.project.run(
            "query", "SELECT count(*) AS n, count(DISTINCT id) AS keys FROM demo_records", "--format", "json", env=self.env
        )
        return json.loads(done.stdout)[0]


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, project):
    if request.param == "sqlite":
        yield Store(project)
        return
    if postgres.is_left_out() or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.running() as server:
        yield Store(project, server)


def test_a_connection_is_synced_by_its_schedule(project, source, store):
    source.records = [record(n, n) for n in range(250)]
    project.connection("demo", connection(source.url, extra=HOURLY))
    with serving(project, env=store.env):
        assert store.runs() == []
        store.make_due()
        store.until("succeeded")
        source.records.append(record(250, 250))
        store.make_due()
        store.until("succeeded", 2)
    assert store.rows() == {"n": 251, "keys": 251}
    listed = json.loads(project.run("schedule", "list", "--format", "json", env=store.env).stdout)
    assert [(row["connection"], row["due"], row["success_percent"]) for row in listed] == [("demo", 2, 100)]


def test_a_failed_attempt_is_followed_by_the_next(project, source, store):
    source.records = [record(n, n) for n in range(20)]
    fails = []

    def away(handler, path, query):
        if path == "/records" and len(fails) < 8:
            fails.append(path)
            handler.send(503, {"message": "away"})
            return True
        return False

    source.faults.append(away)
    project.connection("demo", connection(source.url, extra=HOURLY))
    with serving(project, env=store.env):
        store.make_due()
        runs = store.until("succeeded")
    # Four requests an attempt, so the third one succeeds.
    assert [run["status"] for run in runs] == ["succeeded", "failed", "failed"]
    assert store.rows() == {"n": 20, "keys": 20}


def test_what_a_person_must_mend_is_not_tried_again(project, source):
    store = Store(project)
    project.connection("demo", connection(source.url, extra=HOURLY))
    with serving(project):
        project.connection("demo", connection(source.url).replace("http_json", "no_such_connector"))
        store.make_due()
        runs = store.until("failed")
    assert len(runs) == 1


def test_a_run_is_cancelled_and_keeps_what_it_covered(project, source, store):
    source.records = [record(n, n) for n in range(2000)]
    project.connection("demo", connection(source.url, extra=HOURLY))

    def ask(page):
        if page == 3:
            run = store.runs()[0]["id"]
            project.run("run", "cancel", run, env=store.env)
            # The wish is heard with the next heartbeat; the source is slow until then.
        if page > 3:
            time.sleep(0.8)

    source.on_page = ask
    with serving(project, env=store.env):
        store.make_due()
        runs = store.until("cancelled")
        assert len(runs) == 1
    source.on_page = None
    project.run("sync", "demo", env=store.env)
    assert store.rows() == {"n": 2000, "keys": 2000}


def test_a_server_that_is_asked_to_stop_ends_its_runs(project, source, store):
    source.records = [record(n, n) for n in range(600)]
    project.connection("demo", connection(source.url, extra=HOURLY))
    with serving(project, env=store.env) as server:
        source.on_page = lambda page: server.send_signal(signal.SIGTERM) if page == 2 else None
        store.make_due()
        server.wait(ANSWER_S_MAX)
    assert [run["status"] for run in store.runs()] == ["succeeded"]
    assert store.rows() == {"n": 600, "keys": 600}


def test_another_server_goes_on_with_what_a_killed_one_had(project, source, store):
    source.records = [record(n, n) for n in range(900)]
    project.connection("demo", connection(source.url, extra=HOURLY))
    with serving(project, env=store.env) as first:

        def kill(page):
            if page == 5 and first.poll() is None:
                os.kill(first.pid, signal.SIGKILL)
                first.wait()

        source.on_page = kill
        store.make_due()
        first.wait(ANSWER_S_MAX)
    assert first.returncode == -signal.SIGKILL
    source.on_page = None
    with serving(project, env=store.env):
        runs = store.until("succeeded")
    assert [run["status"] for run in runs] == ["succeeded", "abandoned"]
    assert store.rows() == {"n": 900, "keys": 900}


def test_two_servers_share_the_work_and_double_nothing(project, source, store):
    source.records = [record(n, n) for n in range(300)]
    for name in ("one", "two", "three", "four"):
        text = connection(source.url, extra=HOURLY).replace("source: demo", f"source: {name}")
        project.connection(name, text)
    with serving(project, env=store.env), serving(project, env=store.env):
        for count in (4, 8, 12):
            store.make_due()
            store.until("succeeded", count)
    runs = store.runs()
    assert len(runs) == 12
    assert {run["status"] for run in runs} == {"succeeded"}


def test_a_database_that_restarts_in_the_middle_of_a_run_is_waited_for(project, source):
    if postgres.is_left_out() or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed")
    source.records = [record(n, n) for n in range(900)]
    project.connection("demo", connection(source.url, extra=HOURLY))
    with postgres.running() as server:
        store = Store(project, server)

        def restart(page):
            if page == 4:
                server.stop()
                time.sleep(AWAY_S)  # longer than one try to connect takes
                server.start()

        with serving(project, env=store.env):
            source.on_page = restart
            store.make_due()
            runs = store.until("succeeded")
        assert [run["status"] for run in runs] == ["succeeded"]
        assert store.rows() == {"n": 900, "keys": 900}
