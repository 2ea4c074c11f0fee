"""Makes DOCX, PDF and scans of contracts in Markdown, and what tesseract says of the scans.

    pip install fpdf2 uharfbuzz pypandoc_binary; apt-get install tesseract-ocr tesseract-ocr-ara poppler-utils fonts-dejavu
    python forms.py OUT FILE.md...

`WEIR_CONTRACT_FORMS` names the folder that has `own` and `recorded` (tests/it/forms.rs).
"""

import re
import subprocess
import sys
from pathlib import Path

import pypandoc
from fpdf import FPDF

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
SCAN_DPI = "200"
# As crates/weir/src/tesseract.rs asks for pages.
PIXELS = "2600"


def is_arabic(text):
    return len(re.findall(r"[\u0600-\u06ff]", text)) * 2 > len(re.findall(r"\w", text))


def pdf(text, path):
    page = FPDF()
    page.set_margins(22, 20, 22)
    page.set_auto_page_break(True, 20)
    page.add_page()
    page.add_font("D", "", FONT)
    page.set_text_shaping(True)
    for paragraph in re.split(r"\n\s*\n", text):
        if not paragraph.strip():
            continue
        page.set_font("D", size=14 if paragraph.startswith("#") else 11)
        lines = re.sub(r"^#+ ", "", paragraph.strip()).split("\n")
        is_short = all(len(line) < 70 for line in lines) or any(line.endswith("\\") or line.startswith("|") for line in lines)
        body = ("\n" if is_short else " ").join(line.rstrip("\\").strip() for line in lines)
        page.multi_cell(0, 6.2, body, align="R" if is_arabic(text) else "L")
        page.ln(3)
    page.output(str(path))


def scan(source, path):
    subprocess.run(["pdftoppm", "-r", SCAN_DPI, "-gray", "-jpeg", str(source), str(path)], check=True)
    pages = sorted(path.parent.glob(f"{path.name}-*.jpg"))
    scanned = FPDF(unit="pt")
    for page in pages:
        scanned.add_page(format=(595, 842))
        scanned.image(str(page), 0, 0, 595, 842)
        page.unlink()
    scanned.output(str(path))
    return len(pages)


def said(picture, languages):
    wanted = ["tesseract", str(picture), "stdout", "-l", languages, "tsv"]
    return subprocess.run(wanted, check=True, capture_output=True, text=True).stdout


def recognise(path, page):
    picture = path.parent / f"{path.name}.{page}"
    wanted = ["-f", str(page), "-l", str(page), "-scale-to", PIXELS, "-gray", "-png", "-singlefile"]
    subprocess.run(["pdftoppm", *wanted, str(path), str(picture)], check=True)
    picture = Path(f"{picture}.png")
    table = said(picture, "eng+ara")
    arabic, latin = (len(re.findall(letters, table)) for letters in ("[\u0620-\u064a]", "[A-Za-z]"))
    Path(f"{path}.{page}.tsv").write_text(said(picture, "ara") if arabic > latin else table)
    picture.unlink()


def main(out, files):
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        text = file.read_text()
        if not text.strip():
            continue
        pypandoc.convert_text(text, "docx", format="markdown-smart", outputfile=str(out / f"{file.stem}.docx"))
        pdf(text, out / f"{file.stem}.pdf")
        scanned = out / f"{file.stem}.scan.pdf"
        for page in range(scan(out / f"{file.stem}.pdf", scanned)):
            recognise(scanned, page + 1)


main(Path(sys.argv[1]), [Path(file) for file in sys.argv[2:]])
