"""Workers that have neither store nor project: `weir worker` against a real `weir serve`, over TLS."""

import contextlib
import json
import os
import select
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import postgres
import pytest
from source import connection, record
from test_lifecycle import CONNECTOR, connector
from test_serve import ANSWER_S_MAX, HOURLY, Store, serving

BEARER = "  auth: { method: bearer, token: '{{ credential.token }}' }\n"
PLANTED = "pl4nted-cr3dential-of-a-vendor"


def certificates(folder, name):
    """An authority, and a server's certificate and key that it signed."""
    folder = folder / name
    folder.mkdir()

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", "/CN=weir", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "names", "-out", "server.pem")
    return folder


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("tls"), "own")


class Control:
    """A server that carries out no run itself, on a port that it has again after a restart."""

    def __init__(self, project, tls, env):
        self.project, self.tls, self.env, self.port = project, tls, env, postgres.free_port()
        self.stack = contextlib.ExitStack()

    def start(self):
        self.process = self.stack.enter_context(serving(
            self.project, "--runs-at-once", "0", "--tls-cert", self.tls / "server.pem", "--tls-key",
            self.tls / "server.key", env=self.env, port=self.port,
        ))

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def token(self, *role):
        arguments = role or ("--role", "worker")
        return self.project.run("token", "create", "carrier", *arguments, env=self.env).stdout.strip()

    def ask(self, token, path, method="GET", body=None, base="/api/v1"):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{base}{path}", data=data, method=method, headers=headers)
        trust = ssl.create_default_context(cafile=str(self.tls / "ca.pem"))
        try:
            with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


class Workers:
    """Worker processes, each in an empty folder and with nothing in its environment but the token."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.running = binary, folder, []

    def start(self, control, token, *arguments, ca=None, name=None, ready=True, env=None):
        name = name or f"worker-{len(self.running)}"
        home = self.folder / f"{name}-{len(self.running)}"
        home.mkdir()
        log = open(home / "log", "wb")
        command = [self.binary, "worker", "--control", control if isinstance(control, str) else control.url,
                   "--name", name, "--ca", str(ca or control.tls / "ca.pem"), *arguments]
        process = subprocess.Popen(
            command, cwd=home, env={"PATH": os.environ["PATH"], "HOME": str(home), "WEIR_TOKEN": token, "WEIR_LOG": "debug", **(env or {})},
            stdout=subprocess.PIPE, stderr=log, text=True,
        )
        log.close()
        process.home, process.log = home, home / "log"
        self.running.append(process)
        if ready:
            found, _, _ = select.select([process.stdout], [], [], ANSWER_S_MAX)
            said = process.stdout.readline() if found else ""
            assert said.startswith(f"worker {name} carries"), (said, process.log.read_text())
        return process

    def stop(self):
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(ANSWER_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

    def left_behind(self):
        """Everything that workers wrote."""
        files = [path for process in self.running for path in process.home.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files}


@pytest.fixture
def workers(binary, tmp_path):
    folder = tmp_path / "workers"
    folder.mkdir()
    running = Workers(binary, folder)
    yield running
    running.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, project):
    if request.param == "sqlite":
        yield Store(project)
        return
    if postgres.is_left_out() or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.running() as server:
        yield Store(project, server)


@pytest.fixture
def control(project, own, store):
    running = Control(project, own, store.env)
    with running.stack:
        yield running


def queue(store, count=1):
    store.make_due()
    return store.until("succeeded", count)


def connect(project, source, *names, extra=HOURLY, auth=""):
    text = connection(source.url, extra=extra).replace("  check:", f"{auth}  check:")
    for name in names:
        project.connection(name, text.replace("source: demo", f"source: {name}"))


def test_workers_carry_runs_with_credentials_that_they_forget(project, source, control, store, workers):
    source.records = [record(n, n) for n in range(250)]
    shown = []
    source.faults.append(lambda handler, *_: shown.append(handler.headers.get("Authorization")))
    subprocess.run(
        [project.binary, "secret", "set", "vendor"], input=PLANTED, text=True, check=True,
        cwd=project.folder, env={**project.env, **store.env}, capture_output=True,
    )
    names = ("demo", "one", "two", "three")
    connect(project, source, *names, extra=HOURLY + "credential: { method: bearer, token: 'secret:vendor' }\n", auth=BEARER)
    control.start()
    token = control.token()
    first, second = (workers.start(control, token, "--concurrency", "2") for _ in range(2))
    runs = queue(store, len(names))
    assert {run["status"] for run in runs} == {"succeeded"}
    assert store.rows() == {"n": 250, "keys": 250}
    assert set(shown) == {f"Bearer {PLANTED}"}
    admin = control.token("--role", "admin")
    status, listed = control.ask(admin, "/workers")
    assert status == 200
    carried = {worker["name"]: worker["runs_carried"] for worker in listed["items"] if worker["principal"]}
    assert sum(carried.values()) == len(names) and carried.keys() == {"worker-0", "worker-1"}, carried
    run = control.ask(admin, f"/runs/{runs[0]['id']}")[1]
    assert run["worker"].split("/")[:2] in (["carrier", "worker-0"], ["carrier", "worker-1"])
    status, refused = control.ask(token, "/runs")
    assert (status, refused["context"]["missing"]) == (403, "runs:read")
    noted = json.loads(project.run("audit", "list", "--format", "json", env=store.env).stdout)
    lent = [entry for entry in noted if entry["action"] == "secret.lend"]
    assert len(lent) == len(names) and all(entry["principal"] == "token:" + token.split("_")[1] for entry in lent)
    assert project.run("audit", "verify", env=store.env).returncode == 0
    workers.stop()
    assert (first.returncode, second.returncode) == (0, 0)
    written = workers.left_behind()
    assert {path.name for path in written} == {"log"}
    for path, content in written.items():
        assert PLANTED.encode() not in content and token.encode() not in content, path


CLIENT = """  auth:
    method: oauth2
    grant: client_credentials
    token_url: '{url}/token'
    client_id: '{{{{ credential.client_id }}}}'
    client_secret: '{{{{ credential.client_secret }}}}'
"""


def test_a_worker_gets_a_clients_tokens_and_not_what_they_are_made_from(project, source, control, store, workers):
    source.records = [record(n, n) for n in range(250)]
    shown, asked = [], []
    source.faults.append(lambda handler, *_: shown.append(handler.headers.get("Authorization")))

    def token_of(handler):
        asked.append(urllib.parse.parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode()))
        handler.send(200, {"access_token": f"short-{len(asked)}", "token_type": "bearer", "expires_in": 3600})

    source.posts["/token"] = token_of
    credential = f"credential: {{ method: oauth2, client_id: weir, client_secret: {PLANTED} }}\n"
    connect(project, source, "demo", extra=HOURLY + credential, auth=CLIENT.format(url=source.url))
    control.start()
    token = control.token()
    first = workers.start(control, token)
    queue(store)
    # Another process asks nobody anew: the server has a token that is good still.
    first.send_signal(signal.SIGTERM)
    first.wait(ANSWER_S_MAX)
    workers.start(control, token)
    queue(store, 2)
    assert store.rows() == {"n": 250, "keys": 250}
    assert [form["client_secret"] for form in asked] == [[PLANTED]] and set(shown) == {"Bearer short-1"}
    noted = json.loads(project.run("audit", "list", "--format", "json", env=store.env).stdout)
    lent = [json.dumps(entry) for entry in noted if entry["action"] == "secret.lend"]
    assert any("access_token" in entry for entry in lent) and not any("client_secret" in entry for entry in lent), lent
    workers.stop()
    for path, content in workers.left_behind().items():
        assert PLANTED.encode() not in content, path


def test_a_revoked_token_ends_the_worker(project, source, control, workers):
    control.start()
    token = control.token()
    worker = workers.start(control, token)
    project.run("token", "revoke", token.split("_")[1], env=control.env)
    worker.wait(ANSWER_S_MAX)
    said = worker.log.read_text()
    assert worker.returncode == 6, said
    assert "the token was revoked" in said and "weir token create" in said


def test_whoever_does_not_fit_is_refused_at_once(project, control, workers, own, tmp_path_factory, binary):
    control.start()
    token = control.token()
    others = certificates(tmp_path_factory.mktemp("tls"), "others")
    worker = workers.start(control, token, ca=others / "ca.pem", ready=False)
    assert worker.wait(ANSWER_S_MAX) != 0
    assert "--ca" in worker.log.read_text(), worker.log.read_text()
    for name, shown, code, hint in [
        ("analyst", control.token("--role", "analyst"), 7, "with the role"),
        ("nobody", "weir_0000000000000000_" + "0" * 64, 6, "weir token create"),
    ]:
        worker = workers.start(control, shown, name=name, ready=False)
        assert worker.wait(ANSWER_S_MAX) == code, worker.log.read_text()
        assert hint in worker.log.read_text()
    plain = workers.start("http://weir.example.com", token, ca=own / "ca.pem", ready=False)
    assert plain.wait(ANSWER_S_MAX) == 3 and "not encrypted" in plain.log.read_text()
    for protocol, hint in [(1, "upgrade the worker"), (99, "upgrade the server")]:
        hello = {"protocol": protocol, "version": "9.9.9", "name": "old", "session": "01890a5d-ac96-774b-bcce-b302099a8057", "call": {}}
        status, refused = control.ask(token, "/hello", "POST", hello, base="/worker/v1")
        assert status == 400 and refused["next_step"].startswith(hint), refused
    mixed = project.run("serve", "--tls-cert", own / "server.pem", "--tls-key", others / "server.key", ok=False, env=control.env)
    assert mixed.returncode == 3 and "do not fit together" in mixed.stderr


def test_a_server_that_restarts_in_the_middle_of_a_run_is_waited_for(project, source, control, store, workers):
    source.records = [record(n, n) for n in range(900)]
    connect(project, source, "demo")
    control.start()

    def restart(page):
        if page == 5 and control.process.returncode is None:
            control.kill()
            time.sleep(3)
            control.start()

    source.on_page = restart
    workers.start(control, control.token())
    runs = queue(store)
    assert [run["status"] for run in runs] == ["succeeded"]
    assert store.rows() == {"n": 900, "keys": 900}


def test_another_worker_goes_on_with_what_a_killed_one_had(project, source, control, store, workers):
    source.records = [record(n, n) for n in range(900)]
    connect(project, source, "demo")
    control.start()
    token = control.token()
    first = workers.start(control, token)

    def kill(page):
        if page == 5 and first.poll() is None:
            os.kill(first.pid, signal.SIGKILL)
            first.wait()

    source.on_page = kill
    store.make_due()
    first.wait(ANSWER_S_MAX)
    source.on_page = None
    began = time.monotonic()
    workers.start(control, token)
    runs = store.until("succeeded")
    assert time.monotonic() - began < 300
    assert [run["status"] for run in runs] == ["succeeded", "abandoned"]
    assert store.rows() == {"n": 900, "keys": 900}


@pytest.mark.parametrize("blow", ["killed", "its token revoked"])
def test_a_run_asked_for_once_goes_on_by_another_worker(project, source, own, workers, blow):
    """A run of the API has one attempt at the source, which the end of a worker does not spend."""
    store = Store(project)
    source.records = [record(n, n) for n in range(900)]
    connect(project, source, "demo")
    control = Control(project, own, store.env)
    with control.stack:
        control.start()
        token, others = control.token(), control.token()
        first = workers.start(control, token)

        def strike(page):
            if page != 5 or first.poll() is not None:
                return
            if blow == "killed":
                os.kill(first.pid, signal.SIGKILL)
            else:
                project.run("token", "revoke", token.split("_")[1], env=store.env)
            first.wait(ANSWER_S_MAX)

        source.on_page = strike
        asked = control.ask(control.token("--role", "operator"), "/runs", "POST", {"connection": "demo"})
        assert asked[0] in (201, 202), asked
        first.wait(2 * ANSWER_S_MAX)
        source.on_page = None
        began = time.monotonic()
        workers.start(control, others)
        runs = store.until("succeeded")
        assert time.monotonic() - began < 300
    assert [run["status"] for run in runs] == ["succeeded", "abandoned"]
    assert store.rows() == {"n": 900, "keys": 900}


def test_a_worker_reads_with_the_connector_in_production(project, source, own, workers):
    store = Store(project)
    source.records = [record(n, n) for n in range(30)]
    connector(project, "1.0.0")
    settings = f"connector: acme\nsource: demo\nallow_private_hosts: true\nconfig: {{ base_url: '{source.url}' }}\n"
    project.connection("demo", settings)
    promote = ["connector", "promote", "acme"]
    for _ in range(3):
        project.run(*promote)
    project.run(*promote, "--without-staging", "read by a test")
    # What stands in the folder since cannot be read with.
    text = CONNECTOR.format(version="2.0.0", key="id").replace("path: /records", "path: /nowhere")
    project.write("connectors/acme/connector.yaml", text)
    control = Control(project, own, store.env)
    with control.stack:
        control.start()
        workers.start(control, control.token())
        operator = control.token("--role", "operator")
        asked = control.ask(operator, "/runs", "POST", {"connection": "demo"})
        assert asked[0] in (201, 202), asked
        runs = store.until("succeeded")
    assert [run["status"] for run in runs] == ["succeeded"]
    assert store.rows() == {"n": 30, "keys": 30}


def test_a_worker_hears_a_wish_to_cancel_and_ends_its_runs_when_it_is_stopped(project, source, control, store, workers):
    source.records = [record(n, n) for n in range(2000)]
    connect(project, source, "demo")
    control.start()
    worker = workers.start(control, control.token())

    def ask(page):
        if page == 3:
            project.run("run", "cancel", store.runs()[0]["id"], env=store.env)
        if page > 3:
            time.sleep(0.8)

    source.on_page = ask
    store.make_due()
    assert len(store.until("cancelled")) == 1
    source.on_page = lambda page: worker.send_signal(signal.SIGTERM) if page == 2 else None
    store.make_due()
    worker.wait(ANSWER_S_MAX)
    assert worker.returncode == 0
    assert store.runs()[0]["status"] == "succeeded"
    assert store.rows() == {"n": 2000, "keys": 2000}


def test_a_silent_worker_is_found_within_a_minute_and_its_run_taken_over(project, source, own, workers):
    """Frozen, not killed: its process lives, so that only its silence tells."""
    store = Store(project)
    source.records = [record(n, n) for n in range(900)]
    connect(project, source, "demo")
    control = Control(project, own, store.env)
    with control.stack:
        control.start()
        token = control.token()
        first = workers.start(control, token)
        frozen = []

        def freeze(page):
            if page == 5 and not frozen:
                os.kill(first.pid, signal.SIGSTOP)
                frozen.append(time.monotonic())

        source.on_page = freeze
        store.make_due()
        deadline = time.monotonic() + ANSWER_S_MAX
        while not frozen and time.monotonic() < deadline:
            time.sleep(0.05)
        workers.start(control, token)
        store.until("abandoned")
        detected = time.monotonic() - frozen[0]
        store.until("succeeded")
        taken_over = time.monotonic() - frozen[0]
        print(f"detected after {detected:.1f} s, taken over and done after {taken_over:.1f} s")
        assert detected <= 60 and taken_over <= 300
        # It wakes, finds that the run is another's, and spoils nothing.
        os.kill(first.pid, signal.SIGCONT)
        assert store.rows() == {"n": 900, "keys": 900}
        store.make_due()
        runs = store.until("succeeded", 2)
    assert [run["status"] for run in runs] == ["succeeded", "succeeded", "abandoned"]
    assert store.rows() == {"n": 900, "keys": 900}
