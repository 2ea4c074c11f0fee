"""One vendor account, several processes: together they keep the connection's rate limit."""

import json
import threading
import time

import pytest
from source import connection, record
from test_serve import HOURLY, Store
from test_workers import Control, Workers, certificates, own, store, workers  # noqa: F401

RATE, WINDOW_S = 40, 2
LIMITED = "reliability: {{ rate_limit: {{ requests: {}, per: {}s }}, retry: {{ attempts: 4, base: 10ms, max: 20s }} }}"
# What the network does to two requests that were sent at one distance.
JITTER_S = 0.02


def limited(source, requests=RATE, per=WINDOW_S, extra=""):
    text = connection(source.url, extra=extra)
    usual = next(line for line in text.splitlines() if line.startswith("reliability:"))
    text = text.replace(usual, LIMITED.format(requests, per))
    at = text.index("    - name: records")
    return text[:at] + text[at:].replace("    - name: records", "    - name: STREAM", 1)


def streams(text, *names):
    """The connection's one stream under several names."""
    head, _, stream = text.partition("    - name: STREAM\n")
    lines = stream.splitlines(keepends=True)
    own_lines = [line for line in lines if line.startswith("      ")]
    rest = [line for line in lines if not line.startswith("      ")]
    each = ["    - name: " + name + "\n" + "".join(own_lines) for name in names]
    return head + "".join(each) + "".join(rest)


def busiest(times, window_s):
    times = sorted(times)
    first, most = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


class Count:
    """When requests for records came."""

    def __init__(self, source):
        self.times, self.lock = [], threading.Lock()
        source.faults.append(self.note)

    def note(self, _handler, path, _query):
        if path == "/records":
            with self.lock:
                self.times.append(time.monotonic())
        return False


@pytest.fixture
def control(project, own, store):  # noqa: F811
    running = Control(project, own, store.env)
    with running.stack:
        yield running


def test_a_worker_and_a_command_together_keep_the_rate_and_reach_it(
    project, source, control, store, workers, capsys  # noqa: F811
):
    # 150 pages for each of two processes: more than three windows of both.
    source.page_size_max = 1
    source.records = [record(n, n) for n in range(150)]
    count = Count(source)
    project.connection("demo", streams(limited(source, extra=HOURLY), "here", "there"))
    control.start()
    token = control.token()
    workers.start(control, token, "--concurrency", "1")
    admin = control.token("--role", "admin")
    status, run = control.ask(admin, "/runs", "POST", {"connection": "demo", "streams": ["there"]})
    assert status in (200, 201, 202), run
    here = project.start("sync", "demo", "--stream", "here", env=store.env)
    out, err = here.communicate(timeout=120)
    assert here.returncode == 0, err
    runs = store.until("succeeded", 2)
    assert {run["status"] for run in runs} == {"succeeded"}
    rows = json.loads(project.run(
        "query", "SELECT (SELECT count(*) FROM demo_here) AS here, (SELECT count(*) FROM demo_there) AS there",
        "--format", "json", env=store.env,
    ).stdout)[0]
    assert rows == {"here": 150, "there": 150}
    most = busiest(count.times, WINDOW_S - JITTER_S)
    # From the first request to the one that only the last of so many windows could let go.
    times = sorted(count.times)
    windows = (len(times) - 1) // RATE
    took = times[windows * RATE] - times[0]
    share = windows * WINDOW_S / took
    with capsys.disabled():
        print(f"\n{windows * RATE} requests in {took:.1f} s: {share:.1%} of the rate, {most} of {RATE} in the busiest window")
    assert most <= RATE
    assert share >= 0.9


def test_what_the_vendor_asks_of_one_process_the_other_keeps_too(project, source, store):  # noqa: F811
    source.records = [record(n, n) for n in range(3)]
    count, told = Count(source), []

    def busy(handler, path, _query):
        if path == "/records" and not told:
            told.append(time.monotonic())
            handler.send(429, {"message": "slow down"}, {"Retry-After": "4"})
            return True
        return False

    source.faults.append(busy)
    project.connection("demo", streams(limited(source), "here", "there"))
    first = project.start("sync", "demo", "--stream", "here", env={**store.env, "WEIR_LOG": "debug"})
    # It says so after it has told the others.
    said = next(line for line in first.stderr if "trying again" in line)
    assert "wait_ms" in said
    project.run("sync", "demo", "--stream", "there", env=store.env)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert len(count.times) == 3
    assert count.times[1] - told[0] >= 4 - JITTER_S, [at - told[0] for at in count.times]


def test_a_project_without_a_store_is_looked_at_without_making_one(project, source):
    project.connection("demo", streams(limited(source), "here"))
    project.run("check", "demo")
    assert not list(project.folder.glob("**/*.db"))
