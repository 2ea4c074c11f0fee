//! How much of a document is read.

use weir_protocol::{Error, Result};

/// Bounds of one reading, each with its unit. A document beyond one is refused, never cut short in silence.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes_max: usize,
    /// Bytes of one part of an archive, unpacked.
    pub part_bytes_max: u64,
    /// Parts of an archive.
    pub parts_max: usize,
    /// XML elements inside each other.
    pub depth_max: usize,
    pub pages_max: usize,
    /// Pages that are recognised from pictures.
    pub ocr_pages_max: usize,
    pub elements_max: usize,
    /// Characters of all elements together.
    pub chars_max: usize,
    /// Findings of each kind; the rest are left out and the document says so.
    pub findings_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 16 << 20,
            part_bytes_max: 64 << 20,
            parts_max: 2_000,
            depth_max: 64,
            pages_max: 500,
            ocr_pages_max: 40,
            elements_max: 20_000,
            chars_max: 2_000_000,
            findings_max: 1_000,
        }
    }
}

/// The error of what is beyond a limit.
pub(crate) fn beyond(what: &str, limit: impl std::fmt::Display) -> Error {
    Error::limit(format!("the document has too many {what}"))
        .with("limit", limit)
        .hint("split the document, or give only the part that matters")
}

/// Refuses more than the limit.
pub(crate) fn check(what: &str, found: usize, limit: usize) -> Result<()> {
    if found > limit {
        return Err(beyond(what, limit).with("found", found));
    }
    Ok(())
}
