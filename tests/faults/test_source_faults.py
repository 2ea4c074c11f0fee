"""A source that fails: nothing is lost, no request comes earlier than it allows, tries are bounded and told."""

import email.utils
import random
import re
import socketserver
import threading
import time

import pytest

from source import BY_LINK, connection, record

PATIENT = "reliability: { retry: { attempts: 4, base: 10ms, max: 3s, budget: 100% }, breaker: { failures: 100 } }"
RETRY = "reliability: { retry: { attempts: 4, base: 10ms, max: 200ms } }"


def fill(source, count=600):
    # Ties: ten records share each second, so that page edges fall between equal cursors.
    source.records = [record(i, i // 10) for i in range(count)]


def connect(project, source, patience=PATIENT, **options):
    text = connection(source.url, **options)
    assert RETRY in text
    project.connection("demo", text.replace(RETRY, patience))


def verify(project, duck, source):
    ids = duck.execute(f"SELECT id FROM delta_scan('{project.silver('demo_records')}') ORDER BY 1").fetchall()
    assert [number for (number,) in ids] == sorted(r["id"] for r in source.records)


class Faults:
    """Answers the chosen requests for records wrongly, and notes when each request came."""

    def __init__(self, source, answer, when):
        self.source, self.answer, self.when = source, answer, when
        self.times, self.wrong, self.lock = [], [], threading.Lock()
        source.faults.append(self)

    def __call__(self, handler, path, query):
        if path != "/records":
            return False
        with self.lock:
            self.times.append(time.monotonic())
            number = len(self.times)
            if not self.when(number):
                return False
            self.wrong.append(number)
        self.answer(handler, number)
        return True


def status(code, headers=None):
    return lambda handler, _: handler.send(code, {"message": "not now"}, headers)


def cut(handler, _):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b'[{"id": 1')
    handler.close_connection = True


def too_short_a_length(handler, _):
    """Fewer bytes are announced than the page has: what arrives is no JSON."""
    handler.send_response(200)
    handler.send_header("Content-Length", "40")
    handler.end_headers()
    handler.wfile.write(b'[{"id": 1, "name": "a", "updated_at": "2026-01-01T00:00:00Z"}]')
    handler.close_connection = True


def reset(handler, _):
    handler.close_connection = True
    handler.connection.close()


def slow(handler, _):
    time.sleep(1.5)
    handler.close_connection = True


ANSWERS = {
    "429 without Retry-After": status(429),
    "500": status(500),
    "502": status(502),
    "503": status(503),
    "408": status(408),
    "a cut body": cut,
    "a reset connection": reset,
    "a timeout": slow,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_failures_now_and_then_lose_nothing(project, source, duck, name, seed):
    fill(source)
    dice = random.Random(f"{seed}{name}")
    wrong = set(dice.sample(range(1, 9), 2 if name == "a timeout" else 3))
    faults = Faults(source, ANSWERS[name], lambda number: number in wrong)
    patience = PATIENT.replace("{ retry:", "{ timeout: 700ms, retry:") if name == "a timeout" else PATIENT
    connect(project, source, patience)
    project.run("sync", "demo")
    verify(project, duck, source)
    assert len(faults.times) == 6 + len(faults.wrong)


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "a timeout"])
def test_tries_are_bounded_and_told(project, source, duck, name):
    fill(source)
    faults = Faults(source, ANSWERS[name], lambda number: number >= 4)
    connect(project, source)
    done = project.run("sync", "demo", ok=False)
    assert done.returncode == 4, (done.returncode, done.stderr)
    assert len(faults.wrong) == 4 and re.search(r"tries: 4\b", done.stderr), (len(faults.wrong), done.stderr)
    assert "next:" in done.stderr
    faults.when = lambda number: False
    project.run("sync", "demo")
    verify(project, duck, source)


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("code", [429, 503])
def test_no_request_comes_before_retry_after_allows(project, source, duck, code, form):
    fill(source)
    # A date has whole seconds: two of them allow at least one.
    least = 1.0

    def answer(handler, _):
        asked = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
        handler.send(code, {"message": "slow down"}, {"Retry-After": asked})

    faults = Faults(source, answer, lambda number: number in (2, 4))
    connect(project, source)
    project.run("sync", "demo")
    verify(project, duck, source)
    assert faults.wrong == [2, 4]
    for number in faults.wrong:
        waited = faults.times[number] - faults.times[number - 1]
        assert waited >= least - 0.02, f"request {number + 1} came {waited:.3f} s after 'wait {least} s'"


def test_a_wait_beyond_reason_ends_the_run_at_once(project, source):
    fill(source)
    Faults(source, status(429, {"Retry-After": "86400"}), lambda number: number == 3)
    connect(project, source)
    before = time.monotonic()
    done = project.run("sync", "demo", ok=False)
    assert done.returncode == 4 and time.monotonic() - before < 20, done.stderr
    assert "86400" in done.stderr or "24" in done.stderr, done.stderr


def test_a_length_that_is_too_short_is_no_page(project, source, duck):
    fill(source)
    faults = Faults(source, too_short_a_length, lambda number: number >= 3)
    connect(project, source)
    done = project.run("sync", "demo", ok=False)
    assert done.returncode == 4 and "next:" in done.stderr, done.stderr
    faults.when = lambda number: False
    project.run("sync", "demo")
    verify(project, duck, source)


def test_a_repeated_page_is_found(project, source):
    fill(source, 500)

    def fault(handler, path, query):
        if path == "/records" and int(query.get("page", 1)) > 1:
            link = f'<{source.url}/records?page=2&per_page=100>; rel="next"'
            handler.send(200, source.records[100:200], {"Link": link})
            return True
        return False

    source.faults.append(fault)
    connect(project, source)
    done = project.run("sync", "demo", ok=False)
    assert done.returncode == 4 and "repeat" in done.stderr, done.stderr


def test_pages_that_come_round_are_found(project, source):
    """Each under another address, and none twice in a row: A, B, C, A, B, C and so on."""
    fill(source, 300)

    def fault(handler, path, query):
        if path != "/records":
            return False
        page = int(query.get("page", 1))
        at = (page - 1) % 3 * 100
        link = f'<{source.url}/records?page={page + 1}&per_page=100>; rel="next"'
        handler.send(200, source.records[at : at + 100], {"Link": link})
        return True

    source.faults.append(fault)
    connect(project, source, mode="full_refresh_replace")
    done = project.run("sync", "demo", ok=False)
    assert done.returncode == 4 and "repeat" in done.stderr and "pages come round after: 3" in done.stderr, done.stderr
    assert len(source.requests) <= 24


@pytest.mark.parametrize("mode", ["incremental_merge", "full_refresh_replace"])
def test_the_same_page_given_twice_doubles_nothing(project, source, duck, mode):
    """Under its own address the second time: as when a record came in front of it."""
    fill(source, 500)

    def fault(handler, path, query):
        if path != "/records" or query.get("page") != "3":
            return False
        link = f'<{source.url}/records?page=4&per_page=100>; rel="next"'
        handler.send(200, source.records[100:200] + source.records[200:300], {"Link": link})
        return True

    source.faults.append(fault)
    connect(project, source, mode=mode)
    project.run("sync", "demo")
    verify(project, duck, source)


def test_an_empty_page_in_the_middle_is_not_the_end(project, source, duck):
    fill(source, 500)

    def fault(handler, path, query):
        if path != "/records" or query.get("page") != "3" or query.get("again"):
            return False
        handler.send(200, [], {"Link": f'<{source.url}/records?page=3&per_page=100&again=1>; rel="next"'})
        return True

    source.faults.append(fault)
    connect(project, source)
    project.run("sync", "demo")
    verify(project, duck, source)


OAUTH = """  auth:
    method: oauth2
    grant: client_credentials
    token_url: {url}/token
credential: {{ method: oauth2, client_id: weir, client_secret: s3cret-of-weir }}
"""


def test_a_token_that_ends_in_the_middle_of_a_read_is_renewed(project, source, duck):
    fill(source)
    given, used = [], []
    lock = threading.Lock()

    class Tokens:
        def __call__(self, handler, path, query):
            with lock:
                used.append(handler.headers.get("Authorization"))
                if used[-1] == f"Bearer token-{len(given)}" and len(used) % 3:
                    return False
            handler.send(401, {"message": "the token has expired"})
            return True

    def post(handler):
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with lock:
            given.append(1)
        handler.send(200, {"access_token": f"token-{len(given)}", "expires_in": 3600})

    source.posts["/token"] = post
    source.faults.append(Tokens())
    connect(project, source, extra="")
    path = project.folder / "connections/demo.yaml"
    path.write_text(path.read_text() + OAUTH.format(url=source.url))
    done = project.run("sync", "demo", "-v")
    verify(project, duck, source)
    assert len(given) >= 3, "no token ended in the middle"
    assert "s3cret" not in done.stderr and "token-1" not in done.stderr


def test_a_token_that_is_refused_even_when_new_ends_the_read(project, source):
    fill(source)
    asked = []
    source.posts["/token"] = lambda handler: handler.send(200, {"access_token": "never good", "expires_in": 3600})
    source.faults.append(lambda handler, *_: asked.append(1) or handler.send(401, {"message": "no"}) or True)
    connect(project, source)
    path = project.folder / "connections/demo.yaml"
    path.write_text(path.read_text() + OAUTH.format(url=source.url))
    done = project.run("sync", "demo", ok=False)
    assert done.returncode == 6 and len(asked) <= 4, (done.returncode, len(asked), done.stderr)


def looking_back(source, order="ascending"):
    return connection(source.url, order=order).replace(f"order: {order}", f"order: {order}, lookback: 1h")


@pytest.mark.parametrize("order", ["ascending", "descending", "unknown"])
def test_pages_that_move_lose_nothing_that_the_next_sync_does_not_bring(project, source, duck, order, seed):
    """Records come, go and are edited between two pages. What is skipped is read again within the lookback."""
    dice = random.Random(f"{seed}{order}")
    is_down = order == "descending"
    source.records = [record(i, i // 3) for i in range(500)]
    if is_down:
        source.records.reverse()
    now = [500]

    def on_page(page):
        if page in (2, 3):
            now[0] += 1
            gone = source.records.pop(dice.randrange(100))
            moved.append(gone["id"])
            fresh = record(1000 + page, now[0])
            source.records.insert(0, fresh) if is_down else source.records.append(fresh)

    moved = []
    source.on_page = on_page
    project.connection("demo", looking_back(source, order))
    project.run("sync", "demo")
    source.on_page = None
    project.run("sync", "demo")
    ids = {n for (n,) in duck.execute(f"SELECT id FROM delta_scan('{project.silver('demo_records')}')").fetchall()}
    assert ids >= {r["id"] for r in source.records}
    assert ids <= {r["id"] for r in source.records} | set(moved)


def test_what_a_moved_page_hid_is_found_by_reconcile(project, source):
    """Without a lookback one record may be skipped for good: that is found, and named."""
    source.records = [record(i, i) for i in range(500)]

    def on_page(page):
        if page == 2 and len(source.records) == 500:
            source.records.pop(5)

    source.on_page = on_page
    project.connection("demo", connection(source.url, paginate=BY_LINK))
    project.run("sync", "demo")
    project.run("sync", "demo")
    done = project.run("reconcile", "demo", "--format", "json", ok=False)
    assert done.returncode == 7, done.stdout
    assert '"missing": 1' in done.stdout, done.stdout
    project.run("sync", "demo", "--full")
    project.run("reconcile", "demo")


class Hung(socketserver.StreamRequestHandler):
    """Accepts, and says nothing; or begins an answer of which a byte comes each while, for ever."""

    drip_s = None

    def handle(self):
        self.server.asked.append(time.monotonic())
        # The request first: who speaks before it is a fault of another kind.
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        try:
            if self.server.drip_s:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n[")
            while not self.server.ended.wait(self.server.drip_s or 0.2):
                if self.server.drip_s:
                    self.wfile.write(b" ")
        except OSError:
            pass


@pytest.fixture
def hung():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hung)
    server.daemon_threads = True
    server.asked, server.ended, server.drip_s = [], threading.Event(), None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("drip_s", [None, 0.1])
def test_a_hung_source_is_found(project, hung, drip_s):
    """With a timeout of 1 s as with the default of 30 s: at most twice that, whatever the tries allow."""
    hung.drip_s = drip_s
    url = f"http://127.0.0.1:{hung.server_address[1]}"
    text = connection(url).replace(RETRY, "reliability: { timeout: 1s, retry: { attempts: 50, base: 10ms, max: 20ms } }")
    project.connection("demo", text)
    before = time.monotonic()
    done = project.run("sync", "demo", ok=False, timeout=100)
    took = time.monotonic() - before
    assert done.returncode == 4 and "no answer for" in done.stderr and "next:" in done.stderr, done.stderr
    assert len(hung.asked) >= 2 and took < 65, (len(hung.asked), took)


@pytest.mark.parametrize("drip_s", [None, 1])
def test_a_hung_source_is_found_within_a_minute_by_default(project, hung, drip_s, is_long):
    if not is_long:
        pytest.skip("takes a minute: part of make faults")
    hung.drip_s = drip_s
    project.connection("demo", connection(f"http://127.0.0.1:{hung.server_address[1]}").replace(RETRY + "\n", ""))
    before = time.monotonic()
    done = project.run("sync", "demo", ok=False, timeout=200)
    took = time.monotonic() - before
    assert done.returncode == 4 and "next:" in done.stderr, done.stderr
    assert took <= 62, f"found after {took:.0f} s"
