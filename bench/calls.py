#!/usr/bin/env python3
"""What governing a call costs: the time of a call over the API beside that of the bare request, calls a second, how
soon an open breaker answers, and how fast the audit trail that comes of it is verified.

    python3 bench/calls.py WEIR [--postgres] [--calls 20000]

Needs nginx, which plays the vendor, and ApacheBench (Debian: apache2-utils), which asks; PostgreSQL for --postgres.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
import postgres  # noqa: E402

NGINX = """
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 1000000; default_type application/json;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{{"data": {{"id": "t-1"}}}}'; }} }}
}}
"""
CONNECTOR = """
spec: 1
connector: till
version: 1.0.0
name: { en: Till }
hosts: ["127.0.0.1"]
http: { base_url: "{{ config.url }}" }
config: { type: object, required: [url], properties: { url: { type: string } } }
reliability: { timeout: 2s, retry: { attempts: 1 }, concurrency: 64, breaker: { failures: 5, window: 60s, cooldown: 10m } }
actions:
  - name: make
    title: Make a thing
    effect: write
    approval: auto
    input: { type: object, required: [thing], properties: { thing: { type: string } } }
    request: { path: /make, json: { thing: "{{ input.thing }}" } }
    output: { id: data.id }
    remote_id: id
    idempotency: { header: Idempotency-Key }
"""


def connection(url):
    return f"connector: till\nconfig: {{ url: '{url}' }}\nallow_private_hosts: true\n"


@contextlib.contextmanager
def nginx(folder):
    folder.mkdir()
    port = postgres.free_port()
    (folder / "conf").write_text(NGINX.format(folder=folder, port=port))
    process = subprocess.Popen(["nginx", "-c", folder / "conf", "-p", folder, "-e", folder / "error.log"])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def serving(weir, project, env):
    process = subprocess.Popen(
        [weir, "serve", "--listen", "127.0.0.1:0", "--requests-per-minute", "4000000000"],
        cwd=project, env=env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        if not select.select([process.stdout], [], [], 60)[0]:
            raise SystemExit("the server did not come up")
        yield process.stdout.readline().strip(), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def asked(folder, url, body, number, at_once, token=None):
    """Milliseconds at which parts of the requests were answered, and requests a second."""
    file = folder / "body"
    file.write_text(json.dumps(body))
    command = ["ab", "-q", "-k", "-l", "-n", number, "-c", at_once, "-T", "application/json", "-p", file]
    times = folder / "times"
    command += ["-e", times] + (["-H", f"Authorization: Bearer {token}"] if token else [])
    said = subprocess.run([*map(str, command), url], capture_output=True, text=True, check=True).stdout
    parts = dict(line.split(",") for line in times.read_text().splitlines()[1:])
    rate = float(re.search(r"Requests per second:\s+([\d.]+)", said)[1])
    failed = re.search(r"Non-2xx responses:\s+(\d+)", said)
    return {"p50_ms": float(parts["50"]), "p99_ms": float(parts["99"]), "a_second": rate, "failed": int(failed[1]) if failed else 0}


def measure(weir, folder, calls, env):
    project = folder / "project"
    run = lambda *command: subprocess.run([weir, *command], cwd=project, env=env, check=True, capture_output=True, text=True)  # noqa: E731
    subprocess.run([weir, "init", project], env=env, check=True, capture_output=True)
    for file in (project / "connections").glob("*.yaml"):
        file.unlink()
    (project / "connectors/till").mkdir(parents=True)
    (project / "connectors/till/connector.yaml").write_text(CONNECTOR)
    with nginx(folder / "nginx") as vendor:
        (project / "connections/shop.yaml").write_text(connection(vendor))
        (project / "connections/gone.yaml").write_text(connection(f"http://127.0.0.1:{postgres.free_port()}"))
        with serving(weir, project, env) as (url, process):
            token = run("token", "create", "bot", "--kind", "agent", "--role", "agent").stdout.strip()
            body = {"connection": "shop", "action": "make", "input": {"thing": "a"}}
            path = f"{url}/api/v1/calls"
            told = {"bare": asked(folder, f"{vendor}/make", body["input"], calls // 4, 1)}
            told["governed"] = asked(folder, path, body, calls // 4, 1, token)
            told["many_bare"] = asked(folder, f"{vendor}/make", body["input"], calls, 32)
            told["many"] = asked(folder, path, body, calls, 32, token)
            wrong = [name for name, of in told.items() if of["failed"]]
            if wrong:
                raise SystemExit(f"calls failed: {wrong}")
            gone = {**body, "connection": "gone"}
            asked(folder, path, gone, 20, 1, token)
            told["breaker_open"] = asked(folder, path, gone, 500, 1, token)
            told["server_mb"] = int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())[1]) // 1000
        began = time.monotonic()
        said = run("audit", "verify").stdout
        told["verify_s"] = round(time.monotonic() - began, 2)
        told["verified"] = said.strip().splitlines()[0]
    return told


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("weir")
    arguments.add_argument("--postgres", action="store_true")
    arguments.add_argument("--calls", type=int, default=20_000)
    given = arguments.parse_args()
    for program in ("nginx", "ab"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed")
    server = postgres.running() if given.postgres else contextlib.nullcontext()
    with tempfile.TemporaryDirectory() as folder, server as database:
        env = dict(os.environ)
        if database:
            env["WEIR_DATABASE_URL"] = database.url
        told = measure(str(pathlib.Path(given.weir).resolve()), pathlib.Path(folder), given.calls, env)
    for name, value in told.items():
        print(f"{name:14} {value}")


if __name__ == "__main__":
    main()
