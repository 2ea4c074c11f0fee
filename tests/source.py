"""A small HTTP source whose data and faults a test decides: paging, `since`, Link headers, delays, errors.

Records are `{"id", "name", "updated_at", "nested": {...}, "tags": [...]}`, ordered by (updated_at, id).
"""

import datetime
import http.server
import json
import sys
import threading
import urllib.parse

EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def stamp(seconds):
    return (EPOCH + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def record(number, second, name=None):
    return {
        "id": number,
        "name": name or f"name {number}",
        "updated_at": stamp(second),
        "nested": {"level": number % 7, "label": f"l{number % 3}"},
        "tags": [f"t{number % 5}", f"t{number % 2}"],
        "text": "x" * 200,
    }


class Source:
    def __init__(self):
        self.records = []  # of /records
        self.page_size_max = 100
        self.requests = []  # (path, query) as they came
        self.faults = []  # callables(handler, path, query) -> True when they answered
        self.posts = {}  # path -> callable(handler) that answers a POST there
        self.on_page = None  # called with the page's number before it is answered
        self.lock = threading.Lock()

    def __enter__(self):
        source = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                with source.lock:
                    source.requests.append((url.path, query))
                    faults = list(source.faults)
                for fault in faults:
                    if fault(self, url.path, query):
                        return
                source.answer(self, url.path, query)

            def do_POST(self):
                answer = source.posts.get(urllib.parse.urlsplit(self.path).path)
                if answer:
                    return answer(self)
                self.send(404, {"message": f"no such path {self.path}"})

            def send(self, status, body, headers=None):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                headers = {"Content-Type": "application/json", **(headers or {})}
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                if not isinstance(sys.exc_info()[1], ConnectionError):  # weir may be killed at any time
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

    def answer(self, handler, path, query):
        if path == "/records":
            since = query.get("since", "")
            found = [r for r in self.records if not since or str(r.get("updated_at", "")) >= since]
        elif path == "/me":
            return handler.send(200, {"ok": True})
        else:
            return handler.send(404, {"message": f"no such path {path}"})
        page, size = int(query.get("page", 1)), min(int(query.get("per_page", 30)), self.page_size_max)
        if "after" in query:  # a mark of the source's own, good for reading on
            page = int(query["after"].removeprefix("mark-"))
        if self.on_page:
            self.on_page(page)
        rows = found[(page - 1) * size : page * size]
        headers = {}
        if page * size < len(found):
            after = urllib.parse.urlencode({**query, "page": page + 1})
            headers["Link"] = f'<{self.url}{path}?{after}>; rel="next"'
            headers["X-Next"] = f"mark-{page + 1}"
        handler.send(200, rows, headers)


BY_LINK = "{ by: link_header, size: { param: per_page, value: 100 } }"
BY_MARK = "{ by: page_token, from_header: X-Next, request: { param: after }, size: { param: per_page, value: 100 } }"


def connection(url, mode=None, extra="", order="ascending", key="[id]", cursor=True, paginate=BY_LINK):
    """A connection file that reads /records of a Source by configuration alone."""
    lines = [
        "connector: http_json",
        "source: demo",
        "allow_private_hosts: true",
        "reliability: { retry: { attempts: 4, base: 10ms, max: 200ms } }",
        "config:",
        f"  base_url: {url}",
        "  check: { path: /me }",
        "  streams:",
        "    - name: records",
        "      path: /records",
        f"      paginate: {paginate}",
        f"      primary_key: {key}",
    ]
    if cursor:
        lines.append(
            f"      cursor: {{ field: updated_at, request: {{ param: since }}, order: {order} }}"
        )
    if mode:
        lines.append(f"      mode: {mode}")
    return "\n".join(lines) + "\n" + extra
