"""Access tokens of oidc-provider at /mcp and the API: with the official clients, and message by message."""

import base64
import hashlib
import json
import secrets
import urllib.error
import urllib.parse
import urllib.request

import pytest
from browser import Browser
from test_actions import Till, shop
from test_api import call
from test_mcp import REVISIONS, agent, message
from test_oauth import oidc  # noqa: F401
from test_serve import serving

RULES = """
login:
  role_claim: groups
  principal_claim: sub
  roles: { ali-group: agent, weir-group: agent }
  access_tokens: true
"""
ALL = "connections:read data:read runs:read runs:write actions:read actions:write"


@pytest.fixture
def server(project, oidc):  # noqa: F811
    with Till() as till:
        shop(project, till, RULES)
        env = {"WEIR_OIDC_ISSUER": oidc, "WEIR_OIDC_CLIENT_ID": "board", "WEIR_OIDC_CLIENT_SECRET": "board-s3cret-planted"}
        with serving(project, env=env) as process:
            process.oidc, process.till = oidc, till
            yield process


def granted(oidc, **fields):  # noqa: F811
    """What the token endpoint gives the client `weir`."""
    fields = {"client_id": "weir", "client_secret": "weir-s3cret-planted", **fields}
    body = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(f"{oidc}/token", data=body, timeout=30) as answer:
        return json.load(answer)["access_token"]


def of_program(server, resource, scope=ALL):
    return granted(server.oidc, grant_type="client_credentials", resource=resource, scope=scope)


def of_person(server, resource, scope, person="ali"):
    """By the code flow, as a client does that acts for somebody."""
    verifier, redirect = secrets.token_urlsafe(32), "http://127.0.0.1:1/oauth/callback"
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code", "client_id": "weir", "redirect_uri": redirect, "scope": f"openid {scope}", "state": "s",
        "code_challenge": challenge, "code_challenge_method": "S256", "resource": resource,
    }
    back = Browser(person).open(f"{server.oidc}/auth?{urllib.parse.urlencode(asked)}", until=redirect)
    code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))["code"]
    return granted(
        server.oidc, grant_type="authorization_code", code=code, code_verifier=verifier, redirect_uri=redirect,
        resource=resource,
    )


@pytest.mark.parametrize("client", REVISIONS)
def test_a_program_finds_its_way_in_with_the_official_client(server, project, client):
    status, _, headers = message(server.url, None, "tools/list", {})
    place = headers["WWW-Authenticate"].split('resource_metadata="')[1].split('"')[0]
    with urllib.request.urlopen(place) as answer:
        metadata = json.load(answer)
    assert status == 401 and metadata["authorization_servers"] == [server.oidc]
    token = of_program(server, metadata["resource"], " ".join(metadata["scopes_supported"]))
    steps = ["list", ["shop.tip", {"amount": 5, "to": "ann"}], ["shop.pay", {"amount": 7, "to": "bob"}]]
    listed, tip, pay = agent(client, steps, f"{server.url}/mcp", token)
    assert "shop.tip" in [tool["name"] for tool in listed["tools"]]
    assert tip["structuredContent"]["status"] == "done" and server.till.asked == 1
    waiting = pay["structuredContent"]
    assert waiting["status"] == "waiting"
    assert project.json("call", "show", waiting["call"])["principal"] == "weir"
    # A program decides about nothing, and its call is made once a person has.
    assert call(server.url, token, f"/approvals/{waiting['call']}/approve", "POST", {})[0] == 403
    ann = project.run("token", "create", "ann", "--kind", "user", "--role", "approver").stdout.strip()
    assert call(server.url, ann, f"/approvals/{waiting['call']}/approve", "POST", {})[0] == 200


def test_a_person_lends_a_client_what_its_scopes_say_and_takes_it_back(server, project):
    resource = f"{server.url}/mcp"
    looks = of_person(server, resource, "actions:read runs:read")
    tip = {"name": "shop.tip", "arguments": {"amount": 5, "to": "ann"}}
    status, _, headers = message(server.url, looks, "tools/call", tip)
    said = headers["WWW-Authenticate"]
    assert status == 403 and 'error="insufficient_scope", scope="actions:write"' in said, said
    token = of_person(server, resource, "actions:read actions:write")
    done = message(server.url, token, "tools/call", tip)[1]["result"]["structuredContent"]
    assert done["status"] == "done" and server.till.asked == 1
    status, found, *_ = call(server.url, token, f"/calls/{done['call']}")
    assert (status, found["principal"]) == (200, "ali")
    assert call(server.url, token, "/runs")[0] == 403
    names = {entry["details"] for entry in project.json("audit", "list") if entry["action"] == "session.login"}
    assert len(names) == 2 and all("access_token" in name for name in names), names
    signature = token.rsplit(".", 1)[1].encode()
    assert not [file for file in project.folder.glob(".weir/weir.db*") if signature in file.read_bytes()]
    for open_one in project.json("session", "list"):
        project.run("session", "revoke", open_one["id"])
    status, _, headers = message(server.url, token, "tools/call", tip)
    assert status == 401 and 'error="invalid_token"' in headers["WWW-Authenticate"]
    assert server.till.asked == 1
    project.run("audit", "verify")


def test_tokens_for_others_and_of_nobody_are_refused(server):
    for token in [
        of_program(server, "https://other.example.com/mcp"),
        # For no resource: it is opaque.
        granted(server.oidc, grant_type="client_credentials", scope="read"),
        of_program(server, f"{server.url}/mcp")[:-8] + "AAAAAAAA",
    ]:
        status, _, headers = message(server.url, token, "tools/list", {})
        assert status == 401 and 'error="invalid_token"' in headers["WWW-Authenticate"], token
    eve = of_person(server, f"{server.url}/mcp", "runs:read", person="eve")
    status, problem, _ = message(server.url, eve, "tools/list", {})
    assert status == 403 and "'eve' has no role" in problem["detail"], problem
