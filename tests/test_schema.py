"""Every operation of the OpenAPI document, asked by schemathesis: no server error, and no answer that it does not allow."""

import re
import subprocess
import sys
import threading

from source import connection, record
from test_api import first_token
from test_serve import serving

# Cases of each operation beside those that its limits make.
EXAMPLES_MAX = 10
# In all of them: fewer would mean that most were not asked.
CASES_MIN = 2_000
RUN_S_MAX = 300
CHECKS = (
    "not_a_server_error",
    "response_schema_conformance",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
)


def drained(stream):
    """A server that logs much would wait for somebody to read it."""
    reader = threading.Thread(target=stream.read, daemon=True)
    reader.start()
    return reader


def test_no_request_makes_an_answer_that_the_document_does_not_allow(project, source, tmp_path):
    source.records = [record(n, n) for n in range(5)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    # What is queued waits: nothing but requests is to happen meanwhile.
    with serving(project, "--runs-at-once", "0", "--requests-per-minute", "1000000") as process:
        token = first_token(process)
        drained(process.stderr)
        command = [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{process.url}/api/v1/openapi.json",
            "--header",
            f"Authorization: Bearer {token}",
            "--checks",
            ",".join(CHECKS),
            # Stateful ones follow what was answered, which is another each time.
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            str(EXAMPLES_MAX),
            # The same cases in every run.
            "--generation-deterministic",
            "--warnings",
            "off",
            "--workers",
            "1",
            "--request-timeout",
            "30",
            "--continue-on-failure",
            "--no-color",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=RUN_S_MAX)
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
        passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
        assert passed and int(passed[1]) == int(passed[2]) >= CASES_MIN, done.stdout[-2_000:]
