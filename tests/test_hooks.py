"""Messages that come in: signed by the vendors' own libraries, stored before they are answered, in Silver once."""

import base64
import concurrent.futures
import datetime
import json
import time
import urllib.error
import urllib.parse
import urllib.request

import hubspot.utils.signature
import slack_sdk.signature
import standardwebhooks
import stripe
import twilio.request_validator
import yaml
from test_api import call, first_token
from test_serve import serving, store  # noqa: F401

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
PUBLIC = "https://weir.example.com"


def receiving(project, name, scheme, **hook):
    """A connection that takes messages signed by a scheme."""
    folder = project.folder / "connectors" / name
    folder.mkdir(parents=True)
    connector = {
        "spec": 1,
        "connector": name,
        "version": "1.0.0",
        "name": {"en": name},
        "hosts": ["api.example.com"],
        "http": {"base_url": "https://api.example.com"},
        "hook": {"signature": {"scheme": scheme, "secret": "{{ credential.hook_secret }}"}, **hook},
    }
    (folder / "connector.yaml").write_text(yaml.safe_dump(connector))
    text = yaml.safe_dump({"connector": name, "credential": {"hook_secret": "${HOOK_SECRET}"}})
    project.connection(name, text)


def post(url, body, headers=None):
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=body.encode(), method="POST", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        json.loads(error.read())
        return error.code


def by_stripe(body, at):
    signature = stripe.WebhookSignature._compute_signature(f"{at}.{body}", SECRET)
    return {"Stripe-Signature": f"t={at},v1={signature}"}


def by_slack(body, at):
    signer = slack_sdk.signature.SignatureVerifier(SECRET)
    signature = signer.generate_signature(timestamp=str(at), body=body)
    return {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": str(at)}


def by_standard_webhooks(body, at):
    when = datetime.datetime.fromtimestamp(at, datetime.UTC)
    signature = standardwebhooks.Webhook(SECRET).sign(f"msg_{at}", when, body)
    return {"webhook-id": f"msg_{at}", "webhook-timestamp": str(at), "webhook-signature": signature}


def by_hubspot(body, at):
    signature = hubspot.utils.signature.Signature.get_signature(
        SECRET, body, "v3", http_uri=f"{PUBLIC}/hooks/hubspot", http_method="POST", timestamp=str(at * 1000)
    )
    return {"X-HubSpot-Signature-v3": signature, "X-HubSpot-Request-Timestamp": str(at * 1000)}


def by_twilio(body, _at):
    fields = dict(urllib.parse.parse_qsl(body))
    signature = twilio.request_validator.RequestValidator(SECRET).compute_signature(f"{PUBLIC}/hooks/twilio", fields)
    return {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}


SIGNERS = {
    "stripe": (by_stripe, True),
    "slack": (by_slack, True),
    "standard_webhooks": (by_standard_webhooks, True),
    "hubspot": (by_hubspot, True),
    "twilio": (by_twilio, False),
}


def test_what_vendors_libraries_sign_is_taken_and_nothing_else(project):
    env = {"HOOK_SECRET": SECRET, "WEIR_PUBLIC_URL": PUBLIC}
    for scheme in SIGNERS:
        receiving(project, scheme, scheme)
    with serving(project, env=env) as server:
        for scheme, (sign, is_timed) in SIGNERS.items():
            url = f"{server.url}/hooks/{scheme}"
            body = "CallSid=CA1&To=%2B1800" if scheme == "twilio" else '{"id":"evt_1","type":"made"}'
            now = int(time.time())
            assert post(url, body, sign(body, now)) == 200, scheme
            tampered = body.replace("1", "2", 1)
            assert post(url, tampered, sign(body, now)) == 401, scheme
            assert post(url, body) == 401, scheme
            stale = post(url, body, sign(body, now - 600))
            assert stale == (401 if is_timed else 200), scheme
        token = first_token(server)
        events = call(server.url, token, "/events?family=hook.received")[1]["items"]
        assert sorted(event["data"]["connection"] for event in events) == sorted(SIGNERS)
        # Who signs nothing learns nothing.
        assert post(f"{server.url}/hooks/unknown", "{}") == 404
        assert post(f"{server.url}/hooks/stripe", "x" * (2 << 20), by_stripe("{}", now)) == 413
        broken = '{"id":'
        assert post(f"{server.url}/hooks/stripe", broken, by_stripe(broken, now)) == 400
    for scheme in SIGNERS:
        project.run("sync", scheme, env=env)
        rows = json.loads(project.run("query", f"SELECT body FROM {scheme}_events", "--format", "json", env=env).stdout)
        assert len(rows) == 1, scheme
    # Secrets are nowhere.
    assert SECRET not in json.dumps(events)


def test_a_burst_through_a_killed_server_is_in_silver_once(project, store):  # noqa: F811
    """Every message that was answered 200 is there; the sender tries the others again, and some of them twice."""
    env = {**store.env, "HOOK_SECRET": SECRET}
    receiving(project, "shop", "stripe", id={"path": "id"}, kind={"path": "type"})
    bodies = [json.dumps({"id": f"evt_{n}", "type": "made", "n": n}) for n in range(400)]

    def send(url, body):
        try:
            return post(url, body, by_stripe(body, int(time.time())))
        except OSError:
            return 0

    with serving(project, env=env) as server, concurrent.futures.ThreadPoolExecutor(16) as senders:
        url = f"{server.url}/hooks/shop"
        jobs = [senders.submit(send, url, body) for body in bodies]
        concurrent.futures.wait(jobs[:150])
        server.kill()
        answers = [job.result() for job in jobs]
    taken = {body for body, answer in zip(bodies, answers) if answer == 200}
    assert len(taken) >= 150
    project.run("sync", "shop", env=env)
    ids = silver(project, env)
    assert len(ids) == len(set(ids)) and {json.loads(body)["id"] for body in taken} <= set(ids)

    # The sender tries again what it has no answer for, and some that it has.
    again = [body for body in bodies if body not in taken] + sorted(taken)[:50]
    with serving(project, env=env) as server, concurrent.futures.ThreadPoolExecutor(16) as senders:
        url = f"{server.url}/hooks/shop"
        assert set(senders.map(lambda body: send(url, body), again)) == {200}
        project.run("sync", "shop", env=env)
    assert sorted(silver(project, env)) == sorted(json.loads(body)["id"] for body in bodies)
    # Nothing new, nothing read.
    assert "0" in project.run("sync", "shop", env=env).stdout


def silver(project, env):
    done = project.run("query", "SELECT id, body FROM shop_events", "--format", "json", env=env)
    rows = json.loads(done.stdout)
    assert all(json.loads(row["body"])["id"] == row["id"] for row in rows)
    return [row["id"] for row in rows]

