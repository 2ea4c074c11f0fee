"""An object store that misbehaves: a proxy before a real one, whose faults a test decides.

It stands where S3 stands for weir. What S3 promises it keeps: two conditional writes of one object come one after the
other. It notes what was written without the condition that a commit must bear.
"""

import http.client
import http.server
import re
import sys
import threading
import time
import urllib.parse

COMMIT = re.compile(r"/_delta_log/\d{20}\.json$")
FAULTS = ["503", "500", "500 after", "cut before", "cut after", "cut body", "late", "too late"]
# The answer of an overloaded S3, as its documentation shows it.
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
INTERNAL = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class StoreProxy:
    """`rate` of the requests meet one of `faults`, as the dice say; a hop's own headers stay behind."""

    def __init__(self, target, dice, late_s=0.4, too_late_s=3):
        self.target = urllib.parse.urlsplit(target).netloc
        self.dice, self.rate, self.faults = dice, 0.0, list(FAULTS)
        self.late_s, self.too_late_s = late_s, too_late_s
        self.met, self.unguarded, self.commits = [], [], {}
        self.lock, self.one_write = threading.Lock(), threading.Lock()

    def __enter__(self):
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):  # weir may be killed at any time
                    super().handle_error(request, client_address)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def handle(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self.lock:
            fault = self.dice.choice(self.faults) if self.dice.random() < self.rate else None
            if fault:
                self.met.append((fault, handler.command, handler.path))
        if fault == "503":
            return self.answer(handler, 503, {}, SLOW_DOWN)
        if fault == "500":
            return self.answer(handler, 500, {}, INTERNAL)
        if fault == "cut before":
            return self.cut(handler)
        if fault == "late":
            time.sleep(self.late_s)
        status, headers, answer = self.forward(handler, body)
        if fault == "too late":
            time.sleep(self.too_late_s)
        if fault == "500 after":
            return self.answer(handler, 500, {}, INTERNAL)
        if fault == "cut after":
            return self.cut(handler)
        self.answer(handler, status, headers, answer, is_cut=fault == "cut body")
        if fault == "cut body":
            self.cut(handler)

    def forward(self, handler, body):
        """One conditional write at a time: the server behind looks first and writes then."""
        path = urllib.parse.urlsplit(handler.path).path
        is_commit = handler.command == "PUT" and COMMIT.search(path)
        with self.one_write if handler.headers.get("If-None-Match") or is_commit else threading.Lock():
            behind = http.client.HTTPConnection(self.target, timeout=60)
            try:
                headers = {k: v for k, v in handler.headers.items() if k.lower() not in ("connection", "host")}
                behind.request(handler.command, handler.path, body, {**headers, "Host": self.target})
                response = behind.getresponse()
                answer = response.read()
            finally:
                behind.close()
            if is_commit:
                self.note(path, handler.headers, response.status)
        return response.status, dict(response.getheaders()), answer

    def note(self, path, headers, status):
        with self.lock:
            if headers.get("If-None-Match") != "*":
                self.unguarded.append(path)
            if status == 200:
                self.commits[path] = self.commits.get(path, 0) + 1

    def answer(self, handler, status, headers, body, is_cut=False):
        handler.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                handler.send_header(name, value)
        # What a HEAD would answer with has no body here, but the length of one.
        length = next((v for k, v in headers.items() if k.lower() == "content-length"), len(body))
        handler.send_header("Content-Length", str(length if handler.command == "HEAD" else len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if is_cut else body)

    def cut(self, handler):
        handler.close_connection = True
        handler.wfile.flush()
        handler.connection.close()
