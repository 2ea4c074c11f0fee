"""Alerts reach people: over SMTP to aiosmtpd, to a Slack-compatible receiver and to a signed webhook; once for each
case, not while silenced, again after a receiver failed, and also where the process died before it sent."""

import json
import subprocess

import pytest
import standardwebhooks
import trustme
from receivers import Mailbox, Receiver, wait_until
from source import connection, record
from test_actions import Till, pay, shop
from test_serve import serving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PASSWORD = "p4ss-0f-the-ma1l-account"
TOKEN_IN_URL = "T0000-s3cret-path"


def configure(project, channels, more=""):
    path = project.folder / "weir.yaml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("alerts:", "  ", "events:"))]
    path.write_text("\n".join(lines) + f"\n{more}\nalerts:\n  channels:\n{channels}")


def slack(receiver, more=""):
    return f"    chat:\n      slack: {{ url: '{receiver.url}/{TOKEN_IN_URL}', allow_private: true }}\n{more}"


def email(mailbox, more=""):
    return (
        f"    ops:\n      email: {{ host: localhost, port: {mailbox.port}, from: weir@example.com, "
        f"to: [ops@example.com], {more} }}\n"
    )


@pytest.fixture
def failing(project, source):
    """A project whose sync fails until its source is mended."""
    source.records = [record(number, number) for number in range(3)]
    project.connection("shop", connection(source.url))

    def refuse(handler, path, _query):
        if path != "/records":
            return False
        handler.send(401, {"message": "no"})
        return True

    source.faults = [refuse]
    return project


def texts(receiver):
    return [json.loads(body)["text"] for _, _, body, _ in receiver.taken()]


def test_mail_says_what_where_since_and_next_once_for_each_case(failing, source):
    with Mailbox() as mailbox:
        configure(failing, email(mailbox, "tls: none"))
        for _ in range(3):
            failing.run("sync", "shop", ok=False)
        assert len(mailbox.messages) == 1
        message = mailbox.messages[0]
        assert message["Subject"] == "[weir] critical: a run failed (connection:shop)"
        assert (message["From"], message["To"]) == ("weir@example.com", "ops@example.com")
        text = message.get_content()
        for part in ["What: run ", "Where: connection:shop", "Since: 20", "Next: ", "weir run show"]:
            assert part in text, text
        [alert] = failing.json("alert", "list")
        assert (alert["rule"], alert["seen"], alert["told"]) == ("run_failed", 3, 1)
        source.faults = []
        failing.run("sync", "shop")
        assert len(mailbox.messages) == 2
        assert "resolved" in mailbox.messages[1]["Subject"]
        assert mailbox.messages[1]["References"] == message["References"]
        assert failing.json("alert", "list") == []


def test_whoever_approves_is_told_by_mail_what_waits_and_that_it_is_decided(project):
    with Till() as till, Mailbox() as mailbox:
        shop(project, till)
        configure(project, email(mailbox, "tls: none"))
        ann = project.run("token", "create", "ann", "--kind", "user", "--role", "approver").stdout.strip()
        project.run("call", "shop", "pay", "--input", pay(5), ok=False)
        [waits] = project.json("approval", "list")
        with serving(project, "--runs-at-once", "0"):
            wait_until(lambda: mailbox.messages, "the mail that asks")
            message = mailbox.messages[0]
            assert "waits" in message["Subject"] and waits["id"] in message.get_content(), message
            assert "weir approval show" in message.get_content()
            project.run("approval", "approve", waits["id"], env={"WEIR_TOKEN": ann})
            wait_until(lambda: len(mailbox.messages) == 2, "the mail that it is decided")
        assert "resolved" in mailbox.messages[1]["Subject"]
        assert [len(till.payments), project.json("alert", "list")] == [1, []]


def test_mail_goes_over_starttls_with_a_password_from_the_secrets(project):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(project.folder / "ca.pem")
    with Mailbox(authority.issue_cert("localhost"), ("weir", PASSWORD)) as mailbox:
        done = subprocess.run(
            [project.binary, "secret", "set", "smtp_password"],
            cwd=project.folder, env=project.env, input=PASSWORD, text=True, capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        account = "username: weir, password: secret:smtp_password"
        configure(project, email(mailbox, f"{account}, root_certificate: ca.pem"), "")
        project.run("alert", "test", "ops")
        assert mailbox.messages[0]["Subject"] == "[weir] test of this channel"
        # A certificate that nobody vouches for is refused.
        configure(project, email(mailbox, account))
        done = project.run("alert", "test", ok=False)
        assert done.returncode != 0 and "certificate" in done.stderr
        # So is a wrong password, which is shown nowhere.
        wrong = "username: weir, password: wr0ng-passw0rd, root_certificate: ca.pem"
        configure(project, email(mailbox, wrong))
        done = project.run("alert", "test", ok=False)
        assert done.returncode != 0
        assert "wr0ng-passw0rd" not in done.stderr + done.stdout and PASSWORD not in done.stderr
        assert len(mailbox.messages) == 1


def test_plain_mail_leaves_this_machine_by_no_way(project):
    configure(
        project,
        "    ops:\n      email: { host: mail.example.com, tls: none, from: a@example.com, to: [b@example.com] }\n",
    )
    done = project.run("alert", "test", ok=False)
    assert "unencrypted" in done.stderr and "starttls" in done.stderr


def test_arabic_texts(failing):
    with Receiver() as receiver:
        configure(failing, slack(receiver), "")
        path = failing.folder / "weir.yaml"
        path.write_text(path.read_text().replace("alerts:\n", "alerts:\n  language: ar\n"))
        failing.run("sync", "shop", ok=False)
        [text] = texts(receiver)
        assert "فشل تشغيل" in text and "الخطوة التالية" in text


def test_a_silence_keeps_alerts_back_and_ends(failing):
    with Receiver() as receiver:
        configure(failing, slack(receiver))
        failing.run("alert", "silence", "--connection", "shop", "--for", "1h", "--reason", "known")
        failing.run("sync", "shop", ok=False)
        assert receiver.taken() == []
        [silence] = failing.json("alert", "silences")
        assert silence["reason"] == "known"
        assert len(failing.json("alert", "list")) == 1
        failing.run("alert", "unsilence", silence["id"])
        with serving(failing, "--runs-at-once", "0"):
            wait_until(receiver.taken, "the alert that was kept back")
        assert "a run failed" in texts(receiver)[0]


def test_a_receiver_that_fails_is_tried_again_and_stays_visible(failing):
    with Receiver() as receiver:
        receiver.answers = [500, 503]
        configure(failing, slack(receiver))
        failing.run("sync", "shop", ok=False)
        [delivery] = failing.json("event", "deliveries", "--target", "channel:chat")
        assert (delivery["status"], delivery["failed"]) == ("waiting", 1)
        assert "500" in delivery["error"] and TOKEN_IN_URL not in json.dumps(delivery)

        def now():
            [delivery] = failing.json("event", "deliveries", "--target", "channel:chat")
            return delivery["status"], delivery["failed"]

        with serving(failing, "--runs-at-once", "0"):
            wait_until(receiver.taken, "the third try", 120)
            # Noted a moment after it was taken.
            wait_until(lambda: now() == ("delivered", 2), "the note of it", 30)
        assert len(receiver.taken()) == 1


def test_what_was_stored_is_told_though_the_process_was_killed_before_it_was_taken(failing):
    with Receiver() as receiver:
        configure(failing, slack(receiver))
        receiver.hold.clear()
        process = failing.start("sync", "shop")
        wait_until(lambda: receiver.asked, "the first try")
        process.kill()
        process.communicate()
        receiver.hold.set()
        assert receiver.taken() == []
        # What the dead process held is free after a while.
        with serving(failing, "--runs-at-once", "0"):
            wait_until(receiver.taken, "what the dead process was to send", 90)
        assert "a run failed" in texts(receiver)[0]


def test_a_signed_webhook_channel_verifies(failing):
    with Receiver() as receiver:
        channel = f"    hook:\n      webhook: {{ url: '{receiver.url}/a', secret: '{SECRET}', allow_private: true }}\n"
        configure(failing, channel)
        failing.run("sync", "shop", ok=False)
        [(_, headers, body, _)] = receiver.taken()
        event = standardwebhooks.Webhook(SECRET).verify(body, headers)
        assert event["type"] == "weir.alert.raised"
        assert event["data"]["rule"] == "run_failed" and "What: " in event["data"]["text"]["body"]


def test_schema_changes_and_quarantine_raise_alerts_before_the_command_ends(project, source):
    with Receiver() as receiver:
        configure(project, slack(receiver))
        source.records = [record(number, number) for number in range(3)]
        project.connection("shop", connection(source.url))
        project.run("sync", "shop")
        before = len(receiver.taken())
        source.records = [{**record(9, 9), "brand_new": 1, "second_new": "x"}]
        project.run("sync", "shop")
        told = texts(receiver)[before:]
        assert len(told) == 1, told
        assert "a schema changed" in told[0] and "brand_new added, second_new added" in told[0]


def test_a_disk_that_fills_up_is_told_of(project, source):
    with Receiver() as receiver:
        configure(project, slack(receiver), "events: { disk_full_at: 1 }")
        source.records = [record(1, 1)]
        project.connection("shop", connection(source.url))
        project.run("sync", "shop")
        project.run("sync", "shop")
        assert len([text for text in texts(receiver) if "nearly full" in text]) == 1


def test_no_secret_is_in_what_is_sent_shown_or_kept(failing):
    with Receiver() as receiver, Mailbox() as mailbox:
        path = failing.folder / "connections/shop.yaml"
        planted = "pl4nted-cr3dential"
        credential = f"credential: {{ method: bearer, token: {planted} }}\nconfig:\n"
        signed = "  auth: { method: bearer, token: '{{ credential.token }}' }\n"
        path.write_text(path.read_text().replace("config:\n", credential + signed))
        receiver.answers = [500]
        configure(failing, slack(receiver) + email(mailbox, "tls: none"))
        failing.run("sync", "shop", ok=False)
        shown = "".join(
            failing.run(*command).stdout
            for command in (["event", "list", "--format", "json"], ["alert", "list", "--format", "json"],
                            ["event", "deliveries", "--format", "json"])
        )
        sent = "".join(body.decode() for _, _, body, _ in receiver.posts) + "".join(map(str, mailbox.messages))
        assert sent and "a run failed" in sent
        for secret in (planted, TOKEN_IN_URL):
            assert secret not in shown + sent
            for file in failing.folder.joinpath(".weir").iterdir():
                assert secret.encode() not in file.read_bytes(), file


def test_an_unknown_channel_and_a_wrong_file_are_refused_with_a_next_step(project):
    done = project.run("alert", "test", ok=False)
    assert "names no channel" in done.stderr
    configure(project, "    ops:\n      severity: info\n")
    done = project.run("alert", "test", ok=False)
    assert done.returncode == 3 and "one of email, slack and webhook" in done.stderr
    configure(project, "    ops:\n      slack: { url: https://example.com }\n      rules: [run_fialed]\n")
    done = project.run("alert", "test", ok=False)
    assert done.returncode == 3 and "run_fialed" in done.stderr
