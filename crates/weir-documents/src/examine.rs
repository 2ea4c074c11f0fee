//! The whole way: bytes to elements to findings.

use weir_protocol::Result;

use crate::document::Document;
use crate::find::find;
use crate::limits::Limits;
use crate::read::ocr::Ocr;
use crate::read::read;

/// Reads a document and finds what stands in it. Pages that are pictures are given to `ocr`.
pub fn examine(bytes: &[u8], ocr: &dyn Ocr, limits: &Limits) -> Result<Document> {
    let read = read(bytes, ocr, limits)?;
    let findings = find(&read.elements, read.language, limits);
    Ok(Document { findings, ..read })
}
