"""Answers made to break their reader: a clear error or quarantine, within named limits, in bounded memory.

The peak of each process' memory is measured by the kernel. The limits are set small where the default would only make
the test slow; one test takes the default.
"""

import gzip
import io
import ipaddress
import json
import socket
import subprocess
import sys
import threading

import pyarrow
import pytest

from source import connection, record

MIB = 1 << 20
# A debug build that syncs nothing holds some 50 MiB; a sync with --memory 64MiB may come to this.
PEAK_BYTES_MAX = 400 * MIB


# A process counts the memory of the one that it was forked from as its own peak, and a test that has made
# a bomb is large: a small process stands between them.
BETWEEN = """
import os, sys
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss, file=open(sys.argv[1], "w"))
"""


def measured(project, *args):
    """Runs weir; answers with exit code, errors and the peak of its resident memory."""
    out, err, told = (project.folder / name for name in ("out.txt", "err.txt", "usage.txt"))
    command = [sys.executable, "-I", "-S", "-c", BETWEEN, told, project.binary, *args]
    with out.open("wb") as said, err.open("wb") as complained:
        subprocess.run(
            list(map(str, command)), cwd=project.folder, env=project.env, stdout=said, stderr=complained, check=True
        )
    code, kib = map(int, told.read_text().split())
    return code, err.read_text(errors="replace"), kib * 1024


def answer(source, body, headers=None, length=None):
    """Gives this body to every request for records: bytes, or an iterator of bytes that is sent as it comes."""

    def fault(handler, path, query):
        if path != "/records":
            return False
        handler.send_response(200)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            handler.send_header(key, value)
        if isinstance(body, bytes):
            handler.send_header("Content-Length", str(len(body) if length is None else length))
            handler.end_headers()
            handler.wfile.write(body)
        else:
            handler.send_header("Connection", "close")
            handler.end_headers()
            for part in body():
                handler.wfile.write(part)
        handler.close_connection = True
        return True

    source.faults.append(fault)


def connect(project, source, limit=None, **options):
    text = connection(source.url, **options)
    if limit:
        text = text.replace("reliability: {", f"reliability: {{ {limit},")
    project.connection("demo", text)


def refused(project, code, *words):
    got, err, peak = measured(project, "sync", "demo", "--memory", "64MiB", "--no-progress")
    assert got == code, (got, err[-1500:])
    assert "next:" in err and "panicked" not in err, err[-1500:]
    for word in words:
        assert word in err, (word, err[-1500:])
    assert peak <= PEAK_BYTES_MAX, f"{peak / MIB:.0f} MiB"
    return err


def long_text(total):
    def parts():
        yield b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", "name": "'
        for _ in range(total // MIB):
            yield b"x" * MIB
        yield b'"}]'

    return parts


def test_a_string_of_a_gigabyte(project, source):
    """By the default limit of an answer's size, and with nothing said of its length."""
    answer(source, long_text(1024 * MIB))
    connect(project, source)
    got, err, peak = measured(project, "sync", "demo", "--memory", "64MiB", "--no-progress")
    assert got == 4 and "response_max" in err and "next:" in err, (got, err)
    assert peak <= PEAK_BYTES_MAX, f"{peak / MIB:.0f} MiB"


def test_a_length_of_a_terabyte(project, source):
    answer(source, b"[]", length=1 << 40)
    connect(project, source)
    refused(project, 4, "response_max")


def compressed(form, size):
    if form == "zstd":
        return pyarrow.compress(b" " * size, codec="zstd", asbytes=True), {"Content-Encoding": "zstd"}
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", compresslevel=9) as out:
        for _ in range(size // MIB):
            out.write(b" " * MIB)
    return made.getvalue(), {"Content-Encoding": "gzip"}


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_compression_bomb(project, source, form):
    """Some 300 KB that become 300 MB, of a source whose answers may be 32 MiB."""
    body, headers = compressed(form, 300 * MIB)
    assert len(body) < MIB
    answer(source, body, headers)
    connect(project, source, limit="response_max: 32MiB")
    refused(project, 4)


def test_a_body_of_several_gzip_members_is_read_whole(project, source, duck):
    """As a server sends that appends to compressed files: an array whose end stands in another member than its beginning."""
    records = [json.dumps(record(number, number)).encode() for number in range(1, 301)]
    parts = [b"[" + b",".join(records[:100]), b",", b",".join(records[100:]) + b"]"]
    answer(source, b"".join(gzip.compress(part) for part in parts), {"Content-Encoding": "gzip"})
    connect(project, source)
    project.run("sync", "demo")
    assert duck.execute(f"SELECT count(*) FROM delta_scan('{project.silver('demo_records')}')").fetchone() == (300,)
    source.faults.clear()
    cut = b"".join(gzip.compress(part) for part in parts)[:-20]
    answer(source, cut, {"Content-Encoding": "gzip"})
    refused(project, 4, "compressed body is damaged")


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_compressed_file_that_is_a_bomb(project, tmp_path, form):
    """One line of 300 MB of blanks in a file of 300 KB."""
    data = tmp_path / "data"
    data.mkdir()
    body, _ = compressed(form, 300 * MIB)
    name = "a.jsonl." + {"gzip": "gz", "zstd": "zst"}[form]
    (data / name).write_bytes(body)
    project.connection("demo", f"connector: files\nsource: demo\nconfig: {{ path: {data}/{name} }}\n")
    got, err, peak = measured(project, "sync", "demo", "--memory", "64MiB", "--no-progress")
    assert got != 101 and "panicked" not in err and (got == 0 or "next:" in err), (got, err[-1500:])
    assert peak <= PEAK_BYTES_MAX, f"{peak / MIB:.0f} MiB"


@pytest.mark.parametrize("opened", ["[", '{"a":', '[{"id":1,"a":'])
def test_json_that_is_too_deep(project, source, opened):
    answer(source, opened.encode() * 2_000_000)
    connect(project, source)
    refused(project, 4)


def test_a_deep_record_among_good_ones(project, source):
    """A nesting of 2,000 in one record: that record is told of; no crash, and the rest is not lost for good."""
    deep = b'{"id": 2, "updated_at": "2026-01-01T00:00:01Z", "deep": ' + b"[" * 2000 + b"]" * 2000 + b"}"
    good = json.dumps(record(1, 0)).encode()
    answer(source, b"[" + good + b"," + deep + b"]")
    connect(project, source)
    got, err, peak = measured(project, "sync", "demo", "--memory", "64MiB", "--no-progress")
    assert got in (0, 4, 7) and "panicked" not in err and peak <= PEAK_BYTES_MAX, (got, err[-1500:])
    assert got == 0 or "next:" in err


def test_a_million_columns(project, source):
    fields = b",".join(b'"c%d": %d' % (i, i) for i in range(1_000_000))
    answer(source, b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", ' + fields + b"}]")
    connect(project, source)
    got, err, peak = measured(project, "sync", "demo", "--memory", "64MiB", "--no-progress")
    assert "panicked" not in err and peak <= 700 * MIB, (got, f"{peak / MIB:.0f} MiB", err[-1500:])
    if got == 0:
        [run] = project.json("run", "list")
        assert run["quarantined"] == 1, run
    else:
        assert "next:" in err, err[-1500:]


def test_endless_pages(project, source):
    """A source that always names a next page, each a new one."""

    def fault(handler, path, query):
        if path != "/records":
            return False
        page = int(query.get("page", 1))
        link = f'<{source.url}/records?page={page + 1}&per_page=100>; rel="next"'
        handler.send(200, [record(page, page)], {"Link": link})
        return True

    source.faults.append(fault)
    connect(project, source, limit="pages_max: 200")
    refused(project, 4, "pages_max")
    assert len(source.requests) <= 201


def test_parents_in_a_circle(project, source):
    project.connection(
        "demo",
        f"connector: http_json\nsource: demo\nallow_private_hosts: true\nconfig:\n  base_url: {source.url}\n  streams:\n"
        "    - { name: a, path: '/a/{{ slice.b }}', slices: [{ by: parent, stream: b, key: id, as: b }] }\n"
        "    - { name: b, path: '/b/{{ slice.a }}', slices: [{ by: parent, stream: a, key: id, as: a }] }\n",
    )
    for command in (("validate",), ("sync", "demo")):
        done = project.run(*command, ok=False)
        assert done.returncode == 3, (done.returncode, done.stdout, done.stderr)


# Lies


@pytest.mark.parametrize(
    "body, headers",
    [
        (b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", "name": "caf\xe9"}]', {}),
        (b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", "name": "caf\xc3\xa9"}]',
         {"Content-Type": "application/json; charset=utf-16"}),
        (b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", "name": "\xff\xfe\x00"}]', {}),
        (b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", "n": NaN}]', {}),
        (b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", "n": Infinity}]', {}),
        (b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", "n": 1e999999}]', {}),
        (b'[{"id": 1, "id": 2, "updated_at": "2026-01-01T00:00:00Z"}]', {}),
        (b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", "name": "\\ud800"}]', {}),
        (b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z", "name": "a\\u0000b"}]', {}),
        (b'\xef\xbb\xbf[{"id": 1, "updated_at": "2026-01-01T00:00:00Z"}]', {}),
        (b'[{"id": 1, "updated_at": "2026-01-01T00:00:00Z"}]trailing', {}),
        (b"", {}),
        (b"\x1f\x8b\x08\x00", {}),
    ],
)
def test_what_is_not_json_is_an_error_or_held_and_never_altered_silently(project, source, body, headers):
    answer(source, body, headers)
    connect(project, source)
    got, err, peak = measured(project, "sync", "demo", "--no-progress")
    assert "panicked" not in err and peak <= PEAK_BYTES_MAX, err
    if got != 0:
        assert got in (4, 7) and "next:" in err, (got, err)
        return
    [run] = project.json("run", "list")
    assert run["read"] == run["landed"] + run["quarantined"] <= 1, run
    if run["landed"]:
        # What landed says nothing that the source did not say: the record in Bronze is byte for byte the answer's.
        [row] = project.query("SELECT record FROM bronze.raw_demo_records")
        assert row["record"].encode() in body, (row, body)


def test_mixed_line_ends_and_half_lines_of_a_file(project, tmp_path, duck):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.jsonl").write_bytes(b'{"id":1}\r\n{"id":2}\n\n\r\n  \n{"id":3}\r{"id":4}\n{"id":5}')
    project.connection("demo", f"connector: files\nsource: demo\nconfig: {{ path: {data}/a.jsonl }}\n")
    done = project.run("sync", "demo", ok=False)
    assert "panicked" not in done.stderr
    if done.returncode == 0:
        ids = [row["id"] for row in project.query("SELECT id FROM demo_a ORDER BY id")]
        [run] = project.json("run", "list")
        assert ids == [1, 2, 3, 4, 5] or run["quarantined"] >= 1, (ids, run)
    else:
        assert "a.jsonl" in done.stderr and "next:" in done.stderr, done.stderr


def test_a_line_of_a_gigabyte_in_a_file(project, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    with (data / "a.jsonl").open("wb") as out:
        out.write(b'{"id": 1, "text": "')
        out.seek(1 << 30)
        out.write(b'"}\n')
    project.connection("demo", f"connector: files\nsource: demo\nconfig: {{ path: {data}/a.jsonl }}\n")
    got, err, peak = measured(project, "sync", "demo", "--memory", "64MiB", "--no-progress")
    assert got not in (0, 101) and "next:" in err and "panicked" not in err, (got, err[-1500:])
    assert peak <= PEAK_BYTES_MAX, f"{peak / MIB:.0f} MiB"


# Hostile hosts


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/", "http://0.0.0.0:1/"])
@pytest.mark.parametrize("how", ["redirect", "next page"])
def test_no_answer_leads_to_a_metadata_address(project, source, target, how):
    def fault(handler, path, query):
        if path != "/records":
            return False
        if how == "redirect":
            handler.send(302, {}, {"Location": target})
        else:
            handler.send(200, [record(1, 1)], {"Link": f'<{target}>; rel="next"'})
        return True

    source.faults.append(fault)
    connect(project, source)
    before = threading.active_count()
    refused(project, 7)
    assert threading.active_count() <= before + 1


def test_a_name_of_a_private_address_is_refused(project, source):
    """A name that tells nothing and resolves to a private address: looked at after resolution, where the connection is made."""
    name = next(filter(is_private, ["localhost.localdomain", socket.gethostname(), "ip6-loopback"]), None)
    if not name:
        pytest.skip("no name of this machine but localhost resolves to a private address")
    port = source.url.rsplit(":", 1)[1]
    text = connection(f"https://{name}:{port}").replace("allow_private_hosts: true", "allow_private_hosts: false")
    project.connection("demo", text)
    done = project.run("sync", "demo", ok=False)
    assert done.returncode == 7 and "next:" in done.stderr, done.stderr
    assert not source.requests


def is_private(name):
    try:
        addresses = {found[4][0] for found in socket.getaddrinfo(name, 443)}
    except OSError:
        return False
    return all(ipaddress.ip_address(address.split("%")[0]).is_private for address in addresses)
