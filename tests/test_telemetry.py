"""Traces to a collector of our own that reads OTLP by the official protobuf definitions, and logs that say of which
run they are."""

import json
import time
import urllib.request

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from receivers import Receiver, wait_until
from source import connection, record
from test_serve import serving


@pytest.fixture
def synced(project, source):
    source.records = [record(number, number) for number in range(250)]
    project.connection("shop", connection(source.url))
    return project


def spans(receiver):
    found = []
    for path, headers, body, _ in receiver.posts:
        assert path == "/v1/traces" and headers["content-type"] == "application/x-protobuf"
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            names = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                found.extend((names["service.name"], span) for span in scope.spans)
    return found


def attributes(span):
    return {item.key: item.value.string_value for item in span.attributes}


def test_a_sync_is_one_trace_from_the_run_to_each_page(synced):
    with Receiver() as collector:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_SERVICE_NAME": "shop-weir",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=t1",
        }
        synced.run("sync", "shop", env=env)
        found = spans(collector)
        assert {name for name, _ in found} == {"shop-weir"}
        assert collector.posts[0][1]["x-tenant"] == "t1"
        by_name = {}
        for _, span in found:
            by_name.setdefault(span.name, []).append(span)
        assert set(by_name) >= {"sync", "run", "stream", "page_request", "checkpoint", "commit"}, set(by_name)
        [run], [stream] = by_name["run"], by_name["stream"]
        assert attributes(run)["connection"] == "shop" and attributes(run)["tenant"] == "default"
        assert stream.parent_span_id == run.span_id
        pages = [span for span in by_name["page_request"] if span.trace_id == run.trace_id]
        assert len(pages) >= 3 and all(span.parent_span_id == stream.span_id for span in pages)
        assert all(commit.trace_id == run.trace_id for commit in by_name["commit"])


def test_a_vendor_is_told_of_the_trace_where_its_connector_says_so(project, source):
    source.records = [record(number, number) for number in range(250)]
    shown = []
    source.faults.append(lambda handler, path, _: shown.append((path, handler.headers.get("traceparent"))))
    recipe = f"""spec: 1
connector: told
version: 1.0.0
name: {{ en: Told }}
hosts: ["127.0.0.1"]
http: {{ base_url: "{source.url}", traceparent: TOLD }}
streams:
  - {{ name: records, path: /records, primary_key: [id] }}
"""
    project.connection("told", "connector: told\nallow_private_hosts: true\n")
    with Receiver() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        for told in ("true", "false"):
            project.write("connectors/told/connector.yaml", recipe.replace("TOLD", told))
            project.run("sync", "told", env=env)
        pages = {span.span_id.hex(): span.trace_id.hex() for _, span in spans(collector) if span.name == "page_request"}
        asked = [trace for path, trace in shown if path == "/records"]
        assert len(asked) == 2 and asked[1] is None, shown
        version, trace, span, _ = asked[0].split("-")
        assert (version, pages[span]) == ("00", trace)
    # Where nothing is traced, nobody is told of anything.
    project.write("connectors/told/connector.yaml", recipe.replace("TOLD", "true"))
    project.run("sync", "told")
    assert shown[-1] == ("/records", None)


def test_a_sampler_that_is_off_sends_nothing(synced):
    with Receiver() as collector:
        synced.run(
            "sync", "shop",
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "always_off"},
        )
        assert spans(collector) == []


def test_a_collector_that_is_away_does_no_harm(synced):
    began = time.monotonic()
    synced.run("sync", "shop", env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert time.monotonic() - began < 30
    assert synced.query("SELECT count(*) AS n FROM demo_records") == [{"n": 250}]


def test_a_request_joins_the_trace_of_its_caller(synced):
    with Receiver() as collector:
        with serving(synced, "--runs-at-once", "0", env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) as server:
            trace = "0af7651916cd43dd8448eb211c80319c"
            request = urllib.request.Request(
                f"{server.url}/healthz", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
            )
            urllib.request.urlopen(request).read()
            joined = wait_until(
                lambda: [span for _, span in spans(collector) if span.trace_id.hex() == trace], "the request's span"
            )
        assert joined[0].name == "request" and joined[0].parent_span_id.hex() == "b7ad6b7169203331"


def test_every_line_of_a_run_says_of_which_run_it_is(synced):
    done = synced.run("sync", "shop", "-v", "--log-format", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    of_run = [line for line in lines if "run" in line.get("spans", [])]
    assert of_run
    [run] = {line["run"] for line in of_run}
    assert run == synced.json("run", "list")[0]["id"]
    for line in of_run:
        assert (line["tenant"], line["connection"], line["principal"]) == ("default", "shop", "cli")
