"""Mail goes out over SMTP once, however a call ends, and folders are read over IMAP, whatever lies in them."""

import base64
import email.message
import hashlib
import json

import mail
import pytest
import trustme
from mail import PASSWORD, USER, Dovecot, Pymap, Relay

SERVERS = [
    pytest.param(Dovecot, id="dovecot", marks=pytest.mark.skipif(not mail.dovecot(), reason="dovecot is not installed")),
    pytest.param(Pymap, id="pymap"),
]


@pytest.fixture(params=SERVERS)
def mailbox(request, tmp_path):
    with request.param(tmp_path / "imap") as running:
        yield running


def office(project, mailbox=None, relay=None, imap="", top="", password=PASSWORD, host="127.0.0.1"):
    """A connection to the servers there are."""
    lines = ["connector: email", "allow_private_hosts: true", top, "config:", "  from: Ada <ada@acme.example>"]
    if relay:
        lines.append(f"  smtp: {{ host: {host}, port: {relay.port}, tls: none }}")
    if mailbox:
        sent = "" if mailbox.name == "dovecot" else ", sent_folder: Sent"
        lines.append(f"  imap: {{ host: {host}, port: {mailbox.port}, tls: none{sent}{imap} }}")
    lines.append(f"credential: {{ method: basic, username: {USER}, password: {password} }}")
    lines.append("reliability: { timeout: 10s, retry: { attempts: 2, base: 10ms, max: 20ms, budget: 100% } }")
    project.connection("office", "\n".join(line for line in lines if line) + "\n")


def message(number, text="Hello", **headers):
    made = email.message.EmailMessage()
    made["From"], made["To"] = "Sara <sara@example.com>", "ada@acme.example"
    made["Subject"], made["Message-ID"] = f"Message {number}", f"<m{number}@example.com>"
    made["Date"] = "Sun, 22 Nov 2026 12:00:00 +0200"
    for name, value in headers.items():
        made[name.replace("_", "-")] = value
    made.set_content(text)
    return made


def approver(project):
    return project.run("token", "create", "bea", "--kind", "user", "--role", "approver").stdout.strip()


def send(project, token, given, key):
    """A call, approved by somebody else; what it came to."""
    ask = ["call", "office", "send", "--input", json.dumps(given), "--idempotency-key", key, "--format", "json"]
    waits = json.loads(project.run(*ask).stdout)
    assert waits["status"] == "waiting", waits
    project.run("approval", "approve", waits["id"], env={"WEIR_TOKEN": token}, ok=False)
    return json.loads(project.run("call", "show", waits["id"], "--format", "json", ok=False).stdout)


LETTER = {"to": ["Sara <sara@example.com>"], "subject": "Invoice 7 / فاتورة", "text": "It is attached.\n"}


def test_a_message_goes_out_governed_with_its_attachment_and_thread(project):
    content = b"%PDF-1.7 \x00\xff" * 100
    given = LETTER | {
        "cc": ["bob@example.com"],
        "bcc": ["boss@acme.example"],
        "html": "<p>It is attached.</p>",
        "in_reply_to": "m1@example.com",
        "references": ["m0@example.com", "m1@example.com"],
        "attachments": [
            {"filename": "فاتورة.pdf", "content_type": "application/pdf", "base64": base64.b64encode(content).decode()}
        ],
    }
    with Relay() as relay:
        office(project, relay=relay)
        project.run("check", "office")
        listed = {line["action"]: line for line in project.json("action", "list")}
        assert (listed["send"]["effect"], listed["send"]["approval"]) == ("message", "required")
        dry = project.json("call", "office", "send", "--input", json.dumps(given), "--dry-run")
        assert dry["request"]["body"]["to"] == given["to"] and PASSWORD not in json.dumps(dry)
        token = approver(project)
        done = send(project, token, given, "k1")
        assert done["status"] == "done" and done["output"]["accepted"] == 3, done
        [(sent, recipients)] = relay.messages
        assert recipients == ["sara@example.com", "bob@example.com", "boss@acme.example"]
        assert sent["Message-ID"] == f"<weir-{done['id']}@acme.example>" == f"<{done['remote_id']}>"
        assert (sent["Subject"], sent["From"], sent["Bcc"]) == (given["subject"], "Ada <ada@acme.example>", None)
        assert (sent["In-Reply-To"], sent["References"].split()) == (
            "<m1@example.com>",
            ["<m0@example.com>", "<m1@example.com>"],
        )
        [attached] = sent.iter_attachments()
        assert (attached.get_filename(), attached.get_content()) == ("فاتورة.pdf", content)
        assert sent.get_body(("plain",)).get_content().strip() == "It is attached."
        # The same call is not made again.
        assert send_again(project, given, "k1") == done and len(relay.messages) == 1
        for field, value in [("to", ["a@b.example\r\nBcc: evil@example.com"]), ("subject", "x\nBcc: e@example.com")]:
            refused = project.run("call", "office", "send", "--input", json.dumps(LETTER | {field: value}), ok=False)
            assert refused.returncode == 2 and field in refused.stderr, refused.stderr
        relay.mood = "550 5.1.1 no such user"
        failed = send(project, token, LETTER, "k2")
        assert failed["status"] == "failed" and failed["error"]["kind"] == "usage", failed
        assert "sara@example.com" in json.dumps(failed["error"]) and len(relay.messages) == 1
        relay.mood = "450 4.2.0 greylisted"
        failed = send(project, token, LETTER, "k3")
        assert failed["status"] == "failed" and failed["error"]["kind"] == "unavailable", failed
    project.run("audit", "verify")


def send_again(project, given, key):
    ask = ["call", "office", "send", "--input", json.dumps(given), "--idempotency-key", key, "--format", "json"]
    return json.loads(project.run(*ask, ok=False).stdout)


def test_a_lost_answer_is_settled_by_the_folder_of_sent_messages(project, mailbox):
    with Relay(mailbox) as relay:
        office(project, mailbox, relay, ", server_keeps_sent: true")
        token = approver(project)
        relay.mood = "silent"
        done = send(project, token, LETTER, "k1")
        assert done["status"] == "done" and done["remote_id"] == f"weir-{done['id']}@acme.example", done
        assert len(relay.messages) == 1
        # What the server does not keep may have been sent all the same.
        relay.keeps_sent = False
        lost = send(project, token, LETTER, "k2")
        assert lost["status"] == "uncertain" and lost["error"]["hint"], lost
        assert len(relay.messages) == 2


@pytest.mark.parametrize("point", ["control.call_before_send", "control.call_after_send"])
def test_a_process_that_dies_while_it_sends_sends_nothing_twice(project, mailbox, point):
    with Relay(mailbox) as relay:
        office(project, mailbox, relay, ", server_keeps_sent: true")
        token = approver(project)
        ask = ["call", "office", "send", "--input", json.dumps(LETTER), "--idempotency-key", "k", "--format", "json"]
        waits = json.loads(project.run(*ask).stdout)
        approve = ["approval", "approve", waits["id"]]
        died = project.run(*approve, ok=False, env={"WEIR_TOKEN": token, "WEIR_FAILPOINT": point})
        if "no fail points" in died.stderr:
            pytest.skip("this binary has no fail points")
        project.run(*approve, ok=False, env={"WEIR_TOKEN": token})
        again = json.loads(project.run(*ask, ok=False).stdout)
        sent = {sent["Message-ID"] for sent, _ in relay.messages}
        assert len(relay.messages) == len(sent) <= 1, again
        # What is not there may be on its way: it is looked for again before it counts as not sent.
        assert again["status"] == ("done" if sent else "uncertain"), again


def rows(project, columns="subject", order="uid"):
    return [row[columns] if "," not in columns else row for row in
            project.query(f"SELECT {columns} FROM email_messages ORDER BY folder, uidvalidity, {order}")]


@pytest.mark.parametrize("asked", ["trace", "async_imap=trace", "async_imap::imap_stream=trace"])
def test_no_log_has_the_password(project, mailbox, asked):
    office(project, mailbox)
    done = project.run("check", "office", env={"WEIR_LOG": asked})
    said = done.stdout + done.stderr
    assert PASSWORD not in said and "LOGIN" not in said, [line for line in said.splitlines() if "LOGIN" in line]


def test_folders_are_read_on_and_read_again_where_their_numbers_change(project, mailbox):
    office(project, mailbox)
    project.run("check", "office")
    mailbox.make("Work")
    mailbox.put("INBOX", *(message(number) for number in range(3)))
    mailbox.put("Work", message(10))
    project.run("sync", "office")
    assert rows(project) == ["Message 0", "Message 1", "Message 2", "Message 10"]
    folders = {row["name"]: row for row in project.query("SELECT name, messages, is_read FROM email_folders")}
    assert folders["INBOX"]["messages"] == 3 and folders["Work"]["is_read"]
    mailbox.put("INBOX", message(3))
    [books] = [line for line in project.json("sync", "office", "--stream", "messages") if line["stream"] == "messages"]
    assert books["read"] == 1, books
    assert rows(project)[3] == "Message 3"
    mailbox.rebuild("Work")
    mailbox.put("Work", message(20), message(21))
    told = project.run("sync", "office", "--stream", "messages")
    assert "rebuilt" in told.stdout + told.stderr
    assert {"Message 10", "Message 20", "Message 21"} <= set(rows(project))
    # A full refresh marks what is there no more.
    project.run("sync", "office", "--stream", "messages", "--full")
    gone = project.query("SELECT subject FROM email_messages WHERE _deleted_at IS NOT NULL")
    assert [row["subject"] for row in gone] in ([], [{"subject": "Message 10"}], ["Message 10"])


ODD = [
    b"Subject: no date, no sender\r\n\r\nx\r\n",
    b"\r\nonly a body\r\n",
    b"From: a@b\r\nDate: yesterday\r\nSubject: =?koi8-r?B?8NLJ18XU?=\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\n"
    + "Привет".encode("koi8-r") + b"\r\n",
    b"From: a@b\r\nSubject: broken\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: image/png\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n!!!!\r\n",
    b"From: a@b\r\nSubject: raw \xe4\xf6\xfc\r\nContent-Type: text/plain; charset=no-such-charset\r\n\r\n\xe4\xf6\xfc\r\n",
]


def test_whatever_a_message_looks_like_it_becomes_a_record(project, mailbox):
    content = bytes(range(256)) * 4
    attached = message(7, "See the file", In_Reply_To="<m6@example.com>", References="<m5@example.com> <m6@example.com>")
    attached.add_attachment(content, maintype="application", subtype="pdf", filename="عقد.pdf")
    large = message(8, "x" * 300_000)
    mailbox.put("INBOX", *ODD, attached, large)
    office(project, mailbox, imap=", message_bytes_max: 100000, attachment_bytes_max: 2000")
    [books] = [line for line in project.json("sync", "office", "--stream", "messages") if line["stream"] == "messages"]
    assert (books["read"], books["landed"]) == (7, 7), books
    found = project.query(
        "SELECT subject, text, date, received_at, is_partial, message_id, in_reply_to, \"references\", attachments,"
        " \"from\", size FROM email_messages ORDER BY uid"
    )
    assert [row["is_partial"] for row in found] == [False] * 6 + [True]
    assert all(row["received_at"] for row in found)
    assert (found[2]["subject"], found[2]["text"].strip(), found[2]["date"]) == ("Привет", "Привет", None)
    assert found[0]["subject"] == "no date, no sender"
    whole, header = found[5], found[6]
    assert (whole["message_id"], whole["in_reply_to"]) == ("m7@example.com", "m6@example.com")
    assert whole["references"] == ["m5@example.com", "m6@example.com"]
    assert whole["date"].startswith("2026-11-22T10:00:00") and whole["from"][0]["address"] == "sara@example.com"
    [file] = whole["attachments"]
    assert (file["name"], file["size"], file["sha256"]) == ("عقد.pdf", 1024, hashlib.sha256(content).hexdigest())
    assert base64.b64decode(file["base64"]) == content
    assert header["subject"] == "Message 8" and header["text"] is None and header["size"] > 300_000


def test_many_messages_come_page_after_page(project, mailbox):
    with mailbox.logged_in() as client:
        for number in range(450):
            client.append("INBOX", None, None, bytes(message(number)))
    office(project, mailbox)
    project.run("sync", "office", "--stream", "messages")
    [row] = project.query("SELECT count(*) AS n, count(DISTINCT message_id) AS ids FROM email_messages")
    assert (row["n"], row["ids"]) == (450, 450)


def test_a_check_says_what_is_wrong(project, mailbox):
    with Relay() as relay:
        office(project, mailbox, relay)
        project.run("check", "office")
        office(project, mailbox, password="wr0ng-passw0rd")
        refused = project.run("check", "office", ok=False)
        assert refused.returncode == 6 and "wr0ng-passw0rd" not in refused.stderr, refused.stderr
        office(project, relay=relay, password="wr0ng-passw0rd")
        refused = project.run("check", "office", ok=False)
        assert refused.returncode == 6 and "wr0ng-passw0rd" not in refused.stderr, refused.stderr
        text = (project.folder / "connections/office.yaml").read_text()
        for tls, says in [("starttls", "STARTTLS"), ("tls", "TLS")]:
            project.connection("office", text.replace("tls: none", f"tls: {tls}"))
            refused = project.run("check", "office", ok=False)
            assert refused.returncode != 0 and says in refused.stderr, (tls, refused.stderr)
        office(project, mailbox, imap=", folders: [Inbocks]")
        refused = project.run("check", "office", ok=False)
        assert "Inbocks" in refused.stderr and "INBOX" in refused.stderr, refused.stderr


@pytest.mark.skipif(not mail.dovecot(), reason="dovecot is not installed")
def test_encrypted_from_the_start_or_by_starttls_with_an_authority_of_ones_own(project, tmp_path):
    authority = trustme.CA()
    files = mail.certificate(authority, tmp_path)
    with Dovecot(tmp_path / "imap", files) as mailbox, Relay(tls=authority.issue_cert("localhost")) as relay:
        mailbox.put("INBOX", message(1))
        for tls, port in [("starttls", mailbox.port), ("tls", mailbox.tls_port)]:
            office(project, mailbox, relay, host="localhost", top=f"tls: {{ ca_file: {files[2]} }}")
            text = (project.folder / "connections/office.yaml").read_text()
            text = text.replace(f"port: {mailbox.port}, tls: none", f"port: {port}, tls: {tls}")
            text = text.replace("tls: none", "tls: starttls")
            project.connection("office", text)
            project.run("check", "office")
            # A certificate that nobody vouches for is refused.
            project.connection("office", text.replace(f"tls: {{ ca_file: {files[2]} }}\n", ""))
            refused = project.run("check", "office", ok=False)
            assert refused.returncode != 0 and "certificate" in refused.stderr, refused.stderr
        project.connection("office", text)
        project.run("sync", "office", "--stream", "messages")
        assert rows(project) == ["Message 1"]
        done = send(project, approver(project), LETTER, "k")
        assert done["status"] == "done" and len(relay.messages) == 1, done
