"""Actions: governed calls at a vendor with state, which remembers every effect and ignores idempotency keys."""

import base64
import hashlib
import hmac
import json
import threading
import time
import urllib.parse

import pytest
from receivers import Receiver, wait_until
from test_api import call, first_token
from test_serve import serving
from vendor import JsonHandler, Vendor

SECRET = base64.b64encode(b"k" * 32).decode()

# Longer than the five seconds for which a library waits at the end of standard input.
SLOW_S = 8


class Till(Vendor):
    """Books payments. `mood`: fine, refuse (400), lose (does it, then breaks off), silent_500 (does it, answers 500),
    slow (answers after longer than MCP clients' libraries wait)."""

    def __enter__(self):
        till = self
        self.mood, self.payments, self.asked, self.lock = "fine", [], 0, threading.Lock()

        class Handler(JsonHandler):
            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
                with till.lock:
                    found = [p for p in till.payments if p["reference"] == query["reference"][0]]
                self.answer(200, {"data": found})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with till.lock:
                    till.asked += 1
                    if till.mood == "refuse":
                        return self.answer(400, {"error": "too much"})
                    payment = {"id": f"pay_{len(till.payments)}", **body}
                    till.payments.append(payment)
                if till.mood == "lose":
                    self.close_connection = True
                    return self.connection.close()
                if till.mood == "slow":
                    time.sleep(SLOW_S)
                if till.mood == "silent_500":
                    return self.answer(500, {})
                self.answer(201, {"data": payment})

        return self.listen(Handler)


ACTION = """
  - name: {name}
    title: Pay
    effect: money
    approval: {approval}
    input:
      type: object
      required: [amount, to]
      additionalProperties: false
      properties: {{ amount: {{ type: integer, minimum: 1 }}, to: {{ type: string }} }}
    request:
      path: /payments
      json: {{ amount: "{{{{ input.amount }}}}", to: "{{{{ input.to }}}}", reference: "{{{{ idempotency_key }}}}" }}
    output: {{ id: data.id }}
    remote_id: id
    idempotency: {idempotency}
"""
LOOKUP = """
      lookup:
        request: { path: /payments, params: { reference: "{{ idempotency_key }}" } }
        select: { path: data }
        output: { id: id }"""


@pytest.fixture
def till():
    with Till() as running:
        yield running


def shop(project, till, rules=""):
    """A project with the till as a connection, whose token is a secret of the file's."""
    head = """
spec: 1
connector: till
version: 1.0.0
name: { en: Till }
hosts: ["{{ config.url | replace('http://', '') }}"]
config: { type: object, required: [url], properties: { url: { type: string } } }
auth: [{ method: bearer, token: "{{ credential.token }}" }]
http: { base_url: "{{ config.url }}" }
reliability: { timeout: 5s, retry: { attempts: 2, base: 10ms } }
actions:"""
    actions = [("tip", "auto", "none"), ("book", "auto", LOOKUP), ("pay", "required", "none")]
    text = head + "".join(ACTION.format(name=n, approval=a, idempotency=i) for n, a, i in actions)
    project.write("connectors/till/connector.yaml", text)
    project.write(
        "connections/shop.yaml",
        f"connector: till\nconfig: {{ url: '{till.url}' }}\nallow_private_hosts: true\n"
        "credential: { token: t0p-s3cret }\n",
    )
    if rules:
        file = project.folder / "weir.yaml"
        file.write_text(file.read_text() + rules)


def pay(amount, to="ann"):
    return json.dumps({"amount": amount, "to": to})


def test_a_call_is_checked_shown_made_once_and_replayed(project, till):
    shop(project, till)
    listed = {line["action"]: line for line in project.json("action", "list")}
    assert (listed["pay"]["effect"], listed["pay"]["approval"]) == ("money", "required")
    assert "minimum" in project.run("action", "show", "shop", "tip").stdout
    for given, code, says in [
        ("{}", 2, "input.amount is missing"),
        ('{"amount": 0, "to": "a"}', 2, "input.amount"),
        ('{"amount": 1, "to": "a", "tto": 2}', 2, "did you mean 'to'"),
        ("no-such-file.json", 3, "no-such-file.json"),
        ("{broken", 2, "not JSON"),
        ("[]", 2, "not a JSON object"),
        ('{"amount": 1, "to": "a", "amount": 2}', 2, "'amount' is there twice"),
    ]:
        refused = project.run("call", "shop", "tip", "--input", given, ok=False)
        assert refused.returncode == code and says in refused.stderr, (given, refused.returncode, refused.stderr)
    assert "did you mean 'tip'" in project.run("call", "shop", "tp", ok=False).stderr
    dry = project.json("call", "shop.tip", "--input", pay(5), "--dry-run")
    assert dry["request"]["method"] == "POST" and dry["request"]["body"]["amount"] == 5
    assert "t0p-s3cret" not in json.dumps(dry)
    assert till.asked == 0
    first = project.json("call", "shop", "tip", "--input", pay(5), "--idempotency-key", "k1")
    again = project.json("call", "shop", "tip", "--input", pay(5), "--idempotency-key", "k1")
    assert first == again and first["remote_id"] == "pay_0" and till.asked == 1
    other = project.run("call", "shop", "tip", "--input", pay(6), "--idempotency-key", "k1", ok=False)
    assert other.returncode == 3 and "used for another call" in other.stderr
    till.mood = "refuse"
    refused = project.run("call", "shop", "tip", "--input", pay(7), ok=False)
    assert refused.returncode == 4 and "failed" in refused.stderr, refused.stderr
    noted = [entry["action"] for entry in project.json("audit", "list") if entry["action"].startswith("call.")]
    # Everything that was asked for stands in the trail, also what was refused before anything was sent.
    assert sorted(noted) == ["call.begin"] * 2 + ["call.end"] * 2 + ["call.refuse"] * 5
    assert "t0p-s3cret" not in (project.folder / ".weir/weir.db").read_bytes().decode("latin1")
    project.run("audit", "verify")


def test_a_lost_answer_is_uncertain_until_it_is_looked_up_or_settled(project, till):
    shop(project, till)
    till.mood = "lose"
    lost = project.run("call", "shop", "tip", "--input", pay(5), "--idempotency-key", "k", "--format", "json", ok=False)
    made = json.loads(lost.stdout)
    assert made["status"] == "uncertain" and "weir call settle" in lost.stderr
    assert till.asked == 1
    # Not made again on its own, nor under the same key.
    project.run("call", "shop", "tip", "--input", pay(5), "--idempotency-key", "k", ok=False)
    assert till.asked == 1
    settled = project.json("call", "settle", made["id"], "--happened", "--remote-id", "pay_0", "--reason", "seen there")
    assert (settled["status"], settled["remote_id"]) == ("done", "pay_0")
    # Where the vendor can be asked, it is.
    booked = project.json("call", "shop", "book", "--input", pay(6))
    assert (booked["status"], booked["remote_id"]) == ("done", "pay_1")
    till.mood = "silent_500"
    assert project.json("call", "shop", "book", "--input", pay(7))["remote_id"] == "pay_2"
    assert till.asked == 3


POINTS = ["control.call_after_intent", "control.call_before_send", "control.call_after_send"]


@pytest.mark.parametrize("action", ["tip", "book"])
def test_a_process_that_dies_in_a_call_leaves_no_second_effect(project, till, action):
    shop(project, till)
    points = POINTS + [f"control.before_write:{n}" for n in range(1, 6)]
    for n, point in enumerate(points):
        ask = ["call", "shop", action, "--input", pay(n + 1, point), "--idempotency-key", f"k{n}", "--format", "json"]
        died = project.run(*ask, ok=False, env={"WEIR_FAILPOINT": point})
        if "no fail points" in died.stderr:
            pytest.skip("this binary has no fail points")
        again = json.loads(project.run(*ask, ok=False).stdout)
        happened = [p for p in till.payments if p["to"] == point]
        assert len(happened) <= 1, (point, happened)
        if again["status"] == "done":
            assert len(happened) == 1, point
        else:
            assert again["status"] == "uncertain" and again["error"]["hint"], (point, again)
        # What the vendor has not may be on its way still: it is looked up again before it counts as failed.
        if action == "book":
            assert again["status"] == ("done" if happened else "uncertain"), (point, again)
    project.run("audit", "verify")


def test_a_process_that_dies_in_an_approval_leaves_no_second_effect(project, till):
    shop(project, till)
    token = project.run("token", "create", "ann", "--kind", "user", "--role", "approver").stdout.strip()
    points = POINTS[1:] + [f"control.before_write:{n}" for n in range(1, 6)]
    for n, point in enumerate(points):
        ask = ["call", "shop", "pay", "--input", pay(n + 1, point), "--idempotency-key", f"k{n}", "--format", "json"]
        waits = json.loads(project.run(*ask).stdout)
        assert waits["status"] == "waiting"
        approve = ["approval", "approve", waits["id"]]
        died = project.run(*approve, ok=False, env={"WEIR_TOKEN": token, "WEIR_FAILPOINT": point})
        if "no fail points" in died.stderr:
            pytest.skip("this binary has no fail points")
        # Whoever comes next, approver or caller, goes on with it.
        project.run(*approve, ok=False, env={"WEIR_TOKEN": token})
        again = json.loads(project.run(*ask, ok=False).stdout)
        happened = [p for p in till.payments if p["to"] == point]
        assert len(happened) <= 1, (point, happened)
        assert again["status"] in ("done", "uncertain"), (point, again)
        if again["status"] == "done":
            assert len(happened) == 1, point
    project.run("audit", "verify")


def test_somebody_else_approves_and_the_call_is_made(project, till):
    rules = """
approvals:
  - { name: large, action: tip, class: required, needed: 2, when: [{ above: { field: amount, value: 100 } }] }
  - { name: huge, class: forbidden, when: [{ above: { field: amount, value: 1000 } }] }
"""
    shop(project, till, rules)
    with serving(project) as process:
        admin = first_token(process)
        make = lambda name, kind, role: project.run(
            "token", "create", name, "--kind", kind, "--role", role
        ).stdout.strip()
        bot, ann, bea = make("bot", "agent", "agent"), make("ann", "user", "approver"), make("bea", "user", "approver")

        def ask(action, amount, key):
            body = {"connection": "shop", "action": action, "input": {"amount": amount, "to": "x"}}
            return call(process.url, bot, "/calls", "POST", body, **{"Idempotency-Key": key})

        assert ask("tip", 2000, "k0")[0] == 403
        status, waits = ask("pay", 5, "k1")
        assert (status, waits["status"]) == (202, "waiting") and till.asked == 0
        path = f"/approvals/{waits['id']}"
        assert call(process.url, bot, f"{path}/approve", "POST", {})[0] == 403
        seen = call(process.url, ann, path)[1]
        assert seen["request"]["body"]["amount"] == 5 and seen["status"] == "pending"
        assert call(process.url, ann, f"{path}/approve", "POST", {"digest": "0"})[0] == 409
        status, approved = call(process.url, ann, f"{path}/approve", "POST", {"digest": seen["call"]["digest"]})
        assert (status, approved["status"]) == (200, "approved")
        get = lambda: call(process.url, bot, f"/calls/{waits['id']}")[1]
        done = wait_until(lambda: get() if get()["status"] == "done" else None, "the call")
        assert done["remote_id"] == "pay_0"
        status, replayed = ask("pay", 5, "k1")
        assert (status, replayed) == (200, done) and till.asked == 1
        assert ask("pay", 6, "k1")[0] == 422
        # Two people, and a rejection that ends it.
        two = f"/approvals/{ask('tip', 500, 'k2')[1]['id']}"
        assert call(process.url, ann, f"{two}/approve", "POST", {})[1]["status"] == "pending"
        assert call(process.url, bea, f"{two}/approve", "POST", {})[1]["status"] == "approved"
        wait_until(lambda: till.asked == 2, "the second call")
        no = ask("pay", 7, "k3")[1]["id"]
        assert call(process.url, bea, f"/approvals/{no}/reject", "POST", {"reason": "no"})[1]["status"] == "rejected"
        status, problem = ask("pay", 7, "k3")
        assert (status, problem["call_status"]) == (403, "refused")
        # What a person at the machine decides, as somebody with a token of their own.
        last = ask("pay", 8, "k4")[1]["id"]
        own = project.run("approval", "approve", last, env={"WEIR_TOKEN": bot}, ok=False)
        assert own.returncode == 7, own.stderr
        project.run("approval", "approve", last, env={"WEIR_TOKEN": bea})
        wait_until(lambda: till.asked == 3, "the last call")
        till.mood = "lose"
        status, problem = ask("tip", 1, "k5")
        assert (status, problem["call_status"]) == (502, "uncertain") and problem["next_step"]
        told = {event["type"].removeprefix("weir.") for event in call(process.url, admin, "/events?limit=100")[1]["items"]}
        assert {"call.ended", "approval.requested", "approval.decided"} <= told
    project.run("audit", "verify")


def test_a_webhook_is_signed_so_that_its_receiver_can_tell(project):
    with Receiver() as receiver:
        project.write(
            "connections/orders.yaml",
            f"connector: webhook\nconfig: {{ url: '{receiver.url}/orders/' }}\nallow_private_hosts: true\n"
            f"credential: {{ method: standard_webhooks, secret: whsec_{SECRET} }}\n",
        )
        receiver.answers = [503]
        message = {"type": "order.paid", "timestamp": "2026-11-22T10:00:00Z", "data": {"id": 7}}
        made = project.json("call", "orders", "send", "--input", json.dumps(message))
        assert made["status"] == "done", made
        assert SECRET not in json.dumps(made)
        (path, headers, body, _), (_, again, _, _) = receiver.posts
        assert path == "/orders/" and json.loads(body) == message
        assert headers["webhook-id"] == again["webhook-id"] == f"weir-{made['id']}"
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        tag = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{tag}"
        receiver.answers = [410]
        gone = project.run("call", "orders", "send", "--input", json.dumps(message), ok=False)
        assert gone.returncode == 4 and "410" in gone.stderr, gone.stderr
