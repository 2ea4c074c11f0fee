"""The API as a program uses it: a token, a run that is queued and done, a second tenant that sees nothing."""

import csv
import io
import json
import urllib.error
import urllib.request

from source import connection, record
from test_serve import Store, serving


def call(url, token, path, method="GET", body=None, **headers):
    """Status and answer."""
    headers = {"Authorization": f"Bearer {token}", **headers}
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/api/v1{path}", data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def first_token(process):
    said = process.stdout.readline()
    assert "shown this once: weir_" in said, said
    return said.split()[-1]


def test_a_program_queues_a_run_and_another_tenant_sees_nothing(project, source):
    source.records = [record(n, n) for n in range(30)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    with serving(project) as process:
        admin = first_token(process)
        status, run = call(process.url, admin, "/runs", "POST", {"connection": "demo"}, **{"Idempotency-Key": "a"})
        assert status == 202, run
        assert call(process.url, admin, "/runs", "POST", {"connection": "demo"}, **{"Idempotency-Key": "a"})[1] == run
        Store(project).until("succeeded", 2)
        status, done = call(process.url, admin, f"/runs/{run['id']}")
        assert (status, done["status"]) == (200, "succeeded")
        board = call(process.url, admin, "/connectors/governance")[1]["items"]
        assert [(line["connection"], line["status"]) for line in board if line["registered"]] == [("demo", "ok")]
        assert all({"en", "ar"} <= line["name"].keys() for line in board)
        assert call(process.url, admin, "/connectors/health")[1]["connections"][0]["status"] == "ok"

        project.run("tenant", "create", "north")
        north = project.run("token", "create", "reader", "--role", "admin", "--tenant", "north").stdout.strip()
        assert call(process.url, north, "/runs")[1]["items"] == []
        assert call(process.url, north, f"/runs/{run['id']}")[0] == 404

        analyst = project.run("token", "create", "reader", "--role", "analyst", "--expires", "1d").stdout.strip()
        assert call(process.url, analyst, "/runs")[0] == 200
        status, refused = call(process.url, analyst, "/runs", "POST", {"connection": "demo"})
        assert (status, refused["context"]["missing"]) == (403, "runs:write")
        project.run("token", "revoke", analyst.split("_")[1])
        assert call(process.url, analyst, "/runs")[0] == 401

        review = project.run("access", "review", "--format", "csv").stdout
        rows = {row["principal"]: row for row in csv.DictReader(io.StringIO(review))}
        assert rows["admin"]["status"] == "active" and rows["admin"]["last_used"]
        assert rows["reader"]["status"] == "revoked" and rows["reader"]["permissions"] == ""
        for secret in (admin, north, analyst):
            assert secret.split("_")[2] not in review
    # The first token is made once.
    with serving(project, "--runs-at-once", "0") as process:
        assert call(process.url, admin, "/runs")[0] == 200
        process.terminate()
        assert process.stdout.read() == ""
