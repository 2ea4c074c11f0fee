"""Credentials that the vendor itself exchanges: made, tried, put in place, and the old one ended there."""

import json
import threading

import pytest
from receivers import wait_until
from test_api import first_token
from test_serve import serving
from vendor import JsonHandler, Vendor

CONNECTOR = """
spec: 1
connector: keyed
version: 1.0.0
name: { en: Keyed }
hosts: ["{{ config.url | replace('http://', '') }}"]
config: { type: object, required: [url], properties: { url: { type: string } } }
auth:
  - { method: bearer, token: "{{ credential.key }}" }
check: { path: /me }
http: { base_url: "{{ config.url }}" }
reliability: { timeout: 5s, retry: { attempts: 1 } }
rotation:
  field: key
  create: { method: POST, path: /keys, json: { name: "{{ correlation_id }}" } }
  value: data.key
"""
REVOKES = """  id: data.id
  expires_at: data.expires_at
  revoke: { method: DELETE, path: "/keys/{{ input.id }}" }
  errors:
    - { status: [404], action: fail, kind: not_found, message: gone }
"""
VOIDS = "  voids_present: true\n"


class Keys(Vendor):
    """A vendor with keys. `broken`: new ones do not work; `loses`: makes one and answers nothing; `voids`: a new one
    ends the one that asks."""

    def __enter__(self):
        vendor = self
        self.keys, self.count, self.lock = {"key-of-a-person": 0}, 0, threading.Lock()
        self.broken = self.loses = self.voids = False
        self.revoked = []

        class Handler(JsonHandler):
            def key(self):
                return self.headers.get("Authorization", "").removeprefix("Bearer ")

            def handle_one(self, act):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with vendor.lock:
                    if self.key() not in vendor.keys:
                        return self.answer(401, {"error": "unknown key"})
                    return act()

            def do_GET(self):
                self.handle_one(lambda: self.answer(200, {"me": 1}))

            def do_POST(self):
                self.handle_one(self.make)

            def do_DELETE(self):
                self.handle_one(self.end)

            def make(self):
                vendor.count += 1
                key = f"made-key-{vendor.count}"
                if not vendor.broken:
                    vendor.keys[key] = vendor.count
                if vendor.voids:
                    del vendor.keys[self.key()]
                if vendor.loses:
                    self.close_connection = True
                    return self.connection.close()
                made = {"key": key, "id": vendor.count, "expires_at": "2099-01-01T00:00:00Z"}
                self.answer(201, {"data": made})

            def end(self):
                number = int(self.path.rsplit("/", 1)[1])
                vendor.revoked.append(number)
                for key, its in list(vendor.keys.items()):
                    if its == number:
                        del vendor.keys[key]
                self.answer(200, {})

        return self.listen(Handler)


@pytest.fixture
def vendor():
    with Keys() as running:
        yield running


def open_keyed(project, vendor, rotation, more=""):
    project.write("connectors/keyed/connector.yaml", CONNECTOR + rotation)
    project.write(
        "connections/box.yaml",
        f"connector: keyed\nconfig: {{ url: '{vendor.url}' }}\ncredential: {{ key: 'secret:box_key' }}\n"
        f"allow_private_hosts: true\n{more}",
    )
    project.run("secret", "set", "box_key", input="key-of-a-person")


def noted(project, action):
    return project.json("audit", "list", "--action", action)


def nothing_shows_a_key(project):
    for file in project.folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"made-key-" not in content and b"key-of-a-person" not in content, file


def test_a_vendor_makes_a_new_key_and_ends_the_one_it_made_before(project, vendor):
    open_keyed(project, vendor, REVOKES)
    done = project.run("auth", "rotate", "box")
    assert "'box_key' has its new value; it was tried with box" in done.stdout
    # What a person made is left to people: its id is not known.
    assert "end it at the vendor" in done.stdout and vendor.revoked == []
    assert set(vendor.keys) == {"key-of-a-person", "made-key-1"}
    project.run("check", "box")
    again = project.run("auth", "rotate", "box")
    assert "the vendor ended it" in again.stdout and vendor.revoked == [1]
    assert set(vendor.keys) == {"key-of-a-person", "made-key-2"}
    project.run("check", "box")
    [secret] = project.json("secret", "list")
    assert secret["name"] == "box_key" and "2099" in json.dumps(secret), secret
    for action, count in (("secret.renew", 2), ("secret.renewed", 2), ("secret.exchange", 2), ("secret.revoked", 1)):
        assert len(noted(project, action)) == count, action
    project.run("audit", "verify")
    nothing_shows_a_key(project)


def test_a_new_key_that_does_not_work_changes_nothing(project, vendor):
    open_keyed(project, vendor, REVOKES)
    vendor.broken = True
    refused = project.run("auth", "rotate", "box", ok=False)
    assert refused.returncode == 6 and "the old one stays" in refused.stderr, refused.stderr
    assert vendor.revoked == [1]
    vendor.broken = False
    project.run("check", "box")
    project.run("auth", "rotate", "box")
    assert set(vendor.keys) == {"key-of-a-person", "made-key-2"}


def test_an_answer_that_was_lost_is_told(project, vendor):
    open_keyed(project, vendor, REVOKES)
    vendor.loses = True
    lost = project.run("auth", "rotate", "box", ok=False)
    assert "may have made one that nobody knows" in lost.stderr and "end it there" in lost.stderr, lost.stderr
    vendor.loses = False
    project.run("check", "box")
    project.run("auth", "rotate", "box")
    project.run("check", "box")


def test_a_vendor_that_ends_the_key_in_use_at_once(project, vendor):
    open_keyed(project, vendor, VOIDS)
    vendor.voids = True
    project.run("auth", "rotate", "box")
    assert set(vendor.keys) == {"made-key-1"}
    project.run("check", "box")


def test_what_cannot_be_rotated_says_why(project, vendor):
    open_keyed(project, vendor, "")
    project.write(
        "connections/open.yaml",
        f"connector: keyed\nconfig: {{ url: '{vendor.url}' }}\ncredential: {{ key: plain }}\nallow_private_hosts: true\n",
    )
    refused = project.run("auth", "rotate", "open", ok=False)
    assert "is no secret of the store" in refused.stderr and "secret:NAME" in refused.stderr
    project.write("connectors/keyed/connector.yaml", CONNECTOR.split("rotation:")[0])
    refused = project.run("auth", "rotate", "box", ok=False)
    assert "does not say how its vendor makes new credentials" in refused.stderr and "--secret" in refused.stderr


def test_a_server_renews_what_has_grown_old(project, vendor):
    open_keyed(project, vendor, REVOKES, more="rotate_every: 1ms\n")
    with serving(project) as process:
        first_token(process)
        wait_until(lambda: vendor.count >= 1 and "made-key-1" in vendor.keys, "a new key")
        wait_until(lambda: noted(project, "secret.exchange"), "the exchange")
    project.run("check", "box")
    nothing_shows_a_key(project)
