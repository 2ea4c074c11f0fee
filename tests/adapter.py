"""A proxy between the github connector and the recorded exchanges of @octokit/fixtures-server.

The recordings answer only the very requests that were made when they were recorded: other header
spellings, another page size, no `state`. The proxy says the connector's request in those words and
changes nothing of the answer but the host in its Link header.
"""

import http.server
import threading
import urllib.error
import urllib.parse
import urllib.request

RECORDED_TOKEN = "token 0000000000000000000000000000000000000001"
RECORDED_ACCEPT = "application/vnd.github.v3+json"


class Adapter:
    def __init__(self, scenario_url, keep):
        """`keep`: the parameters that the recording has, with the values it has."""
        self.target, self.keep, self.seen = scenario_url, keep, []

    def __enter__(self):
        adapter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                query = {k: adapter.keep.get(k, v) for k, v in query.items() if k in adapter.keep or k == "page"}
                target = adapter.target + url.path + ("?" + urllib.parse.urlencode(query) if query else "")
                adapter.seen.append(target)
                request = urllib.request.Request(
                    target, headers={"Accept": RECORDED_ACCEPT, "Authorization": RECORDED_TOKEN}
                )
                try:
                    answer = urllib.request.urlopen(request)
                except urllib.error.HTTPError as error:
                    answer = error
                body = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(body)))
                if link := answer.headers.get("Link"):
                    self.send_header("Link", link.replace(adapter.target, adapter.url))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"
