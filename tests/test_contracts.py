"""The contract reader: a governed call over documents, a folder of them as a stream, and files that want to do harm."""

import base64
import io
import json
import pathlib
import shutil
import subprocess
import time
import zipfile

import pytest
from project import ROOT
from test_api import call, first_token
from test_serve import serving

CONTRACTS = ROOT / "crates/weir-documents/tests/it/contracts"


@pytest.fixture
def contracts(project):
    """A connection whose folder has a contract in each form."""
    folder = project.folder / "contracts"
    (folder / "2024").mkdir(parents=True)
    for name in ["services-en.docx", "supply-ar.pdf", "lease-en.md"]:
        shutil.copy(CONTRACTS / name, folder / "2024" / name)
    project.connection("contracts", "connector: contract_intel\nconfig: { path: ./contracts }\n")
    return project


def extract(project, ok=True, **given):
    input = project.folder / "input.json"
    input.write_text(json.dumps(given))
    done = project.run("call", "contracts", "extract", "--input", input, "--format", "json", ok=ok)
    return json.loads(done.stdout)["output"] if ok else done.stderr


def encoded(content):
    return {"base64": base64.b64encode(content).decode()}


def names(found):
    return [(party["role"], party["name"]) for party in found["findings"]["parties"]]


def money(found):
    return [(amount["value"], amount["currency"]) for amount in found["findings"]["amounts"]]


def test_a_word_file_by_its_path(contracts):
    found = extract(contracts, path="2024/services-en.docx")
    assert (found["format"], found["language"], found["pages"]) == ("docx", "en", None)
    assert names(found) == [("Supplier", "Northwind Analytics Limited"), ("Customer", "Harbour Foods PLC")]
    assert money(found) == [("120000", "GBP"), ("30000", "GBP"), ("2500", "GBP"), ("1500000", "GBP")]
    assert found["findings"]["governing_law"][0]["law"] == "England and Wales"
    for kind in ["parties", "dates", "amounts"]:
        for one in found["findings"][kind]:
            place = one["place"]
            text = found["elements"][place["element"]]["text"][place["start"] : place["end"]]
            assert text == one.get("name", one.get("text"))


def test_an_arabic_pdf_that_is_sent_over_the_api(contracts):
    with serving(contracts) as process:
        token = first_token(process)
        content = (CONTRACTS / "supply-ar.pdf").read_bytes()
        body = {"connection": "contracts", "action": "extract", "input": {"file": encoded(content), "elements": False}}
        status, answer = call(process.url, token, "/calls", "POST", body)
        assert status == 200, answer
        found = answer["output"]
        assert (found["format"], found["language"], found["pages"]) == ("pdf", "ar", 1)
        assert "elements" not in found
        assert [name for _, name in names(found)] == ["شركة النخيل للتجارة المحدودة", "مؤسسة الأفق الحديثة للمقاولات"]
        hijri = next(date for date in found["findings"]["dates"] if date["calendar"] == "hijri")
        assert (hijri["hijri"], hijri["value"]) == ("1445-09-15", "2024-03-24")


def test_the_call_is_in_the_audit_trail_and_may_be_shown_before(contracts):
    shown = contracts.run("call", "contracts", "extract", "--input", '{"path": "2024/supply-ar.pdf"}', "--dry-run").stdout
    assert "2024/supply-ar.pdf" in shown
    extract(contracts, path="2024/lease-en.md", elements=False)
    noted = contracts.json("audit", "list")
    assert [record for record in noted if record["action"].startswith("call.")], noted


def test_what_cannot_be_read_names_the_next_step(contracts):
    for given, told in [
        ({"path": "2024/none.pdf"}, "there is no file"),
        ({"path": "../weir.yaml"}, "leads out of the connection's folder"),
        ({}, "exactly one of file and path"),
        ({"file": encoded(b"%PDF-1.7 nothing")}, "the PDF is damaged"),
        ({"file": encoded(b"\xd0\xcf\x11\xe0 old")}, "save it as .docx"),
    ]:
        assert told in extract(contracts, ok=False, **given), given


def bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * (200 << 20))
    return out.getvalue()


def nested(depth):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "<w:p>" * depth)
    return out.getvalue()


def nested_pdf(depth):
    """Arrays inside each other, on which a parser that calls itself runs out of stack."""
    return b"%PDF-1.4\n1 0 obj\n" + b"[" * depth + b"]" * depth + b"\nendobj\ntrailer<</Root 1 0 R>>\n%%EOF"


def test_files_that_want_to_do_harm_end_in_time_and_alone(contracts):
    for content in [bomb(), nested(100_000), nested_pdf(1_000_000)]:
        began = time.monotonic()
        told = extract(contracts, ok=False, file=encoded(content))
        assert time.monotonic() - began < 60
        assert "limit" in told or "damaged" in told or "may" in told, told
    # And the next one is read as if nothing had been.
    assert names(extract(contracts, path="2024/lease-en.md"))


def test_a_folder_is_a_stream_that_reads_what_is_new(contracts):
    (contracts.folder / "contracts/broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    contracts.run("sync", "contracts")
    table = contracts.query(
        "SELECT path, sha256, document.language AS language, error.kind AS kind FROM contract_intel_documents ORDER BY path"
    )
    assert [(row["path"], row["language"], row["kind"]) for row in table] == [
        ("2024/lease-en.md", "en", None),
        ("2024/services-en.docx", "en", None),
        ("2024/supply-ar.pdf", "ar", None),
        ("broken.pdf", None, "usage"),
    ]
    shutil.copy(CONTRACTS / "loan-en.md", contracts.folder / "contracts/broken.pdf")
    books = contracts.json("sync", "contracts")
    assert '"read": 1' in json.dumps(books), books
    row = contracts.query("SELECT document.language AS language FROM contract_intel_documents WHERE path = 'broken.pdf'")
    assert row == [{"language": "en"}]


def test_scans_are_recognised_where_tesseract_is(contracts, tmp_path):
    if not (shutil.which("tesseract") and shutil.which("pdftoppm")):
        pytest.skip("tesseract and pdftoppm are not installed (apt-get install tesseract-ocr tesseract-ocr-ara poppler-utils)")
    page = tmp_path / "page"
    subprocess.run(["pdftoppm", "-r", "200", "-png", "-singlefile", CONTRACTS / "loan-en.pdf", page], check=True)
    found = extract(contracts, file=encoded(pathlib.Path(f"{page}.png").read_bytes()))
    assert (found["format"], found["recognised_pages"]) == ("image", [1])
    assert [name for _, name in names(found)] == ["EASTERN TRADE BANK S.A.L.", "Tamarind Exports Ltd"]
    assert all(0 < element["recognition"] <= 1 for element in found["elements"])


def test_a_picture_without_tesseract_says_what_to_install(contracts):
    picture = b"\x89PNG\r\n\x1a\n" + b"0" * 100
    done = contracts.run(
        "call", "contracts", "extract", "--input", json.dumps({"file": encoded(picture)}), ok=False, env={"PATH": "/nowhere"}
    )
    assert "install tesseract" in done.stderr
