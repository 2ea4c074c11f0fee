"""What `weir source` prints for a low-code manifest, held against the protocol's own models and the rules of its public
acceptance tests."""

import json
import os
import pathlib
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pydantic
import pytest
from airbyte_protocol.models import AirbyteMessage, ConfiguredAirbyteCatalog

ROOT = pathlib.Path(__file__).parent.parent
WEIR = os.environ.get("WEIR_BIN", str(ROOT / "target/debug/weir"))

MANIFEST = """\
version: 1.0.0
type: DeclarativeSource
check: { type: CheckStream, stream_names: [orders] }
definitions:
  requester:
    type: HttpRequester
    url_base: "URL"
    authenticator: { type: BearerAuthenticator, api_token: "{{ config['token'] }}" }
    error_handler:
      type: DefaultErrorHandler
      max_retries: 0
  selector: { type: RecordSelector, extractor: { type: DpathExtractor, field_path: [data] } }
  cursor:
    type: DatetimeBasedCursor
    cursor_field: at
    datetime_format: "%Y-%m-%d"
    start_datetime: "2026-01-01"
    end_datetime: "2026-02-01"
    start_time_option: { type: RequestOption, inject_into: request_parameter, field_name: since }
streams:
  - type: DeclarativeStream
    name: orders
    primary_key: id
    retriever:
      type: SimpleRetriever
      requester: { $ref: "#/definitions/requester", path: orders }
      record_selector: { $ref: "#/definitions/selector" }
    incremental_sync: { $ref: "#/definitions/cursor" }
    schema_loader: { type: InlineSchemaLoader, schema: &schema { type: object, properties: { id: { type: integer }, at: { type: [string, "null"] }, shop: { type: string } } } }
  - type: DeclarativeStream
    name: by_shop
    primary_key: [[id], [shop]]
    retriever:
      type: SimpleRetriever
      requester: { $ref: "#/definitions/requester", path: "shops/{{ stream_partition.shop }}" }
      record_selector: { $ref: "#/definitions/selector" }
      partition_router: { type: ListPartitionRouter, values: [a, b], cursor_field: shop }
    incremental_sync: { $ref: "#/definitions/cursor" }
    schema_loader: { type: InlineSchemaLoader, schema: *schema }
  - type: DeclarativeStream
    name: plain
    retriever:
      type: SimpleRetriever
      requester: { $ref: "#/definitions/requester", path: plain }
      record_selector: { $ref: "#/definitions/selector" }
    schema_loader: { type: InlineSchemaLoader, schema: *schema }
  - type: DeclarativeStream
    name: broken
    retriever:
      type: SimpleRetriever
      requester: { $ref: "#/definitions/requester", path: broken }
      record_selector: { $ref: "#/definitions/selector" }
    schema_loader: { type: InlineSchemaLoader, schema: *schema }
spec:
  type: Spec
  documentation_url: https://example.com/docs
  connection_specification:
    type: object
    required: [token]
    properties: { token: { type: string, airbyte_secret: true } }
"""
TOKEN = "a-secret-of-the-test"
DATES = ["2026-01-03", "2026-01-05", "2026-01-09"]


class Shop(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urlsplit(self.path)
        since = parse_qs(url.query).get("since", [""])[0]
        status, rows = 200, [{"id": number, "at": at} for number, at in enumerate(DATES) if at >= since]
        if url.path.startswith("/shops/"):
            rows = [{**row, "shop": url.path.removeprefix("/shops/")} for row in rows]
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status, rows = 401, []
        if url.path == "/broken":
            status, rows = 500, []
        body = json.dumps({"data": rows}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Connector:
    def __init__(self, folder, url):
        self.folder = folder
        self.put("manifest.yaml", MANIFEST.replace("URL", url))
        self.put("config.json", {"token": TOKEN})

    def put(self, name, content):
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / name).write_text(text)

    def run(self, command, *flags):
        """Exit code and messages; every line must be one, by the protocol's models, and no secret be in it."""
        args = [WEIR, "source", "--manifest", "manifest.yaml", command, *flags]
        done = subprocess.run(args, cwd=self.folder, capture_output=True, text=True, timeout=120)
        assert TOKEN not in done.stdout + done.stderr
        return done.returncode, [message(line) for line in done.stdout.splitlines()]

    def read(self, streams, mode="incremental", state=None):
        def configured(name):
            stream = {"name": name, "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]}
            return {"stream": stream, "sync_mode": mode, "destination_sync_mode": "append", "cursor_field": ["at"]}

        catalog = {"streams": [configured(name) for name in streams]}
        ConfiguredAirbyteCatalog.model_validate(catalog)
        self.put("catalog.json", catalog)
        flags = ["--config", "config.json", "--catalog", "catalog.json"]
        if state is not None:
            self.put("state.json", state)
            flags += ["--state", "state.json"]
        return self.run("read", *flags)


def unknown(value, path=""):
    """Members that the models do not know; free-form ones are the protocol's own."""
    free = ("data", "stream_state", "connectionSpecification", "json_schema", "config", "advanced_auth")
    if isinstance(value, pydantic.BaseModel):
        found = [f"{path}.{name}" for name in value.model_extra or {}]
        for name, below in value:
            if name not in free and name not in (value.model_extra or {}):
                found += unknown(below, f"{path}.{name}")
        return found
    if isinstance(value, list):
        return [name for below in value for name in unknown(below, path)]
    return []


def message(line):
    parsed = AirbyteMessage.model_validate_json(line)
    assert unknown(parsed) == [], line
    payload = {"CONNECTION_STATUS": "connectionStatus"}.get(parsed.type.value, parsed.type.value.lower())
    assert getattr(parsed, payload) is not None, line
    return parsed


def of(messages, kind):
    return [getattr(found, kind.lower()) for found in messages if found.type.value == kind]


def statuses(messages, stream):
    traces = [trace.stream_status for trace in of(messages, "TRACE") if trace.stream_status]
    return [trace.status.value for trace in traces if trace.stream_descriptor.name == stream]


def states(messages):
    """The last state of each stream, as the protocol gives it back."""
    last = {}
    for line in of(messages, "STATE"):
        assert line.type.value == "STREAM"
        last[line.stream.stream_descriptor.name] = json.loads(line.model_dump_json(exclude_none=True))
    return last


@pytest.fixture
def connector(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Connector(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()


def test_spec(connector):
    code, messages = connector.run("spec")
    [spec] = of(messages, "SPEC")
    assert code == 0
    jsonschema.Draft7Validator.check_schema(spec.connectionSpecification)
    assert spec.connectionSpecification["properties"]["token"]["airbyte_secret"] is True
    assert str(spec.documentationUrl) == "https://example.com/docs"


def test_check(connector):
    code, messages = connector.run("check", "--config", "config.json")
    [status] = [found.connectionStatus for found in messages if found.connectionStatus]
    assert (code, status.status.value) == (0, "SUCCEEDED")


@pytest.mark.parametrize("config", [{}, {"token": "wrong"}, []], ids=["missing", "refused", "no object"])
def test_check_of_a_bad_config_fails(connector, config):
    connector.put("config.json", config)
    code, messages = connector.run("check", "--config", "config.json")
    failed = [found.connectionStatus for found in messages if found.connectionStatus]
    errors = [trace.error for trace in of(messages, "TRACE") if trace.error]
    # The protocol takes either: a status, or a trace and an exit code.
    assert [status.status.value for status in failed] == ["FAILED"] or (errors and code != 0)
    assert all(status.message for status in failed)


def test_discover(connector):
    code, messages = connector.run("discover", "--config", "config.json")
    [catalog] = of(messages, "CATALOG")
    assert code == 0
    streams = {stream.name: stream for stream in catalog.streams}
    assert len(streams) == len(catalog.streams) == 4, "no name twice"
    for stream in catalog.streams:
        jsonschema.Draft7Validator.check_schema(stream.json_schema)
        assert stream.json_schema.get("properties"), stream.name
        assert stream.supported_sync_modes
    assert streams["orders"].source_defined_cursor and streams["orders"].default_cursor_field == ["at"]
    assert streams["by_shop"].source_defined_primary_key == [["id"], ["shop"]]
    assert [mode.value for mode in streams["plain"].supported_sync_modes] == ["full_refresh"]


@pytest.mark.parametrize("mode", ["full_refresh", "incremental"])
def test_a_read_tells_records_states_counts_and_statuses(connector, mode):
    chosen = ["orders", "by_shop", "plain"]
    code, messages = connector.read(chosen, mode)
    assert code == 0
    _, discovered = connector.run("discover", "--config", "config.json")
    schemas = {stream.name: stream.json_schema for stream in of(discovered, "CATALOG")[0].streams}
    records = of(messages, "RECORD")
    for record in records:
        jsonschema.validate(record.data, schemas[record.stream])
        assert record.emitted_at > 0
    for name, count in (("orders", 3), ("by_shop", 6), ("plain", 3)):
        assert sum(record.stream == name for record in records) == count
        counted = [line for line in of(messages, "STATE") if line.stream.stream_descriptor.name == name]
        assert counted, "every stream tells a state, also in a full refresh"
        assert sum(line.sourceStats.recordCount for line in counted) == count
        assert statuses(messages, name) == ["STARTED", "RUNNING", "COMPLETE"]
    keys = [record.data["id"] for record in records if record.stream == "orders"]
    assert len(keys) == len(set(keys)), "a primary key is there, and once"


def test_a_read_goes_on_from_the_state_of_the_one_before(connector):
    _, first = connector.read(["orders", "by_shop"])
    kept = states(first)
    code, again = connector.read(["orders", "by_shop"], state=list(kept.values()))
    assert code == 0
    for record in of(again, "RECORD"):
        assert record.data["at"] >= DATES[-1], "only the edge comes again"
    for name, state in states(again).items():
        assert state["stream"] == kept[name]["stream"]
    # From a state in the future nothing comes, and the state stays.
    future = {**kept["orders"], "stream": {"stream_descriptor": {"name": "orders"}, "stream_state": {"at": "2030-01-01"}}}
    code, none = connector.read(["orders"], state=[future])
    assert (code, of(none, "RECORD")) == (0, [])
    assert states(none)["orders"]["stream"]["stream_state"] == {"at": "2030-01-01"}


def test_a_failing_stream_is_incomplete_and_the_others_are_read(connector):
    code, messages = connector.read(["orders", "broken", "plain"])
    assert code != 0
    assert statuses(messages, "broken") in (["STARTED", "INCOMPLETE"], ["STARTED", "RUNNING", "INCOMPLETE"])
    assert statuses(messages, "orders")[-1] == statuses(messages, "plain")[-1] == "COMPLETE"
    errors = [trace.error for trace in of(messages, "TRACE") if trace.error]
    assert errors and all(error.message and error.failure_type for error in errors)
    assert any(error.stream_descriptor and error.stream_descriptor.name == "broken" for error in errors)


def test_a_stream_that_does_not_exist_is_told(connector):
    code, messages = connector.read(["ordres"])
    errors = [trace.error for trace in of(messages, "TRACE") if trace.error]
    assert code != 0 and any("ordres" in error.message for error in errors)
