"""Receivers that others wrote or that a test decides: an SMTP server, and an HTTP server that keeps what it is sent."""

import email
import email.policy
import http.server
import ssl
import threading
import time

import aiosmtpd.controller
import aiosmtpd.smtp

WAIT_S_MAX = 60


def wait_until(found, what, seconds=WAIT_S_MAX):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come within {seconds} s")


class Mailbox:
    """An SMTP server (aiosmtpd) with an account of its own where it is given one."""

    def __init__(self, tls=None, account=None):
        self.messages, self.refuse = [], 0
        self.account = account
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.configure_cert(context)
        options = {"hostname": "127.0.0.1", "port": 0}
        if context:
            options |= {"tls_context": context, "require_starttls": True}
        if account:
            options |= {"authenticator": self.authenticate, "auth_required": True, "auth_require_tls": bool(tls)}
        self.controller = Controller(self, **options)

    def authenticate(self, _server, _session, _envelope, _mechanism, data):
        found = (data.login.decode(), data.password.decode())
        return aiosmtpd.smtp.AuthResult(success=found == self.account)

    async def handle_DATA(self, _server, _session, envelope):
        if self.refuse > 0:
            self.refuse -= 1
            return "451 try again later"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.messages.append(message)
        return "250 taken"

    def __enter__(self):
        self.controller.start()
        self.port = self.controller.server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self.controller.stop()


class Controller(aiosmtpd.controller.Controller):
    """On a free port: the one it was given is 0."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class Receiver:
    """Keeps each POST; `answers` are statuses for the next ones, 200 after that."""

    def __init__(self):
        self.posts, self.answers, self.lock = [], [], threading.Lock()
        self.headers, self.asked = {}, 0
        # While it is not set, nobody is answered, and nothing is taken.
        self.hold = threading.Event()
        self.hold.set()

    def __enter__(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                receiver.asked += 1
                if not receiver.hold.is_set():
                    receiver.hold.wait()
                    self.close_connection = True
                    return
                with receiver.lock:
                    status = receiver.answers.pop(0) if receiver.answers else 200
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.posts.append((self.path, headers, body, status))
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def taken(self):
        with self.lock:
            return [post for post in self.posts if post[3] == 200]
