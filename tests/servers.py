"""Starting, awaiting and stopping the servers that tests run against.

Not in conftest.py: the folder `faults` has one of its own, and `import conftest` finds either of the two.
"""

import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

START_S_MAX = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(url, process, ok=lambda status: status < 500):
    """Waits until a server answers; a server that died is reported with its output."""
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"server for {url} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:
            time.sleep(0.1)
            continue
        if ok(status):
            return
        time.sleep(0.1)
    raise RuntimeError(f"server for {url} did not answer within {START_S_MAX} s")


def start(command, url, log, **options):
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
    try:
        wait_for(url, process)
    except RuntimeError as error:
        stop(process)
        raise RuntimeError(f"{error}\n{pathlib.Path(log).read_text()[-2000:]}") from error
    return process


def stop(process):
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
