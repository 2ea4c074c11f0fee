"""Bundles: several calls as one, at a vendor with state that ignores idempotency keys."""

import json

import pytest
from mart import Mart, bundle, open_shop
from receivers import wait_until
from test_api import call, first_token
from test_mcp import message, token
from test_serve import serving


@pytest.fixture
def mart():
    with Mart() as running:
        yield running


def run_of(project, name, run, *more):
    """A run as it stands after the command, however that ended."""
    given = json.dumps({"run": run})
    done = project.run("bundle", "run", name, "--input", given, "--format", "json", *more, ok=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def steps(run):
    return [step["status"] for step in run["steps"]]


def test_a_bundle_is_checked_before_it_is_applied(project, mart):
    open_shop(project, mart)
    project.run("validate")
    undo = "compensation: { action: remove, with: { thing: x } }"
    for text, says in [
        ("{ action: mak, with: { thing: x }, " + undo + " }", "did you mean 'make'?"),
        ("{ action: make, with: { thing: x } }", "nothing says how 'make' (effect write) is taken back"),
        ("{ action: tell, with: { thing: x } }", "effect message"),
        ("{ action: make, with: { thing: '{{ steps.z.output.thing }}' }, " + undo + " }", "comes later"),
        ("{ action: make, with: { thng: x }, " + undo + " }", "'thing' is missing"),
        ("{ action: make, with: { thing: x }, compensation: { none: '' } }", "nothing with a reason"),
        ("{ action: make, with: { thing: '{{ inptu.run }}' }, " + undo + " }", "did you mean 'input'?"),
    ]:
        step = text.replace("{ action", "{ name: y, connection: shop, action", 1)
        last = "{ name: z, connection: shop, action: make, with: { thing: z }, " + undo + " }"
        project.write("bundles/wrong.yaml", f"title: W\nsteps:\n  - {step}\n  - {last}\n")
        for command in ("validate", "plan"):
            refused = project.run(command, ok=False)
            assert refused.returncode == 3 and says in refused.stdout + refused.stderr, (text, refused)
        # The others can be used, and this one says why not.
        assert [line["bundle"] for line in project.json("bundle", "list")] == ["asked", "three"]
        assert says in project.run("bundle", "run", "wrong", ok=False).stderr
    told = "  - { name: told, connection: shop, action: tell, with: { thing: x }, compensation: { none: it was read } }\n"
    project.write("bundles/wrong.yaml", bundle(("a", "make"), rest=told))
    said = project.run("validate").stdout
    assert "once step 'told' is done: nothing takes it back (it was read)" in said, said
    planned = project.run("plan").stdout
    assert "+ bundle three" in planned and "once step 'told'" in planned
    project.run("apply", "--yes")
    assert "no difference" in project.run("plan").stdout
    project.run("export", project.folder.parent / "again")
    assert (project.folder.parent / "again/bundles/three.yaml").read_text() == bundle(
        ("a", "make"), ("b", "blind"), ("c", "make")
    )
    shown = project.run("bundle", "show", "wrong").stdout
    assert json.loads(shown)["pivot"] == "told" and json.loads(shown)["effect"] == "message"
    assert "did you mean 'three'?" in project.run("bundle", "run", "tree", ok=False).stderr
    assert '"steps"' in project.run("schema", "bundle").stdout


def test_all_is_made_or_none(project, mart):
    open_shop(project, mart)
    dry = json.loads(project.run("bundle", "run", "three", "--input", '{"run": "d"}', "--dry-run").stdout)
    assert [step["name"] for step in dry["bundle"]["steps"]] == ["a", "b", "c"] and not mart.effects
    missing = project.run("bundle", "run", "three", ok=False)
    assert missing.returncode == 2 and "input.run is missing" in missing.stderr
    done = run_of(project, "three", "x", "--idempotency-key", "k")
    assert (done["status"], steps(done)) == ("done", ["done"] * 3)
    again = run_of(project, "three", "x", "--idempotency-key", "k")
    assert again == done and mart.nets("x", "a", "b", "c") == [1, 1, 1]
    other = project.run("bundle", "run", "three", "--input", '{"run": "y"}', "--idempotency-key", "k", ok=False)
    assert other.returncode == 3 and "used for another bundle" in other.stderr
    assert {effect["correlation"] for effect in mart.effects} == {done["id"]}
    calls = project.json("call", "list")
    assert len(calls) == 3 and len(mart.effects) == 3
    mart.refuses.add("y-c")
    failed = project.run("bundle", "run", "three", "--input", '{"run": "y"}', ok=False)
    assert failed.returncode == 4 and "step 'c' failed" in failed.stderr, failed.stderr
    assert mart.nets("y", "a", "b", "c") == [0, 0, 0]
    assert [e["thing"] for e in mart.effects if e["kind"] == "remove"] == ["y-b", "y-a"]
    listed = project.json("bundle", "runs")
    assert [(run["bundle"], run["status"]) for run in listed] == [("three", "compensated"), ("three", "done")]
    entries = [entry for entry in project.json("audit", "list") if entry["correlation_id"] == done["id"]]
    noted = [entry["action"] for entry in reversed(entries)]
    assert noted == ["bundle.ask"] + ["bundle.register", "call.begin", "call.end", "bundle.step"] * 3 + ["bundle.end"]
    project.run("audit", "verify")


def test_a_person_helps_where_nobody_else_can(project, mart):
    open_shop(project, mart)
    mart.loses.add("x-b")
    parked = run_of(project, "three", "x")
    assert (parked["status"], parked["parked_for"]) == ("parked", "uncertain")
    assert "weir bundle settle" in parked["parked_error"]["hint"]
    told = ("--reason", "seen in the mart", "--format", "json")
    refused = project.run("bundle", "settle", parked["id"], *told, ok=False)
    assert refused.returncode == 2, refused.stderr
    settled = json.loads(project.run("bundle", "settle", parked["id"], "--happened", *told).stdout)
    assert settled["status"] == "done" and mart.nets("x", "a", "b", "c") == [1, 1, 1]
    # A compensation that does not work is tried again, then parked; a person retries or settles it.
    for run in ("y", "z"):
        mart.refuses.add(f"{run}-c")
        mart.stuck.add(f"{run}-a")
        stuck = run_of(project, "three", run, "--wait", "60s")
        assert (stuck["status"], stuck["parked_for"], stuck["parked_step"]) == ("parked", "compensation", "a"), stuck
        assert mart.nets(run, "a", "b", "c") == [1, 0, 0] and "step 'c' failed" in stuck["error"]["message"]
        if run == "y":
            mart.stuck.clear()
            ended = json.loads(project.run("bundle", "retry", stuck["id"], "--format", "json").stdout)
            assert steps(ended) == ["undone", "undone", "failed"] and mart.nets("y", "a", "b", "c") == [0, 0, 0]
        else:
            ended = json.loads(project.run("bundle", "settle", stuck["id"], *told).stdout)
            assert steps(ended) == ["settled", "undone", "failed"]
        assert ended["status"] == "compensated"
    assert project.run("bundle", "retry", stuck["id"], ok=False).returncode == 5
    project.run("audit", "verify")


def test_over_the_api_a_run_waits_for_people(project, mart):
    open_shop(project, mart)
    with serving(project) as process:
        admin = first_token(process)
        make = lambda name, kind, role: project.run(
            "token", "create", name, "--kind", kind, "--role", role
        ).stdout.strip()
        bot, ann = make("bot", "agent", "agent"), make("ann", "user", "approver")

        def ask(name, run, **headers):
            return call(process.url, bot, f"/bundles/{name}/runs", "POST", {"input": {"run": run}}, **headers)

        names = [offer["bundle"] for offer in call(process.url, bot, "/bundles")[1]["items"]]
        assert names == ["asked", "three"]
        assert call(process.url, bot, "/bundles/three")[1]["effect"] == "write"
        assert call(process.url, bot, "/bundles/tree")[0] == 404
        status, done = ask("three", "x", **{"Idempotency-Key": "k"})
        assert (status, done["status"]) == (200, "done"), done
        assert ask("three", "x", **{"Idempotency-Key": "k"}) == (200, done)
        assert ask("three", "y", **{"Idempotency-Key": "k"})[0] == 422
        mart.refuses.add("f-b")
        status, problem = ask("three", "f")
        assert (status, problem["bundle_status"]) == (502, "compensated"), problem
        assert mart.nets("f", "a", "b", "c") == [0, 0, 0]

        def decided(run, verdict):
            status, waits = ask("asked", run)
            assert (status, waits["status"]) == (202, "running") and mart.nets(run, "a", "b", "c") == [1, 0, 0]
            path = f"/approvals/{waits['waits_for']}/{verdict}"
            assert call(process.url, ann, path, "POST", {})[0] == 200
            path = f"/bundle-runs/{waits['id']}"
            over = lambda: (run := call(process.url, bot, path)[1])["status"] != "running" and run  # noqa: E731
            return wait_until(lambda: (run := over()) and run["status"] != "compensating" and run, "the end")

        assert decided("p", "approve")["status"] == "done" and mart.nets("p", "a", "b", "c") == [1, 1, 1]
        assert decided("q", "reject")["status"] == "compensated" and mart.nets("q", "a", "b", "c") == [0, 0, 0]
        waits = ask("asked", "r")[1]
        assert call(process.url, ann, f"/bundle-runs/{waits['id']}")[0] == 200
        status, cancelled = call(process.url, bot, f"/bundle-runs/{waits['id']}/cancel", "POST")
        assert (status, cancelled["status"]) == (200, "compensated"), cancelled
        assert mart.nets("r", "a", "b", "c") == [0, 0, 0]
        mart.loses.add("u-b")
        status, problem = ask("three", "u")
        assert (status, problem["bundle_status"]) == (502, "parked") and problem["next_step"]
        path = f"/bundle-runs/{problem['bundle_run']}"
        told = {"reason": "seen", "happened": True, "remote_id": "u-b"}
        assert call(process.url, bot, f"{path}/settle", "POST", told)[0] == 403
        status, settled = call(process.url, ann, f"{path}/settle", "POST", told)
        assert (status, settled["status"]) == (200, "done"), settled
        events = call(process.url, admin, "/events?limit=200")[1]["items"]
        told = {event["type"].removeprefix("weir.") for event in events}
        assert {"bundle.started", "bundle.compensating", "bundle.parked", "bundle.ended"} <= told
        parked = call(process.url, admin, "/bundle-runs?status=parked")[1]["items"]
        assert parked == [] and not mart.doubled()
    project.run("audit", "verify")


def test_an_agent_has_bundles_as_tools_and_their_runs_as_tasks(project, mart):
    open_shop(project, mart)
    tasks = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    with serving(project) as process:
        first_token(process)
        bot, ann = token(project, "bot", "agent", "agent"), token(project, "ann", "user", "approver")
        listed = message(process.url, bot, "tools/list", {})[1]["result"]["tools"]
        tools = {tool["name"]: tool for tool in listed}
        assert {"bundle.three", "bundle.asked", "shop.make"} <= tools.keys()
        assert "idempotency_key" in tools["bundle.three"]["inputSchema"]["properties"]

        def use(name, run, capabilities=None, **more):
            params = {"name": f"bundle.{name}", "arguments": {"run": run, **more}}
            return message(process.url, bot, "tools/call", params, capabilities)[1]["result"]

        done = use("three", "x", idempotency_key="k")["structuredContent"]
        assert done["status"] == "done" and mart.nets("x", "a", "b", "c") == [1, 1, 1]
        assert use("three", "x", idempotency_key="k")["structuredContent"] == {**done, "replayed": True}
        mart.refuses.add("y-c")
        failed = use("three", "y")
        assert failed["isError"] and failed["structuredContent"]["status"] == "compensated", failed
        begun = use("asked", "p", tasks)
        assert (begun["resultType"], begun["status"]) == ("task", "working"), begun
        unwanted = use("asked", "q", tasks)["taskId"]
        get = lambda who, task: message(process.url, who, "tasks/get", {"taskId": task}, tasks)[1]
        assert get(ann, begun["taskId"])["error"]["code"] == -32602
        message(process.url, bot, "tasks/cancel", {"taskId": unwanted}, tasks)
        assert get(bot, unwanted)["result"]["status"] == "cancelled" and mart.nets("q", "a", "b", "c") == [0, 0, 0]
        waits = project.json("bundle", "show", begun["taskId"])["waits_for"]
        assert call(process.url, ann, f"/approvals/{waits}/approve", "POST", {})[0] == 200
        over = lambda: (told := get(bot, begun["taskId"])["result"])["status"] == "completed" and told
        assert wait_until(over, "the task")["result"]["structuredContent"]["status"] == "done"


def test_who_may_not_read_a_connection_sees_no_bundle_of_it(project, mart):
    open_shop(project, mart)
    project.write(
        "policies/rules.cedar",
        '@id("no-shop")\n'
        'forbid(principal == Principal::"stranger", action == Action::"actions:read", resource in Connection::"shop");\n',
    )
    with serving(project) as process:
        first_token(process)
        stranger, other = token(project, "stranger", "agent", "agent"), token(project, "other", "agent", "agent")
        started = call(process.url, other, "/bundles/three/runs", "POST", {"input": {"run": "x"}})[1]
        for path in ("/bundles/three", f"/bundle-runs/{started['id']}"):
            assert call(process.url, other, path)[0] == 200
            status, problem = call(process.url, stranger, path)
            assert status in (403, 404) and "shop" not in json.dumps(problem["detail"]), problem
        for path in ("/bundles", "/bundle-runs"):
            assert call(process.url, stranger, path)[1]["items"] == []
