//! Bytes to elements.

mod docx;
mod language;
mod layout;
pub(crate) mod ocr;
mod pdf;
mod text;

use weir_protocol::{Error, Result};

use crate::document::{Document, Element, ElementKind, Findings};
use crate::format::Format;
use crate::limits::{self, Limits};
use ocr::{Ocr, OcrPage};

/// What a format gives.
struct Parts {
    elements: Vec<Element>,
    pages: Option<u32>,
    /// Pages that are pictures.
    pictures: Vec<u32>,
}

/// Reads a document's elements in reading order; its findings are empty. Pages that are pictures are given to `ocr`;
/// a document of which nothing can be read is an error.
pub fn read(bytes: &[u8], ocr: &dyn Ocr, limits: &Limits) -> Result<Document> {
    if bytes.len() > limits.bytes_max {
        return Err(limits::beyond("bytes", limits.bytes_max).with("found", bytes.len()));
    }
    let format = Format::of(bytes)?;
    let mut parts = match format {
        Format::Pdf => pdf::read(bytes, limits)?,
        Format::Docx => paged(docx::read(bytes, limits)?),
        Format::Text => paged(text::read(bytes, limits)?),
        Format::Image => Parts {
            elements: Vec::new(),
            pages: Some(1),
            pictures: vec![1],
        },
    };
    let (recognised, unread) = recognise(bytes, format, &mut parts, ocr, limits)?;
    bound(&parts.elements, limits)?;
    if parts.elements.is_empty() {
        return Err(nothing_to_read(&unread));
    }
    Ok(Document {
        format,
        language: language::of(&parts.elements),
        pages: parts.pages,
        recognised_pages: recognised,
        unread_pages: unread,
        elements: parts.elements,
        findings: Findings::default(),
    })
}

fn paged(elements: Vec<Element>) -> Parts {
    Parts {
        elements,
        pages: None,
        pictures: Vec::new(),
    }
}

/// Has pictures recognised; gives the pages that were, and those that nothing could read.
fn recognise(
    bytes: &[u8],
    format: Format,
    parts: &mut Parts,
    ocr: &dyn Ocr,
    limits: &Limits,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let pictures = std::mem::take(&mut parts.pictures);
    if pictures.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    if !ocr.is_there() {
        return Ok((Vec::new(), pictures));
    }
    limits::check("pages that are pictures", pictures.len(), limits.ocr_pages_max)?;
    let mut recognised = Vec::new();
    for page in ocr.pages(bytes, format, &pictures)? {
        let elements = elements_of(&page);
        if elements.is_empty() {
            continue;
        }
        recognised.push(page.page);
        parts.elements.extend(elements);
    }
    // Stable: the order within a page stays.
    parts.elements.sort_by_key(|element| element.page);
    let unread = pictures
        .into_iter()
        .filter(|page| !recognised.contains(page))
        .collect();
    Ok((recognised, unread))
}

fn elements_of(page: &OcrPage) -> Vec<Element> {
    let mut elements = Vec::new();
    for recognised in &page.texts {
        let pieces = text::pieces(&recognised.lines).into_iter();
        elements.extend(pieces.map(|(kind, words)| Element {
            page: Some(page.page),
            recognition: Some(recognised.confidence),
            ..element(kind, words)
        }));
    }
    elements
}

fn bound(elements: &[Element], limits: &Limits) -> Result<()> {
    limits::check("elements", elements.len(), limits.elements_max)?;
    let chars = elements.iter().map(|element| element.text.chars().count()).sum();
    limits::check("characters", chars, limits.chars_max)
}

fn nothing_to_read(unread: &[u32]) -> Error {
    let error = Error::usage("the document has no text");
    if unread.is_empty() {
        return error.hint("look whether it is the right file");
    }
    error.with("pages that are pictures", unread.len()).hint(
        "install tesseract (with the languages eng and ara) and pdftoppm where weir runs, then ask again",
    )
}

/// An element without place on a page.
fn element(kind: ElementKind, text: String) -> Element {
    Element {
        kind,
        page: None,
        text,
        cell: None,
        recognition: None,
    }
}
