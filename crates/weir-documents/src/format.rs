//! What kind of file it is, by its bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result};

/// A kind of file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Pdf,
    Docx,
    /// PNG, JPEG or TIFF of a page; needs recognition.
    Image,
    /// Plain text or Markdown in UTF-8.
    Text,
}

const IMAGES: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*"];
/// A PDF may begin with other bytes.
const PDF_HEAD: usize = 1024;

impl Format {
    /// By the bytes that the file begins with; a name says nothing.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let head = bytes.get(..PDF_HEAD.min(bytes.len())).unwrap_or_default();
        if head.windows(5).any(|window| window == b"%PDF-") {
            return Ok(Self::Pdf);
        }
        if bytes.starts_with(b"PK\x03\x04") {
            return Ok(Self::Docx);
        }
        if IMAGES.iter().any(|magic| bytes.starts_with(magic)) {
            return Ok(Self::Image);
        }
        if bytes.starts_with(b"\xd0\xcf\x11\xe0") {
            return Err(unreadable("an old Word file (.doc), or an encrypted one")
                .hint("save it as .docx without a password, or as PDF"));
        }
        if bytes.is_empty() {
            return Err(Error::usage("the document is empty").hint("give a file with content"));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(Self::Text),
            _ => {
                Err(unreadable("no known kind of document")
                    .hint("give PDF, DOCX, PNG, JPEG, TIFF or UTF-8 text"))
            }
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Docx => "docx",
            Self::Image => "image",
            Self::Text => "text",
        }
    }
}

fn unreadable(what: &str) -> Error {
    Error::usage(format!("the file is {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_decide_not_names() {
        assert_eq!(Format::of(b"junk\n%PDF-1.4").unwrap(), Format::Pdf);
        assert_eq!(Format::of(b"PK\x03\x04...").unwrap(), Format::Docx);
        assert_eq!(Format::of("عقد".as_bytes()).unwrap(), Format::Text);
        assert_eq!(Format::of(b"\x89PNG\r\n\x1a\n...").unwrap(), Format::Image);
        insta::assert_snapshot!(format!("{:?}", Format::of(b"\xd0\xcf\x11\xe0").unwrap_err()), @"[usage] the file is an old Word file (.doc), or an encrypted one -> save it as .docx without a password, or as PDF");
        assert!(Format::of(b"").is_err());
        assert!(Format::of(b"\x00\xff\xfe").is_err());
    }
}
