#!/usr/bin/env python3
"""What a change costs in a small and in a large table: CPU seconds, peak memory, bytes written.

    python3 bench/large.py WEIR [--rows 100000 10000000] [--vectors]

Records of 110 bytes with an integer key, 5,000 a page, merged by key, from a server of its own on loopback.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PER_PAGE, CHANGED = 5_000, 1_000
CONNECTION = """connector: http_json
source: demo
allow_private_hosts: true
config:
  base_url: {url}
  check: {{ path: / }}
  streams:
    - name: records
      path: /
      paginate: {{ by: link_header }}
      primary_key: [id]
      cursor: {{ field: at, request: {{ param: since }}, order: ascending }}
      mode: incremental_merge
{more}"""


def stamp(second):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_767_225_600 + second))


class Table:
    """Records by number; those that changed say so in their cursor."""

    def __init__(self, rows):
        self.rows, self.second, self.changed = rows, rows // 1000, []

    def change(self, numbers):
        self.second += 10
        self.changed = sorted(numbers)

    def page(self, page, is_first_read):
        if is_first_read:
            numbers = range(page * PER_PAGE, min((page + 1) * PER_PAGE, self.rows))
            return [self.record(n, n // 1000, 0) for n in numbers], (page + 1) * PER_PAGE < self.rows
        return [self.record(n, self.second, self.second) for n in self.changed], False

    def record(self, number, second, version):
        text = hashlib.blake2b(b"%d.%d" % (number, version), digest_size=24).hexdigest()  # does not compress away
        return f'{{"id":{number},"at":"{stamp(second)}","text":"{text}"}}'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    table = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        asked = dict(part.split("=", 1) for part in query.split("&") if part)
        page = int(asked.get("page", 0))
        rows, has_next = self.table.page(page, "since" not in asked)
        body = ("[" + ",".join(rows) + "]").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        if has_next:
            host = f"http://127.0.0.1:{self.server.server_address[1]}"
            self.send_header("Link", f'<{host}{path}?page={page + 1}>; rel="next"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def measured(weir, folder, *args):
    """CPU seconds and peak MB of one command."""
    with open(folder / "out", "wb") as out:
        process = subprocess.Popen([weir, *args], cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{args}: {(folder / 'out').read_text()}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def size(folder):
    """Bytes of every object that is there, by path: what is new of them was written."""
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def run(weir, rows, has_vectors):
    with tempfile.TemporaryDirectory(prefix="weir-large-") as place:
        folder = pathlib.Path(place) / "project"
        subprocess.run([weir, "init", folder], check=True, stdout=subprocess.DEVNULL)
        for sample in (folder / "connections").glob("*.yaml"):
            sample.unlink()
        table = Handler.table = Table(rows)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        more = "      deletion_vectors: true\n" if has_vectors else ""
        url = f"http://127.0.0.1:{server.server_address[1]}"
        (folder / "connections" / "demo.yaml").write_text(CONNECTION.format(url=url, more=more))
        dice = random.Random(rows)
        steps = {
            "load": None,
            "nothing new": [],
            f"{CHANGED} at the end": range(rows - CHANGED, rows),
            f"{CHANGED} at random": dice.sample(range(rows), CHANGED),
            f"{CHANGED} at random, again": dice.sample(range(rows), CHANGED),
        }
        for name, numbers in steps.items():
            if numbers is not None:
                table.change(numbers)
            before = size(folder / "lake" / "silver")
            cpu, peak = measured(weir, folder, "sync", "demo")
            after = size(folder / "lake" / "silver")
            written = sum(length for path, length in after.items() if path not in before) / 1e6
            print(json.dumps({"rows": rows, "vectors": has_vectors, "step": name, "cpu_s": round(cpu, 2),
                              "peak_mb": round(peak), "silver_mb_written": round(written, 2)}), flush=True)
        server.shutdown()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weir")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 10_000_000])
    parser.add_argument("--vectors", action="store_true")
    args = parser.parse_args()
    for rows in args.rows:
        run(os.path.abspath(args.weir), rows, args.vectors)


if __name__ == "__main__":
    main()
