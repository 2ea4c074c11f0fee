"""Slices of one stream on several workers: the same rows and books as with one, and nothing lost when one dies."""

import json
import os
import re
import signal
import threading
import time

import pytest
from source import record
from test_permits import busiest
from test_serve import ANSWER_S_MAX, HOURLY
from test_workers import Control, own, store, workers  # noqa: F401

SLICES, PAGES, PAGE_S = 40, 3, 0.4
ROWS = SLICES * PAGES
AT_ONCE = 2


class Slow:
    """A source of so many slices of so many pages, each page late. Of a path's pages, who asked and when."""

    def __init__(self, source, wait_s=PAGE_S):
        self.source, self.wait_s, self.times, self.on_request = source, wait_s, [], None
        self.lock = threading.Lock()
        source.faults.append(self.answer)

    def answer(self, handler, path, query):
        found = re.fullmatch(r"/parts/(\d+)", path)
        if not found:
            return False
        part, page = int(found[1]), int(query.get("page", 1))
        with self.lock:
            self.times.append(time.monotonic())
        if self.on_request:
            self.on_request(part, page)
        time.sleep(self.wait_s)
        number = part * PAGES + page - 1
        headers = {}
        if page < PAGES:
            headers["Link"] = f'<{self.source.url}{path}?page={page + 1}>; rel="next"'
        handler.send(200, [record(number, number)], headers)
        return True


def connect(project, source, workers_max=4, mode="full_refresh_replace", extra=HOURLY, reliability=""):
    project.connection("demo", "\n".join([
        "connector: http_json",
        "source: demo",
        "allow_private_hosts: true",
        f"workers: {workers_max}",
        f"reliability: {{ concurrency: {AT_ONCE}, retry: {{ attempts: 4, base: 10ms, max: 20s }}{reliability} }}",
        "config:",
        f"  base_url: {source.url}",
        "  check: { path: /me }",
        "  streams:",
        "    - name: records",
        "      path: '/parts/{{ slice.part }}'",
        f"      slices: [{{ by: list, name: part, values: {list(range(SLICES))} }}]",
        "      paginate: { by: link_header }",
        "      primary_key: [id]",
        f"      mode: {mode}",
    ]) + "\n" + extra)


@pytest.fixture
def control(project, own, store):  # noqa: F811
    running = Control(project, own, store.env)
    with running.stack:
        yield running


def run_once(store, count=1):  # noqa: F811
    store.make_due()
    return store.until("succeeded", count)


def books(project, store, run):  # noqa: F811
    shown = json.loads(project.run("run", "show", run["id"], "--format", "json", env=store.env).stdout)
    stream = shown["streams"][0]
    return stream["books"], stream["pages"]


def left_over(project, store):  # noqa: F811
    """Files of spools in the lake."""
    return [path for path in (project.lake / "spools").rglob("*") if path.is_file()]


def said(worker, words):
    return worker.log.read_text().count(words)


def test_four_workers_read_what_one_reads_and_faster(project, source, control, store, workers, capsys):  # noqa: F811
    slow = Slow(source)
    connect(project, source)
    control.start()
    token = control.token()
    first = workers.start(control, token, "--concurrency", "2")
    run_once(store)
    alone_s = slow.times[-1] - slow.times[0]
    assert store.rows() == {"n": ROWS, "keys": ROWS}
    others = [workers.start(control, token, "--concurrency", "2") for _ in range(3)]
    slow.times.clear()
    runs = run_once(store, 2)
    together_s = slow.times[-1] - slow.times[0]
    assert len(slow.times) == ROWS, "each page once"
    assert store.rows() == {"n": ROWS, "keys": ROWS}
    assert books(project, store, runs[0]) == books(project, store, runs[1])
    assert left_over(project, store) == []
    with capsys.disabled():
        print(f"\n{ROWS} pages: {alone_s:.1f} s by one worker, {together_s:.1f} s by four: {alone_s / together_s:.2f} times")
    assert sum(said(worker, "helping a run") > 0 for worker in [first, *others]) == 3
    assert alone_s / together_s > 2.5


def test_together_they_keep_the_rate(project, source, control, store, workers):  # noqa: F811
    slow = Slow(source, wait_s=0.01)
    connect(project, source, reliability=", rate_limit: { requests: 30, per: 2s }")
    control.start()
    token = control.token()
    helpers = [workers.start(control, token) for _ in range(3)]
    run_once(store)
    assert store.rows() == {"n": ROWS, "keys": ROWS}
    assert sum(said(worker, "helping a run") for worker in helpers) >= 2
    assert busiest(slow.times, 2 - 0.02) <= 30


@pytest.mark.parametrize("mode", ["full_refresh_replace", "full_refresh_append"])
@pytest.mark.parametrize("who", ["helper", "owner"])
def test_nothing_is_lost_or_doubled_when_one_is_killed(project, source, control, store, workers, who, mode):  # noqa: F811
    slow = Slow(source)
    connect(project, source, workers_max=2, mode=mode)
    control.start()
    token = control.token()
    running = [workers.start(control, token) for _ in range(2)]
    killed = []

    def kill(_part, _page):
        if len(slow.times) < 40 or killed:
            return
        helper = next((worker for worker in running if said(worker, "helping a run")), None)
        if helper is None:
            return
        owner = next(worker for worker in running if worker is not helper)
        killed.append(helper if who == "helper" else owner)
        os.kill(killed[0].pid, signal.SIGKILL)

    slow.on_request = kill
    store.make_due()
    deadline = time.monotonic() + ANSWER_S_MAX
    while not killed and time.monotonic() < deadline:
        time.sleep(0.05)
    assert killed
    killed[0].wait()
    runs = store.until("succeeded")
    statuses = [run["status"] for run in runs]
    assert statuses == (["succeeded"] if who == "helper" else ["succeeded", "abandoned"])
    assert store.rows() == {"n": ROWS, "keys": ROWS}
    assert left_over(project, store) == []


def test_a_helper_that_is_stopped_or_frozen_gives_its_slices_back(project, source, control, store, workers):  # noqa: F811
    slow = Slow(source)
    connect(project, source, workers_max=3)
    control.start()
    token = control.token()
    running = [workers.start(control, token) for _ in range(3)]
    sent = []

    def stop(_part, _page):
        helpers = [worker for worker in running if said(worker, "helping a run")]
        if len(slow.times) >= 40 and len(helpers) == 2 and not sent:
            sent.extend(helpers)
            helpers[0].send_signal(signal.SIGTERM)
            helpers[1].send_signal(signal.SIGSTOP)

    slow.on_request = stop
    run_once(store)
    assert sent and sent[0].wait(ANSWER_S_MAX) == 0
    assert store.rows() == {"n": ROWS, "keys": ROWS}
    # It wakes up when the run is over, and writes nothing that anybody reads.
    sent[1].send_signal(signal.SIGCONT)
    slow.on_request = None
    run_once(store, 2)
    assert store.rows() == {"n": ROWS, "keys": ROWS}


def test_a_cancelled_run_gets_no_more_help(project, source, control, store, workers):  # noqa: F811
    slow = Slow(source)
    connect(project, source, workers_max=2)
    control.start()
    token = control.token()
    running = [workers.start(control, token) for _ in range(2)]
    asked = []

    def cancel(_part, _page):
        if len(slow.times) >= 30 and not asked and any(said(worker, "helping a run") for worker in running):
            asked.append(True)
            project.run("run", "cancel", store.runs()[0]["id"], env=store.env)

    slow.on_request = cancel
    store.make_due()
    store.until("cancelled")
    slow.on_request = None
    run_once(store)
    assert store.rows() == {"n": ROWS, "keys": ROWS}
    assert left_over(project, store) == []
