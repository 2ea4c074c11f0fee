"""The kinds of sources that weir reads, each over the same small API, and what a cursor may do there.

A kind makes a connection of a Source's records. Programs hold their cursor themselves; files have none beside the version
of each file, so they are written anew from the records before each sync.
"""

import json
import sys

from source import connection

PAGE = 20

PROGRAM = """
import json, sys, urllib.parse, urllib.request

URL, PAGE, KIND = {url!r}, {page}, {kind!r}
SCHEMA = {{"type": "object", "properties": {{"id": {{"type": "integer"}}, "name": {{"type": "string"}},
          "updated_at": {{"type": ["null", "string"]}}}}}}


def say(message):
    print(json.dumps(message), flush=True)


def pages(since):
    number = 1
    while True:
        query = {{"page": number, "per_page": PAGE}}
        if since:
            query["since"] = since
        with urllib.request.urlopen(URL + "/records?" + urllib.parse.urlencode(query)) as answer:
            rows, more = json.load(answer), answer.headers.get("X-Next")
        yield rows
        if not more:
            return
        number += 1


def read(since):
    newest = since
    for rows in pages(since):
        for row in rows:
            newest = max(newest or "", row.get("updated_at") or "") or None
            yield row
    yield newest


def airbyte():
    stream = {{"name": "records", "json_schema": SCHEMA, "supported_sync_modes": ["full_refresh", "incremental"],
              "source_defined_cursor": True, "default_cursor_field": ["updated_at"],
              "source_defined_primary_key": [["id"]]}}
    what = sys.argv[1]
    if what == "spec":
        say({{"type": "SPEC", "spec": {{"connectionSpecification": {{"type": "object", "properties": {{}}}}}}}})
    elif what == "check":
        say({{"type": "CONNECTION_STATUS", "connectionStatus": {{"status": "SUCCEEDED"}}}})
    elif what == "discover":
        say({{"type": "CATALOG", "catalog": {{"streams": [stream]}}}})
    else:
        given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
        mode = json.load(open(given["--catalog"]))["streams"][0]["sync_mode"]
        since = None
        if mode == "incremental" and "--state" in given:
            for one in json.load(open(given["--state"])):
                since = one["stream"]["stream_state"].get("updated_at")
        *rows, newest = read(since)
        for row in rows:
            say({{"type": "RECORD", "record": {{"stream": "records", "data": row, "emitted_at": 1700000000000}}}})
        state = {{"stream_descriptor": {{"name": "records"}}, "stream_state": {{"updated_at": newest}}}}
        say({{"type": "STATE", "state": {{"type": "STREAM", "stream": state}}}})


def singer():
    metadata = [{{"breadcrumb": [], "metadata": {{"inclusion": "available", "table-key-properties": ["id"],
                 "valid-replication-keys": ["updated_at"], "replication-key": "updated_at",
                 "replication-method": "INCREMENTAL", "selected": True}}}}]
    entry = {{"tap_stream_id": "records", "stream": "records", "schema": SCHEMA, "metadata": metadata,
             "key_properties": ["id"], "replication_key": "updated_at", "replication_method": "INCREMENTAL"}}
    if "--discover" in sys.argv:
        return say({{"streams": [entry]}})
    given = dict(zip(sys.argv[1:], sys.argv[2:]))
    since = None
    if "--state" in given:
        since = json.load(open(given["--state"])).get("bookmarks", {{}}).get("records", {{}}).get("replication_key_value")
    say({{"type": "SCHEMA", "stream": "records", "schema": SCHEMA, "key_properties": ["id"],
         "bookmark_properties": ["updated_at"]}})
    *rows, newest = read(since)
    for row in rows:
        say({{"type": "RECORD", "stream": "records", "record": row}})
    bookmark = {{"replication_key": "updated_at", "replication_key_value": newest}}
    say({{"type": "STATE", "value": {{"bookmarks": {{"records": bookmark}}}}}})


{{"airbyte": airbyte, "singer": singer}}[KIND]()
"""

MANIFEST = """
version: 6.0.0
type: DeclarativeSource
check: {{ type: CheckStream, stream_names: [records] }}
streams:
  - type: DeclarativeStream
    name: records
    primary_key: id
    incremental_sync:
      type: DatetimeBasedCursor
      cursor_field: updated_at
      datetime_format: "%Y-%m-%dT%H:%M:%SZ"
      start_datetime: {{ type: MinMaxDatetime, datetime: "2020-01-01T00:00:00Z", datetime_format: "%Y-%m-%dT%H:%M:%SZ" }}
      start_time_option: {{ type: RequestOption, inject_into: request_parameter, field_name: since }}
{lookback}    retriever:
      type: SimpleRetriever
      requester: {{ type: HttpRequester, url_base: "{url}", path: records }}
      record_selector: {{ extractor: {{ field_path: [] }} }}
      paginator:
        type: DefaultPaginator
        page_token_option: {{ type: RequestOption, inject_into: request_parameter, field_name: page }}
        page_size_option: {{ type: RequestOption, inject_into: request_parameter, field_name: per_page }}
        pagination_strategy: {{ type: PageIncrement, page_size: {page}, start_from_page: 1 }}
    schema_loader:
      type: InlineSchemaLoader
      schema:
        type: object
        properties:
          id: {{ type: integer }}
          name: {{ type: string }}
          updated_at: {{ type: ["null", string] }}
spec:
  type: Spec
  connection_specification: {{ type: object, properties: {{}} }}
"""


class Kind:
    """How records reach weir. `connect` writes the connection; `before_sync` is called before each sync."""

    def __init__(self, project, source, folder):
        self.project, self.source, self.folder = project, source, folder

    def before_sync(self):
        pass


class HttpJson(Kind):
    # The order is what a writer of a connection would say of a source whose order can be broken.
    extra = ""

    def connect(self, page=PAGE, order="ascending"):
        text = connection(self.source.url, order=order).replace("value: 100", f"value: {page}")
        assert f"order: {order}" in text
        self.project.connection("demo", text.replace(f"order: {order}", f"order: {order}{self.extra}"))


class HttpJsonLookback(HttpJson):
    extra = ", lookback: 2h"


class Manifest(Kind):
    lookback = ""

    def connect(self, page=PAGE, order="ascending"):
        made = self.folder / "source-api"
        made.mkdir(exist_ok=True)
        text = MANIFEST.format(url=self.source.url + "/", page=page, lookback=self.lookback)
        (made / "manifest.yaml").write_text(text)
        if not (self.project.folder / "connectors/api").exists():
            self.project.run("connector", "add", "airbyte", made)
        else:
            for path in (self.project.folder / "connectors/api").rglob("manifest.yaml"):
                path.write_text(text)
        self.project.connection("demo", "connector: api\nsource: demo\nallow_private_hosts: true\n")


class ManifestLookback(Manifest):
    lookback = "      lookback_window: PT2H\n"


class Files(Kind):
    def connect(self, page=PAGE, order="ascending"):
        self.page = page
        self.data = self.folder / "data"
        self.data.mkdir(exist_ok=True)
        self.project.connection(
            "demo",
            f"connector: files\nsource: demo\nconfig:\n  path: {self.data}\n  streams:\n"
            "    - { name: records, pattern: '*.jsonl', primary_key: [id], cursor: updated_at }\n",
        )

    def before_sync(self):
        """A file for each page. Those that are as they were are left as they are."""
        rows = self.source.records
        wanted = {}
        for at in range(0, max(len(rows), 1), self.page):
            lines = [json.dumps(r) for r in rows[at : at + self.page]]
            wanted[f"{at // self.page:04}.jsonl"] = "".join(line + "\n" for line in lines)
        for path in self.data.iterdir():
            if path.name not in wanted:
                path.unlink()
        for name, text in wanted.items():
            path = self.data / name
            if not path.exists() or path.read_text() != text:
                path.write_text(text)


class Program(Kind):
    kind = None

    def connect(self, page=PAGE, order="ascending"):
        path = self.folder / "program.py"
        path.write_text(PROGRAM.format(url=self.source.url, page=page, kind=self.kind))
        self.project.connection(
            "demo",
            f"connector: {self.kind}\nsource: demo\nconfig:\n  command: ['{sys.executable}', '{path}']\n  settings: {{}}\n"
            "streams: { records: {} }\n",
        )


class AirbyteProcess(Program):
    kind = "airbyte"


class SingerProcess(Program):
    kind = "singer"


KINDS = {
    "http_json": HttpJson,
    "http_json, lookback": HttpJsonLookback,
    "manifest": Manifest,
    "manifest, lookback": ManifestLookback,
    "files": Files,
    "airbyte program": AirbyteProcess,
    "singer program": SingerProcess,
}
