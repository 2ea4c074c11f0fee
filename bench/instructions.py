#!/usr/bin/env python3
"""Counts the instructions that weir's data path takes, by part, and compares them with what it took before.

  bench/instructions.py BINARY            print the table; exit 1 where a part takes more than TOLERANCE more
  bench/instructions.py BINARY --update   keep these counts in bench/instructions.json

Instructions, counted by valgrind, hardly vary with the machine's load. The pages come from a server in this
process, so they are not counted. A part's count is that of its function and all that it calls.
"""

import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

TOLERANCE = 0.05
BASELINE = pathlib.Path(__file__).with_name("instructions.json")
PAGE = 500
# What is named here is counted apart: the functions' beginnings, as the profile names them.
PARTS = {
    "select": ["weir_engine::extract::select::Selector::select"],
    "page": ["weir_engine::declarative::page::PageReader::read"],
    "type": ["weir_lake::typed::Typer::decode"],
    "bronze": [
        "weir_lake::bronze::writer::BronzeWriter::write::{{closure}}",
        "weir_lake::bronze::writer::BronzeWriter::put",
    ],
    "parquet": [
        "weir_lake::table::file_writer::FileWriter::write::{{closure}}",
        "weir_lake::table::file_writer::FileWriter::finish::{{closure}}",
    ],
    "merge": ["weir_lake::upsert::Upsert::run"],
    "store": ["<sqlx_sqlite::connection::execute::ExecuteIter"],
}


def record(number, version):
    return {
        "id": number,
        "title": f"{'parser stream cursor merge'.split()[number % 4]} in table {number} v{version}",
        "state": "open" if number % 3 else "closed",
        "score": number * 0.25,
        "updated_at": f"2026-0{1 + version}-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z",
        "user": {"id": number % 50, "login": f"user-{number % 50}", "admin": number % 7 == 0},
        "labels": [{"id": n, "name": f"area/{n}"} for n in range(number % 4)],
        "body": f"steps {number}: " + "read write merge commit " * (number % 9 + 1),
    }


class Pages(http.server.BaseHTTPRequestHandler):
    """/STREAM?page=N&since=T: the first version of all records, or the changed tenth of them."""

    protocol_version = "HTTP/1.1"
    rows = 0

    def log_message(self, *_):
        pass

    def do_GET(self):
        query = dict(re.findall(r"(\w+)=([^&]*)", self.path))
        changed = "since" in query
        step = 10 if changed else 1
        numbers = range(0, self.rows, step)
        at = (int(query.get("page", 1)) - 1) * PAGE
        rows = [record(n, 1 if changed else 0) for n in numbers[at : at + PAGE]]
        pages = -(-len(numbers) // PAGE)
        body = json.dumps({"pages": pages, "items": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def project(folder, url, streams, mode):
    (folder / "connections").mkdir(parents=True)
    (folder / "weir.yaml").write_text("project: bench\n")
    head = f"connector: http_json\nsource: bench\nallow_private_hosts: true\nconfig:\n  base_url: {url}\n  streams:\n"
    paginate = "{ by: page_number, request: { param: page }, pages_path: pages }"
    lines = [
        f"    - {{ name: s{n}, path: /s{n}, select: items, primary_key: [id], paginate: {paginate}, {mode} }}\n"
        for n in range(streams)
    ]
    (folder / "connections/bench.yaml").write_text(head + "".join(lines))


def counts(profile):
    """Instructions by function, of what it calls too."""
    text = subprocess.run(
        ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(profile)],
        capture_output=True, text=True, check=True,
    ).stdout
    total = int(re.search(r"([\d,]+) \(.*PROGRAM TOTALS", text)[1].replace(",", ""))
    found = {"total": total}
    lines = re.findall(r"^\s*([\d,]+) \([^)]*\)\s+\S*?:(.*?)(?: \[[^\]]*\])?$", text, re.M)
    for part, names in PARTS.items():
        sums = [max((int(n.replace(",", "")) for n, f in lines if f.startswith(name)), default=0) for name in names]
        found[part] = sum(sums)
    return found


def measure(binary, workload):
    streams, rows, mode, before = WORKLOADS[workload]
    Pages.rows = rows
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "project"
        project(folder, f"http://127.0.0.1:{server.server_address[1]}", streams, mode)
        sync = [binary, "sync", "bench", "--quiet"]
        for _ in range(before):
            subprocess.run(sync, cwd=folder, check=True, capture_output=True)
        profile = pathlib.Path(temporary) / "profile"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}"]
        subprocess.run(valgrind + sync, cwd=folder, check=True, capture_output=True)
        server.shutdown()
        return counts(profile)


# streams, rows a stream, mode, untimed runs before.
MERGE = "cursor: { field: updated_at, request: { param: since } }, mode: incremental_merge"
WORKLOADS = {
    "full": (1, 20_000, "mode: full_refresh_replace", 0),
    "merge": (1, 20_000, MERGE, 1),
    "unchanged": (1, 20_000, MERGE, 2),
    "small": (40, 100, "mode: full_refresh_replace", 0),
}


def main():
    if len(sys.argv) < 2 or not shutil.which("valgrind"):
        sys.exit(__doc__ if len(sys.argv) < 2 else "valgrind is not installed (Debian's package `valgrind`)")
    binary, update = str(pathlib.Path(sys.argv[1]).resolve()), "--update" in sys.argv
    before = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    now, worse = {}, []
    for workload, (streams, rows, *_) in WORKLOADS.items():
        found = measure(binary, workload)
        now[workload] = {part: round(count / (streams * rows)) for part, count in found.items()}
        for part, count in now[workload].items():
            was = before.get(workload, {}).get(part)
            change = f"{count / was - 1:+.1%}" if was else "new"
            print(f"{workload:10} {part:10} {count:>9,} instructions a record  {change}", flush=True)
            # A part that is next to nothing may double without anybody noticing.
            if was and count > was * (1 + TOLERANCE) and count - was > now[workload]["total"] * 0.01:
                worse.append(f"{workload} {part}: {was:,} before, {count:,} now")
    if update:
        BASELINE.write_text(json.dumps(now, indent=1) + "\n")
    elif worse:
        sys.exit("more instructions than bench/instructions.json allows:\n  " + "\n  ".join(worse))


if __name__ == "__main__":
    main()
