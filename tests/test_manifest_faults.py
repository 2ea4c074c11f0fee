"""What a manifest, its answers or its state get wrong: each is told with file, line, component and value, and
nothing is written."""

import gzip
import http.server
import json
import os
import pathlib
import subprocess
import threading

import pytest

ROOT = pathlib.Path(__file__).parent.parent
WEIR = os.environ.get("WEIR_BIN", str(ROOT / "target/debug/weir"))

MANIFEST = """\
version: 1.0.0
type: DeclarativeSource
check: { type: CheckStream, stream_names: [things] }
streams:
  - type: DeclarativeStream
    name: things
    primary_key: id
    retriever:
      type: SimpleRetriever
      requester:
        type: HttpRequester
        url_base: "URL"
        path: things
        request_parameters: { mark: "{{ config['mark'] }}" }
      record_selector:
        type: RecordSelector
        extractor:
          type: DpathExtractor
          field_path: [data]
      paginator:
        type: DefaultPaginator
        page_token_option: { type: RequestOption, inject_into: request_parameter, field_name: page }
        pagination_strategy:
          type: CursorPagination
          cursor_value: "{{ response.next }}"
          stop_condition: "{{ not response.next }}"
    incremental_sync:
      type: DatetimeBasedCursor
      cursor_field: at
      datetime_format: "%Y-%m-%d"
      start_datetime: "2026-01-01"
      end_datetime: "2026-02-01"
    schema_loader:
      type: InlineSchemaLoader
      schema: { type: object, properties: { id: { type: integer } } }
spec:
  type: Spec
  connection_specification: { type: object, properties: { mark: { type: string } } }
"""

ROWS = {"data": [{"id": 1, "at": "2026-01-02"}]}


class Answers:
    """A server that answers everything alike."""

    def __init__(self, answer):
        self.requests = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.requests += 1
                headers, body = answer(self.path)
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def as_json(value):
    return lambda _: ({"Content-Type": "application/json"}, json.dumps(value).encode())


def as_bytes(body, kind):
    return lambda _: ({"Content-Type": kind}, body)


def line_of(text, needle):
    return next(number for number, line in enumerate(text.splitlines(), 1) if needle in line)


def project(tmp_path, manifest, server, config="mark: m"):
    """A project with the manifest as a connector, without `connector add`, which would refuse it."""
    folder = tmp_path / "project"
    run("init", folder, cwd=tmp_path)
    connector = folder / "connectors" / "faulty"
    connector.mkdir(parents=True)
    (connector / "manifest.yaml").write_text(manifest.replace("URL", server.url))
    (connector / "connector.yaml").write_text(
        "spec: 1\nconnector: faulty\nversion: 1.0.0\nname: { en: Faulty }\nnative: airbyte\n"
        "governance: { classification: internal, approval: required }\n"
    )
    connection = f"connector: faulty\nallow_private_hosts: true\nconfig: {{ {config} }}\n"
    (folder / "connections" / "faulty.yaml").write_text(connection)
    return folder


def run(*args, cwd):
    return subprocess.run([WEIR, *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=120)


def lake(folder):
    """Every file of records or tables."""
    return [path for path in folder.rglob("*") if path.suffix in (".parquet", ".zst", ".jsonl", ".gz")]


def refused(folder, told):
    """A sync fails with all of `told`, and a next step; neither Bronze nor Silver has a file."""
    done = run("sync", "faulty", cwd=folder)
    assert done.returncode != 0, done.stdout
    said = done.stdout + done.stderr
    for part in told:
        assert part in said, f"{part!r} is not in:\n{said}"
    assert "next:" in said.lower(), said
    assert lake(folder) == [], "nothing is written"
    return said


CHANGES = {
    "an unknown component": ("type: DpathExtractor", "type: DpathExtracter", ["'DpathExtracter'", "did you mean 'DpathExtractor'"]),
    "a component at the wrong place": ("type: CursorPagination", "type: NoAuth", ["'NoAuth' is not known as a pagination strategy"]),
    "a list where text belongs": ("path: things", "path: [things]", ["'path' of a HttpRequester is a list", "it must be text"]),
    "a word where a list belongs": ("field_path: [data]", "field_path: data", ["'field_path' of a DpathExtractor is 'data'", "it must be a list"]),
    "a text where a number belongs": (
        "type: CursorPagination",
        "type: OffsetIncrement\n          page_size: many",
        ["the page size is 'many'"],
    ),
    "an unknown method": ("path: things", "path: things\n        http_method: FETCH", ["'FETCH' is no HTTP method"]),
    "a missing field": ("cursor_value: ", "cursor_valu: ", ["CursorPagination needs 'cursor_value'"]),
    "a circular reference": ("path: things", "path: { $ref: '#/streams/0/retriever/requester/path' }", ["circ"]),
    "a reference to nothing": ("path: things", "path: { $ref: '#/definitions/nope' }", ["#/definitions/nope"]),
    "a template that cannot be parsed": ("config['mark']", "config['mark'", ["config['mark'"]),
    "an unknown filter": ("config['mark']", "config['mark'] | upcase", ["upcase"]),
    "an unknown name": ("config['mark']", "confg['mark']", ["confg"]),
    "Python code": ("type: DpathExtractor", "type: CustomRecordExtractor\n          class_name: source_x.Odd", ["source_x.Odd", "Python"]),
    "files to upload": (
        "    primary_key: id",
        "    file_uploader: { type: FileUploader }\n    primary_key: id",
        ["file_uploader", "rows"],
    ),
    "a window that is no duration": ('start_datetime: "2026-01-01"', 'start_datetime: "2026-01-01"\n      step: soon', ["soon"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_faulty_manifest_is_told_with_its_place(what, tmp_path):
    old, new, told = CHANGES[what]
    assert MANIFEST.count(old) == 1, old
    text = MANIFEST.replace(old, new)
    with Answers(as_json(ROWS)) as server:
        folder = project(tmp_path, text, server)
        said = refused(folder, ["manifest.yaml:", *told])
        near = line_of(text, new.splitlines()[-1].strip())
        lines = [int(part.split(":")[0].split()[0].rstrip(",)")) for part in said.split("manifest.yaml:")[1:]]
        # The line of the value or of the component that holds it.
        assert any(near - 8 <= line <= near for line in lines), f"{lines} instead of about {near}:\n{said}"
        assert server.requests == 0


HTML = b"<!doctype html><title>Sign in</title>"
WHOLE = gzip.compress(json.dumps(ROWS).encode())
ANSWERS = {
    "HTML": (as_bytes(HTML, "text/html"), ["not JSON", "Sign in"]),
    "half of a document": (as_bytes(b'{"data": [{"id": 1', "application/json"), ["JSON"]),
    "a list instead of an object": (as_json([{"id": 1}]), ["list", "data"]),
    "a text instead of an object": (as_json("no"), ["text", "data"]),
    "a page that names itself as the next": (as_json({**ROWS, "next": "7"}), ["repeats page"]),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_of_another_kind_is_told(what, tmp_path):
    answer, told = ANSWERS[what]
    with Answers(answer) as server:
        folder = project(tmp_path, MANIFEST, server)
        # What came before the fault may be kept: only a repeated page has that.
        done = run("sync", "faulty", cwd=folder)
        said = done.stdout + done.stderr
        assert done.returncode != 0, said
        for part in ["things", *told]:
            assert part in said, f"{part!r} is not in:\n{said}"
        assert "next:" in said.lower(), said
        if "repeats page" not in told:
            assert lake(folder) == []
        assert server.requests < 10


def test_damaged_gzip_is_told(tmp_path):
    text = MANIFEST.replace("      record_selector:", "      decoder: { type: GzipDecoder, decoder: { type: JsonDecoder } }\n      record_selector:")
    with Answers(as_bytes(WHOLE[: len(WHOLE) // 2], "application/gzip")) as server:
        refused(project(tmp_path, text, server), ["things", "gzip"])


def test_an_empty_answer_is_an_empty_page(tmp_path):
    with Answers(as_bytes(b"", "application/json")) as server:
        folder = project(tmp_path, MANIFEST, server)
        assert run("sync", "faulty", cwd=folder).returncode == 0


STATES = {
    "not JSON": ("{", ["state.json", "JSON"]),
    "no list": ('{"things": 1}', ["state.json"]),
    "of another shape": (
        '[{"type": "STREAM", "stream": {"stream_descriptor": {"name": "things"}, "stream_state": [1]}}]',
        ["things"],
    ),
    "with a cursor that is no date": (
        '[{"type": "STREAM", "stream": {"stream_descriptor": {"name": "things"}, "stream_state": {"at": "yesterday"}}}]',
        ["things", "yesterday", "at"],
    ),
}


@pytest.mark.parametrize("what", STATES)
def test_a_broken_state_is_told(what, tmp_path):
    state, told = STATES[what]
    with Answers(as_json(ROWS)) as server:
        files = {
            "manifest.yaml": MANIFEST.replace("URL", server.url),
            "config.json": '{"mark": "m"}',
            "catalog.json": json.dumps({"streams": [{"stream": {"name": "things"}, "sync_mode": "incremental"}]}),
            "state.json": state,
        }
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        flags = ["--manifest", "manifest.yaml", "read", "--config", "config.json", "--catalog", "catalog.json", "--state", "state.json"]
        done = run("source", *flags, cwd=tmp_path)
        said = done.stdout + done.stderr
        assert done.returncode != 0, said
        assert '"RECORD"' not in done.stdout
        for part in told:
            assert part in said, f"{part!r} is not in:\n{said}"
        assert server.requests == 0


def test_what_no_state_knows_is_told_and_read_from_the_beginning(tmp_path):
    def state(name, blob):
        return {"type": "STREAM", "stream": {"stream_descriptor": {"name": name}, "stream_state": blob}}

    with Answers(as_json(ROWS)) as server:
        files = {
            "manifest.yaml": MANIFEST.replace("URL", server.url),
            "config.json": '{"mark": "m"}',
            "catalog.json": json.dumps({"streams": [{"stream": {"name": "things"}, "sync_mode": "incremental"}]}),
            "state.json": json.dumps([state("others", {"at": "2026-01-05"}), state("things", {"changed": "2026-01-05"})]),
        }
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        flags = ["--manifest", "manifest.yaml", "read", "--config", "config.json", "--catalog", "catalog.json", "--state", "state.json"]
        done = run("source", *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        logs = [message["log"]["message"] for message in map(json.loads, done.stdout.splitlines()) if message["type"] == "LOG"]
        # A platform keeps states of streams that it no longer reads, so that this is no error.
        assert any("state of others" in log for log in logs), logs
        assert any("the state has no 'at'" in log and "changed" in log for log in logs), logs
        assert '"RECORD"' in done.stdout
