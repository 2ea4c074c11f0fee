//! PDF: glyphs with their places, page by page; [`super::layout`] makes lines and paragraphs of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{Document as Pdf, MediaBox, OutputDev, OutputError, Transform, output_doc_page};
use weir_protocol::{Error, Result};

use super::Parts;
use super::layout::{Glyph, elements_of};
use crate::limits::{self, Limits};

/// Glyphs of a page that is not a picture of text with a stamp on it.
const GLYPHS_MIN: usize = 12;
/// Of a page's glyphs, so that its text counts as garbage.
const GARBAGE_SHARE: usize = 4;

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Parts> {
    // The parser panics at much that is wrong in a file.
    catch_unwind(AssertUnwindSafe(|| pages(bytes, limits))).unwrap_or_else(|_| Err(broken()))
}

fn broken() -> Error {
    Error::usage("the PDF is damaged, or uses what is not understood")
        .hint("print it to a new PDF, or give a picture of its pages")
}

fn pages(bytes: &[u8], limits: &Limits) -> Result<Parts> {
    let mut pdf = Pdf::load_mem(bytes).map_err(|error| broken().caused_by(error))?;
    if pdf.is_encrypted() {
        pdf.decrypt("").map_err(|error| {
            Error::usage("the PDF is locked by a password")
                .caused_by(error)
                .hint("give a copy without one")
        })?;
    }
    let numbers: Vec<u32> = pdf.get_pages().into_keys().collect();
    limits::check("pages", numbers.len(), limits.pages_max)?;
    let mut parts = Parts {
        elements: Vec::new(),
        pages: u32::try_from(numbers.len()).ok(),
        pictures: Vec::new(),
    };
    let mut left = limits.chars_max;
    for number in numbers {
        let mut glyphs = Glyphs {
            found: Vec::new(),
            most: left,
            is_full: false,
        };
        let done = catch_unwind(AssertUnwindSafe(|| output_doc_page(&pdf, &mut glyphs, number)));
        if glyphs.is_full {
            return Err(limits::beyond("characters", limits.chars_max));
        }
        left -= glyphs.found.len();
        let is_read = matches!(done, Ok(Ok(())));
        if !is_read || is_picture(&glyphs.found) {
            // What cannot be read as text can be looked at.
            parts.pictures.push(number);
        } else {
            parts.elements.extend(elements_of(glyphs.found, number));
        }
        limits::check("elements", parts.elements.len(), limits.elements_max)?;
    }
    Ok(parts)
}

fn is_picture(glyphs: &[Glyph]) -> bool {
    let shown = glyphs
        .iter()
        .filter(|glyph| !glyph.text.trim().is_empty())
        .count();
    let is_garbage = |text: &str| {
        text.chars()
            .any(|char| char.is_control() || matches!(char, '\u{fffd}' | '\u{e000}'..='\u{f8ff}'))
    };
    let garbage = glyphs.iter().filter(|glyph| is_garbage(&glyph.text)).count();
    shown < GLYPHS_MIN || garbage * GARBAGE_SHARE > shown
}

/// Takes the glyphs of one page.
struct Glyphs {
    found: Vec<Glyph>,
    most: usize,
    is_full: bool,
}

impl OutputDev for Glyphs {
    fn begin_page(
        &mut self,
        _page: u32,
        _media: &MediaBox,
        _art: Option<(f64, f64, f64, f64)>,
    ) -> std::result::Result<(), OutputError> {
        Ok(())
    }

    fn end_page(&mut self) -> std::result::Result<(), OutputError> {
        Ok(())
    }

    fn output_character(
        &mut self,
        place: &Transform,
        width: f64,
        _spacing: f64,
        font_size: f64,
        char: &str,
    ) -> std::result::Result<(), OutputError> {
        if self.found.len() >= self.most {
            self.is_full = true;
            return Err(OutputError::IoError(std::io::ErrorKind::OutOfMemory.into()));
        }
        // The length of the font's unit along the line and across it.
        let along = place.m11.hypot(place.m12) * font_size.abs();
        let across = place.m21.hypot(place.m22) * font_size.abs();
        let is_placed = [place.m31, place.m32, along, across]
            .into_iter()
            .all(f64::is_finite);
        if is_placed && !char.is_empty() {
            self.found.push(Glyph {
                x: place.m31,
                y: place.m32,
                width: (width * along).max(0.0),
                size: across,
                text: char.to_owned(),
            });
        }
        Ok(())
    }

    fn begin_word(&mut self) -> std::result::Result<(), OutputError> {
        Ok(())
    }

    fn end_word(&mut self) -> std::result::Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> std::result::Result<(), OutputError> {
        Ok(())
    }
}
