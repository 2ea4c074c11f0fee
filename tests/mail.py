"""Mail servers that others wrote: Dovecot where it is installed, pymap everywhere, and aiosmtpd before them."""

import contextlib
import email
import email.policy
import grp
import imaplib
import os
import pathlib
import pwd
import shutil
import ssl
import subprocess
import tempfile
import time

import aiosmtpd.smtp
from project import TOOLS
from receivers import Controller
from servers import free_port, stop

START_S_MAX = 30
USER, PASSWORD = "ada@acme.example", "p4ss-0f-the-mailbox"


def dovecot():
    """Debian keeps it off the path of ordinary users."""
    return shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/sbin")


class Imap:
    """A mailbox: what every server of IMAP can be asked for."""

    authority = None

    def client(self):
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                client = imaplib.IMAP4("127.0.0.1", self.port)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the mail server is not there:\n{self.log.read_text()[-2000:]}") from None
                time.sleep(0.05)
        if self.authority:
            context = ssl.create_default_context(cafile=self.authority)
            context.check_hostname = False
            client.starttls(context)
        client.login(USER, PASSWORD)
        return client

    @contextlib.contextmanager
    def logged_in(self):
        client = self.client()
        try:
            yield client
        finally:
            client.logout()

    def make(self, folder):
        with self.logged_in() as client:
            client.create(folder)

    def put(self, folder, *messages):
        with self.logged_in() as client:
            for message in messages:
                done, said = client.append(folder, None, None, bytes(message))
                assert done == "OK", said

    def rebuild(self, folder):
        """The folder anew, with other numbers."""
        with self.logged_in() as client:
            client.delete(folder)
            # Where UIDVALIDITY is the time in seconds, another second is another one.
            time.sleep(1.1)
            client.create(folder)

    def __enter__(self):
        with self.logged_in():
            return self

    def __exit__(self, *_):
        stop(self.process)


class Dovecot(Imap):
    name = "dovecot"

    def __init__(self, _place, certificate=None):
        # Not in pytest's own folder, which the mailbox's account may not enter.
        self.folder = tempfile.TemporaryDirectory(prefix="dovecot")
        place = pathlib.Path(self.folder.name)
        place.chmod(0o755)
        # As root, which it gives up for each mailbox; else as who runs the tests.
        who = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        account = pwd.getpwnam(who)
        self.port, self.tls_port = free_port(), free_port() if certificate else 0
        self.log = place / "log"
        mail = place / "mail"
        mail.mkdir(parents=True)
        os.chown(mail, account.pw_uid, account.pw_gid)
        tls = "ssl = no"
        if certificate:
            chain, key, self.authority = certificate
            tls = f"ssl = required\nssl_cert = <{chain}\nssl_key = <{key}"
        config = place / "dovecot.conf"
        config.write_text(f"""
base_dir = {place}/run
state_dir = {place}/state
log_path = {self.log}
protocols = imap
listen = 127.0.0.1
{tls}
disable_plaintext_auth = no
auth_failure_delay = 0
mail_location = maildir:{mail}/%u
first_valid_uid = 1
default_login_user = {who}
default_internal_user = {who}
default_internal_group = {grp.getgrgid(account.pw_gid).gr_name}
mail_fsync = never
passdb {{
  driver = static
  args = user={USER} password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={account.pw_uid} gid={account.pw_gid} home={mail}/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = {self.tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
namespace inbox {{
  inbox = yes
  mailbox Sent {{
    auto = create
    special_use = \\Sent
  }}
  mailbox Junk {{
    auto = create
    special_use = \\Junk
  }}
}}
""")
        with open(place / "out", "wb") as out:
            self.process = subprocess.Popen(
                [dovecot(), "-c", config, "-F"], stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.log.touch()

    def __exit__(self, *_):
        super().__exit__()
        self.folder.cleanup()


class Pymap(Imap):
    name = "pymap"

    def __init__(self, place):
        place.mkdir(parents=True)
        self.port, self.log = free_port(), place / "log"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [TOOLS / "pymap/bin/pymap", "--no-tls", "--host", "127.0.0.1", "--port", str(self.port),
                 "dict", "--demo-user", USER, "--demo-password", PASSWORD],
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )

    def __enter__(self):
        self.make("Sent")
        return self


class Relay:
    """An SMTP server that keeps what it is sent, and a copy in the sender's folder of sent messages, as Gmail does.
    `mood`: fine; silent (takes the message and never says so); or an answer to RCPT."""

    def __init__(self, mailbox=None, tls=None, keeps_sent=True):
        self.messages, self.mood, self.mailbox, self.keeps_sent = [], "fine", mailbox, keeps_sent
        options = {"hostname": "127.0.0.1", "port": 0, "authenticator": self.authenticate, "auth_required": True}
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.configure_cert(context)
            options |= {"tls_context": context, "require_starttls": True}
        self.controller = Controller(self, auth_require_tls=bool(tls), **options)

    def authenticate(self, _server, _session, _envelope, _mechanism, data):
        found = (data.login.decode(), data.password.decode())
        # Unhandled: the server itself says no.
        return aiosmtpd.smtp.AuthResult(success=found == (USER, PASSWORD), handled=False)

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if self.mood[0].isdigit():
            return self.mood
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, _session, envelope):
        content = envelope.content
        message = email.message_from_bytes(content, policy=email.policy.default)
        self.messages.append((message, envelope.rcpt_tos))
        if self.mailbox and self.keeps_sent:
            self.mailbox.put("Sent", content)
        if self.mood == "silent":
            server.transport.abort()
        return "250 2.0.0 queued"

    def __enter__(self):
        self.controller.start()
        self.port = self.controller.server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self.controller.stop()


def certificate(authority, folder):
    """Files of a certificate for localhost: chain, key, authority."""
    issued = authority.issue_cert("localhost")
    chain, key, root = (pathlib.Path(folder) / name for name in ("chain.pem", "key.pem", "ca.pem"))
    issued.private_key_pem.write_to_path(key)
    for position, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(chain, append=position > 0)
    authority.cert_pem.write_to_path(root)
    return chain, key, root
