"""Events: CloudEvents 1.0 by the Python package, webhooks by the official Standard Webhooks package, data by the
registered JSON Schemas; in order, at least once, replayable; and the registry that says why a schema is refused."""

import json

import jsonschema
import pytest
import standardwebhooks
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from receivers import Receiver, wait_until
from source import connection, record
from test_serve import serving


@pytest.fixture
def synced(project, source):
    source.records = [record(number, number) for number in range(3)]
    project.connection("shop", connection(source.url))
    return project


def add(project, receiver, *more, name="ops"):
    shown = project.run("webhook", "add", name, f"{receiver.url}/hook", "--allow-private", *more).stdout
    return shown.strip().rsplit(" ", 1)[1]


def test_events_are_signed_cloud_events_whose_data_has_a_registered_schema(synced):
    with Receiver() as receiver:
        secret = add(synced, receiver)
        synced.run("sync", "shop")
        taken = receiver.taken()
        found = []
        for _, headers, body, _ in taken:
            standardwebhooks.Webhook(secret).verify(body, headers)
            event = from_http_event(HTTPMessage(headers=headers, body=body), JSONFormat())
            found.append(event.get_type())
            assert headers["content-type"] == "application/cloudevents+json"
            assert event.get_id() == headers["webhook-id"]
            family = event.get_type().removeprefix("weir.")
            schema = json.loads(synced.run("event", "schema", "show", family).stdout)
            assert schema["$id"] == event.get_dataschema()
            data = event.get_data()
            jsonschema.validate(json.loads(data) if isinstance(data, (str, bytes)) else data, schema)
        assert found[0] == "weir.run.started" and found[-1] == "weir.run.succeeded"
        times = [json.loads(body)["id"] for _, _, body, _ in taken]
        assert times == sorted(times)
        with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
            standardwebhooks.Webhook(secret).verify(taken[0][2] + b" ", taken[0][1])


def test_both_secrets_sign_after_a_rotation(synced):
    with Receiver() as receiver:
        old = add(synced, receiver, "--types", "run.succeeded")
        new = synced.run("webhook", "rotate", "ops").stdout.strip().rsplit(" ", 1)[1]
        assert old != new
        synced.run("sync", "shop")
        [(_, headers, body, _)] = receiver.taken()
        for secret in (old, new):
            standardwebhooks.Webhook(secret).verify(body, headers)
        for file in synced.folder.joinpath(".weir").iterdir():
            assert new.removeprefix("whsec_").encode() not in file.read_bytes(), file


def test_only_what_is_wanted_is_sent_and_a_test_and_a_replay_are_sent_now(synced):
    with Receiver() as receiver:
        add(synced, receiver, "--types", "run.started")
        synced.run("sync", "shop")
        assert [json.loads(post[2])["type"] for post in receiver.taken()] == ["weir.run.started"]
        assert "took the test" in synced.run("webhook", "test", "ops").stdout
        assert json.loads(receiver.taken()[-1][2])["type"] == "weir.webhook.test"
        event = json.loads(receiver.taken()[0][2])["id"]
        synced.run("event", "replay", event)
        assert json.loads(receiver.taken()[-1][2])["id"] == event
        # Also to one that was not there when it happened.
        add(synced, receiver, "--types", "gate.failed", name="late")
        [row] = synced.json("event", "replay", event, "--to", "webhook:late")[-1:]
        shown = json.loads(synced.run("event", "show", event).stdout)
        assert {row["target"] for row in shown["deliveries"]} == {"webhook:ops", "webhook:late"}
        assert row["status"] == "delivered"


def test_redirects_are_not_followed_and_a_gone_receiver_is_paused(synced):
    with Receiver() as receiver:
        add(synced, receiver)
        receiver.answers, receiver.headers = [302], {"Location": f"{receiver.url}/elsewhere"}
        done = synced.run("webhook", "test", "ops", ok=False)
        assert done.returncode != 0 and "302" in done.stderr
        assert [post[0] for post in receiver.posts] == ["/hook"]
        receiver.answers = [410]
        synced.run("webhook", "test", "ops", ok=False)
    with Receiver() as receiver:
        add(synced, receiver, name="gone")
        receiver.answers = [410]
        synced.run("webhook", "test", "gone", ok=False)
        [row] = [row for row in synced.json("webhook", "list") if row["name"] == "gone"]
        assert row["paused"] and "410" in row["because"]


def test_private_addresses_are_refused_unless_allowed(synced):
    for url in ("http://127.0.0.1:1/x", "http://example.com/x", "https://127.0.0.1:1/x", "https://10.0.0.1/x"):
        done = synced.run("webhook", "add", "bad", url, ok=False)
        assert done.returncode == 2, done.stderr
    for allowed in ([], ["--allow-private"]):
        done = synced.run("webhook", "add", "bad", "https://169.254.169.254/x", *allowed, ok=False)
        assert done.returncode == 2 and "metadata" in done.stderr, done.stderr
    assert synced.json("webhook", "list") == []


def test_two_servers_send_each_event_once(synced):
    with Receiver() as receiver:
        add(synced, receiver, "--types", "webhook.test")
        with serving(synced, "--runs-at-once", "0"), serving(synced, "--runs-at-once", "0"):
            for _ in range(5):
                synced.run("webhook", "test", "ops", ok=False)
            wait_until(lambda: len(receiver.taken()) >= 5, "five tests")
        ids = [json.loads(post[2])["id"] for post in receiver.taken()]
        assert len(ids) == len(set(ids)) == 5


def test_the_registry_says_why_a_schema_is_refused(project):
    first = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    project.write("events/shop.order_paid/1.json", json.dumps(first))
    assert project.run("event", "schema", "register", "--compatibility", "full").stdout.strip() == (
        "shop.order_paid version 1 (full)"
    )
    second = {**first, "properties": {"id": {"type": "string"}, "at": {"type": "string"}}, "required": ["id", "at"]}
    project.write("events/shop.order_paid/2.json", json.dumps(second))
    done = project.run("event", "schema", "check", "events/shop.order_paid/2.json", "--format", "json", ok=False)
    assert done.returncode == 7, done.stderr
    rows = json.loads(done.stdout)
    assert {(row["field"], row["rule"]) for row in rows} >= {("$.id", "type"), ("$.at", "required")}
    assert all(row["why"] and row["next"] for row in rows)
    assert project.run("event", "schema", "register", ok=False).returncode != 0
    second = {**first, "properties": {**first["properties"], "at": {"type": "string"}}}
    project.write("events/shop.order_paid/2.json", json.dumps(second))
    project.run("event", "schema", "register")
    listed = [row for row in project.json("event", "schema", "list") if row["family"] == "shop.order_paid"]
    assert [row["version"] for row in listed] == [1, 2]
