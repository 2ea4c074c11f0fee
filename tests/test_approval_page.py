"""The page on which people decide about calls: the alert leads to it, and only who is logged in gets further."""

import html
import json
import re

import pytest
from browser import Browser
from receivers import Receiver, wait_until
from servers import free_port
from test_actions import Till, pay, shop
from test_api import call
from test_mcp import token
from test_oauth import oidc  # noqa: F401
from test_serve import serving

SETTINGS = """
login:
  role_claim: groups
  roles: {{ ali-group: approver, mo-group: analyst }}
  scopes: [profile]
alerts:
  language: {language}
  channels:
    chat:
      slack: {{ url: '{url}/T0KEN', allow_private: true }}
"""


@pytest.fixture
def till():
    with Till() as running:
        yield running


def fields(page):
    """What the form would send, without the buttons."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
    return {html.unescape(name): html.unescape(value) for name, value in found}


def test_a_person_decides_on_the_page_that_the_alert_leads_to(project, till, oidc):  # noqa: F811
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    env = {
        "WEIR_OIDC_ISSUER": oidc,
        "WEIR_OIDC_CLIENT_ID": "board",
        "WEIR_OIDC_CLIENT_SECRET": "board-s3cret-planted",
        "WEIR_PUBLIC_URL": base,
    }
    with Receiver() as receiver:
        shop(project, till, SETTINGS.format(language="ar", url=receiver.url))
        claude = token(project, "claude", "agent", "agent")
        with serving(project, env=env, port=port) as server:
            asked = []
            for name in ["<b>ann</b>", "bob"]:
                body = {"connection": "shop", "action": "pay", "input": json.loads(pay(9, name))}
                status, answer = call(server.url, claude, "/calls", "POST", body)
                assert status == 202, answer
                asked.append(answer["id"])

            def about_the_first():
                texts = [json.loads(body)["text"] for _, _, body, _ in list(receiver.posts)]
                return [text for text in texts if asked[0] in text]

            told = wait_until(about_the_first, "the alert")
            place = re.search(rf"{base}/approvals/[0-9a-f-]+", told[0])[0]
            assert place == f"{base}/approvals/{asked[0]}"

            # The link gives nobody any right.
            stranger = Browser()
            page = stranger.request(place)
            assert page.status == 401 and "bob" not in page.text and "ann" not in page.text and "/login" in page.text
            assert stranger.request(place, {"verdict": "approve", "digest": "x"}, {"Origin": base}).status == 401

            # Whoever logs in comes back to it.
            ali = Browser("ali")
            ali.request(place)
            page = ali.open(f"{base}/login")
            assert f'href="/approvals/{asked[0]}"' in page.text, page.text
            page = ali.request(place)
            assert page.status == 200 and 'lang="en" dir="ltr"' in page.text
            assert "&lt;b&gt;ann&lt;/b&gt;" in page.text and "<b>ann" not in page.text
            assert "moves money" in page.text and "claude" in page.text and "/payments" in page.text
            assert "t0p-s3cret" not in page.text
            policy = page.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "style-src 'self'" in policy and "frame-ancestors 'none'" in policy
            assert ali.request(f"{base}/style.css").status == 200
            arabic = ali.request(place, headers={"Accept-Language": "ar-EG,en;q=0.5"})
            assert 'lang="ar" dir="rtl"' in arabic.text and "موافقة" in arabic.text

            # Another site's form changes nothing, nor does one about something else.
            form = {**fields(page), "reason": "checked", "verdict": "approve"}
            for headers in ({}, {"Origin": "https://evil.example.com"}, {"Origin": "null"}):
                assert ali.request(place, form, headers).status == 403
            other = ali.request(place, {**form, "digest": "0" * 64}, {"Origin": base})
            assert other.status == 409, other.text
            assert till.asked == 0

            done = ali.request(place, form, {"Origin": base})
            assert (done.status, done.headers["Location"]) == (303, f"/approvals/{asked[0]}?lang=en")
            wait_until(lambda: till.asked == 1, "the payment")
            page = wait_until(lambda: (p := ali.request(place)) and "The call was made" in p.text and p, "the end")
            assert "checked" in page.text and "<form" not in page.text

            rejected = f"{base}/approvals/{asked[1]}"
            form = {**fields(ali.request(rejected)), "reason": "wrong person", "verdict": "reject"}
            assert ali.request(rejected, form, {"Origin": base}).status == 303
            assert "nothing is sent" in ali.request(rejected).text
            _, found = call(server.url, claude, f"/calls/{asked[1]}")
            assert found["status"] == "refused" and till.asked == 1
        noted = [entry["action"] for entry in project.json("audit", "list", "--limit", "200")]
        assert "approval.approve" in noted and "approval.reject" in noted


def test_who_may_not_decide_sees_no_button(project, till, oidc):  # noqa: F811
    env = {"WEIR_OIDC_ISSUER": oidc, "WEIR_OIDC_CLIENT_ID": "board", "WEIR_OIDC_CLIENT_SECRET": "board-s3cret-planted"}
    settings = "login:\n  role_claim: groups\n  roles: { ali-group: operator }\n  scopes: [profile]\n"
    shop(project, till, settings)
    with serving(project, env=env) as server:
        claude = token(project, "claude", "agent", "agent")
        body = {"connection": "shop", "action": "pay", "input": json.loads(pay(9))}
        _, asked = call(server.url, claude, "/calls", "POST", body)
        place = f"{server.url}/approvals/{asked['id']}"
        ali = Browser("ali")
        ali.open(f"{server.url}/login")
        page = ali.request(place)
        assert "<form" not in page.text
        assert ali.request(place, {"verdict": "approve", "digest": "x"}, {"Origin": server.url}).status == 403
        assert ali.request(f"{server.url}/approvals/none").status in (403, 404)
    assert till.asked == 0


def test_without_a_provider_the_page_names_the_command(project, till):
    shop(project, till)
    with serving(project) as server:
        page = Browser().request(f"{server.url}/approvals/019a-b")
        assert page.status == 403 and "weir approval show 019a-b" in page.text
