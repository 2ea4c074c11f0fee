"""A project as code: planned, applied, given back, and served without its folder."""

import base64
import json
import os
import shutil
import time

import postgres
import pytest
from source import connection, record
from test_api import call
from test_serve import serving

TOKEN = "credential:\n  method: bearer\n  token: {}\n"


def names(plan):
    return [(change["change"], change["kind"], change["name"]) for change in plan["changes"]]


def test_a_folder_is_planned_applied_and_given_back(project, source):
    project.connection("demo", connection(source.url) + "schedule: { tier: critical }\n")
    project.write("models/sales.sql", "-- ---\n-- owner: me\n-- ---\nSELECT 1 AS one\n")
    project.write("policies/rules.cedar", "// none yet\n")
    plan = project.json("plan")
    assert ("added", "connection", "demo") in names(plan) and ("added", "project", "weir.yaml") in names(plan)
    shown = project.run("plan", "--detailed-exit-code", ok=False)
    assert shown.returncode == 2 and "+ connection demo" in shown.stdout and "\x1b[" not in shown.stdout
    assert project.run("apply", ok=False).returncode == 2  # Nobody is there to be asked.
    project.run("apply", "--yes")
    assert project.json("plan")["changes"] == []
    assert project.run("plan", "--detailed-exit-code").returncode == 0
    assert [line["connection"] for line in project.json("schedule", "list")] == ["demo"]

    out = project.folder.parent / "exported"
    project.run("export", out)
    assert project.run("export", out, ok=False).returncode == 2
    for path in ("weir.yaml", "connections/demo.yaml", "models/sales.sql", "policies/rules.cedar"):
        assert (out / path).read_bytes() == (project.folder / path).read_bytes()
    shutil.copytree(project.folder / ".weir", out / ".weir")
    assert project.json("plan", "--project", out)["changes"] == []
    noted = project.json("audit", "list", "--action", "project.apply")
    assert len(noted) == 1


def test_a_plan_is_applied_only_while_it_is_true(project):
    project.write("models/a.sql", "SELECT 1 AS one\n")
    project.run("plan", "--out", "first.plan")
    project.write("models/a.sql", "SELECT 2 AS two\n")
    stale = project.run("apply", "--yes", "--plan", "first.plan", ok=False)
    assert stale.returncode != 0 and "weir plan" in stale.stderr
    project.run("plan", "--out", "second.plan")
    project.run("apply", "--yes", "--plan", "second.plan")
    project.write("models/a.sql", "SELECT 3 AS three\n")
    project.run("plan", "--out", "third.plan")
    project.run("apply", "--yes")
    late = project.run("apply", "--yes", "--plan", "third.plan", ok=False)
    assert late.returncode != 0 and "somebody applied" in late.stderr


def test_state_and_secrets_are_not_left_behind_unseen(project, source):
    source.records = [record(n, n) for n in range(3)]
    project.connection("demo", connection(source.url))
    project.run("apply", "--yes")
    project.run("sync", "demo")
    (project.folder / "connections/demo.yaml").rename(project.folder / "connections/other.yaml")
    refused = project.run("apply", "--yes", ok=False)
    assert refused.returncode == 7 and "--accept-orphans connection:demo" in refused.stderr
    project.run("apply", "--yes", "--accept-orphans", "connection:demo")
    assert project.json("plan")["changes"] == []


@pytest.mark.parametrize("value, ok", [("abc123", False), ("${DEMO_TOKEN}", True), ("secret:demo_token", True)])
def test_a_secret_is_never_applied(project, source, value, ok):
    project.connection("demo", connection(source.url).split("credential:")[0] + TOKEN.format(value))
    done = project.run("plan", ok=False)
    assert (done.returncode == 0) == ok, done.stderr
    assert "abc123" not in done.stdout + done.stderr
    if not ok:
        assert "credential.token" in done.stderr and "weir secret set" in done.stderr


def test_a_server_without_a_folder_serves_what_was_applied(project, source, tmp_path):
    source.records = [record(n, n) for n in range(3)]
    with postgres.running() as database:
        if database is None:
            pytest.skip("PostgreSQL is not installed")
        project.env["WEIR_DATABASE_URL"] = database.url
        project.connection("demo", connection(source.url))
        file = project.folder / "weir.yaml"
        file.write_text(file.read_text().replace("location: ./lake", f"location: {project.lake}"))
        if str(project.lake) not in file.read_text():
            file.write_text(file.read_text() + f"\nlake:\n  location: {project.lake}\n")
        project.run("apply", "--yes")
        token = project.run("token", "create", "boss", "--role", "admin").stdout.strip()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        project.folder = elsewhere
        refused = project.run("serve", "--listen", "127.0.0.1:0", ok=False, timeout=60)
        assert refused.returncode == 3 and "WEIR_PII_KEY" in refused.stderr
        key = lambda: base64.b64encode(os.urandom(32)).decode()  # noqa: E731
        project.env.update(WEIR_PII_KEY=key(), WEIR_AUDIT_KEY=key(), WEIR_MASTER_KEY=key())
        with serving(project) as process:
            status, run = call(process.url, token, "/runs", "POST", {"connection": "demo"})
            assert status == 202, run
            while (now := call(process.url, token, f"/runs/{run['id']}")[1])["status"] in ("queued", "running"):
                time.sleep(0.2)
            assert now["status"] == "succeeded", json.dumps(now)
