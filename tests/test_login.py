"""People who log in to the server with a browser, against oidc-provider."""

import html
import json
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest
from browser import Browser
from source import record
from test_oauth import connector, oidc, seen  # noqa: F401
from test_serve import serving

ROLES = """
login:
  role_claim: groups
  roles: { ali-group: operator }
  scopes: [profile]
"""


@pytest.fixture
def server(project, source, oidc):  # noqa: F811
    connector(project, source, oidc)
    path = project.folder / "weir.yaml"
    path.write_text(path.read_text() + ROLES)
    env = {"WEIR_OIDC_ISSUER": oidc, "WEIR_OIDC_CLIENT_ID": "board", "WEIR_OIDC_CLIENT_SECRET": "board-s3cret-planted"}
    with serving(project, "--runs-at-once", "0", env=env) as server:
        yield server


def log_in(server, person="ali"):
    browser = Browser(person)
    return browser, browser.open(f"{server.url}/login")


def test_a_person_logs_in_works_and_logs_out(server):
    browser, page = log_in(server)
    assert page.status == 200 and "You are logged in as ali." in page.text, page.text
    assert "operator" in page.text and "<b>" not in page.text
    cookies = [c for c in browser.jar if c.name == "weir_session"]
    assert len(cookies) == 1 and cookies[0].has_nonstandard_attr("HttpOnly")
    assert cookies[0].get_nonstandard_attr("SameSite") == "Lax"
    assert not [c for c in browser.jar if c.name == "weir_login"]
    api = f"{server.url}/api/v1"
    assert browser.request(f"{api}/connections").status == 200
    # What the role does not allow stays refused.
    assert browser.request(f"{api}/tokens").status == 403
    # A change needs an origin that other sites cannot forge.
    start = f"{api}/connections/crm/oauth/start"
    for headers in ({}, {"Origin": "https://evil.example.com"}, {"Origin": "null"}):
        refused = browser.request(start, headers=headers, method="POST")
        assert refused.status == 403 and "own pages" in refused.text, refused.text
    assert browser.request(start, headers={"Origin": server.url}, method="POST").status == 200
    assert browser.request(f"{server.url}/logout", {}, headers={"Origin": "https://evil.example.com"}).status == 403
    kept = cookies[0].value
    page = browser.request(f"{server.url}/logout", {}, headers={"Origin": server.url})
    assert page.status == 200 and "/session/end" in page.text
    again = urllib.request.Request(f"{api}/connections", headers={"Cookie": f"weir_session={kept}"})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(again)
    assert error.value.code == 401


def test_a_session_connects_a_connection(server, project):
    browser, _ = log_in(server)
    headers = {"Origin": server.url}
    begun = browser.request(f"{server.url}/api/v1/connections/crm/oauth/start", headers=headers, method="POST")
    url = json.loads(begun.text)["authorize_url"]
    # Somebody else's browser cannot end it.
    eve = Browser("eve")
    page = eve.open(url)
    assert "One step is left" in page.text
    page = browser.request(page.url)
    assert page.status == 200 and "Connected" in page.text, page.text
    project.run("check", "crm")


def test_a_page_lets_a_person_connect_and_no_other_page_does(server, project):
    place = f"{server.url}/connect/crm"
    stranger = Browser().request(place)
    assert stranger.status == 401 and "/login" in stranger.text
    browser, _ = log_in(server)
    page = browser.request(place)
    assert page.status == 200 and "You are logged in as ali." in page.text, page.text
    for headers in ({}, {"Origin": "https://evil.example.com"}):
        assert browser.request(place, {}, headers=headers).status == 403
    begun = browser.request(place, {}, headers={"Origin": server.url})
    link = html.unescape(re.search(r'<a href="([^"]+)">Go on', begun.text)[1])
    page = browser.open(link)
    assert page.status == 200 and "Connected" in page.text, page.text
    project.run("check", "crm")


def test_who_has_no_role_is_refused(server, project):
    _, page = log_in(server, "eve")
    assert page.status == 403 and "no role" in page.text and "ali-group" in page.text
    noted = json.loads(project.run("audit", "list", "--action", "session.login", "--format", "json").stdout)
    assert [entry["outcome"] for entry in noted] == ["refused"]


def test_an_answer_of_another_browser_is_refused(server):
    ali = Browser()
    answer = ali.open(f"{server.url}/login", until=f"{server.url}/login/callback")
    refused = Browser().request(answer)
    assert refused.status == 403 and "this browser" in refused.text
    forged = urllib.parse.urlsplit(answer)._replace(query="code=x&state=y").geturl()
    assert ali.request(forged).status == 403
    wrong = re.sub(r"iss=[^&]*", "iss=https%3A%2F%2Fevil.example.com", answer)
    assert ali.request(wrong).status == 403
    page = ali.request(answer)
    assert page.status == 200, page.text
    # A code is good for once.
    assert ali.request(answer).status == 403


def test_without_a_provider_nobody_logs_in(project):
    with serving(project, "--runs-at-once", "0") as server:
        assert Browser().request(f"{server.url}/login").status == 404
