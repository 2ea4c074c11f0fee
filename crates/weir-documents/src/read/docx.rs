//! Word's own format: a zip archive with XML.

use std::io::{Cursor, Read as _};

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use weir_protocol::{Error, Result};
use zip::ZipArchive;

use super::text::{is_heading, is_item};
use crate::document::{Element, ElementKind};
use crate::limits::{self, Limits};

const MAIN: &str = "word/document.xml";

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Vec<Element>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    limits::check("parts", archive.len(), limits.parts_max)?;
    let Ok(part) = archive.by_name(MAIN) else {
        return Err(Error::usage("the archive is no Word document")
            .with("missing", MAIN)
            .hint("give a .docx, or the file that is inside the archive"));
    };
    let mut xml = Vec::new();
    let most = limits.part_bytes_max;
    part.take(most.saturating_add(1))
        .read_to_end(&mut xml)
        .map_err(broken)?;
    if xml.len() as u64 > most {
        return Err(limits::beyond("bytes in one part", most));
    }
    elements(&xml, limits)
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::usage("the Word document is damaged")
        .caused_by(error)
        .hint("open it in a word processor and save it again")
}

/// Where the reading of the XML stands.
#[derive(Default)]
struct Progress {
    elements: Vec<Element>,
    depth: usize,
    /// Inside text that is shown.
    in_text: bool,
    /// Depth of what is left out as a whole.
    skipped_at: Option<usize>,
    text: String,
    style: Option<String>,
    is_listed: bool,
    /// Rows and columns of the tables that are open, and the text of their cell.
    tables: Vec<Table>,
}

#[derive(Default)]
struct Table {
    row: u32,
    column: u32,
    text: String,
}

fn elements(xml: &[u8], limits: &Limits) -> Result<Vec<Element>> {
    let mut reader = Reader::from_reader(xml);
    let mut progress = Progress::default();
    let mut buffer = Vec::new();
    loop {
        match reader.read_event_into(&mut buffer).map_err(broken)? {
            Event::Start(tag) => {
                progress.depth += 1;
                limits::check("elements inside each other", progress.depth, limits.depth_max)?;
                progress.open(&tag);
            }
            Event::Empty(tag) => {
                progress.depth += 1;
                progress.open(&tag);
                progress.close(tag.local_name().as_ref());
            }
            Event::End(tag) => progress.close(tag.local_name().as_ref()),
            Event::Text(text) if progress.is_shown() => {
                progress.text.push_str(&text.decode().map_err(broken)?);
            }
            Event::GeneralRef(name) if progress.is_shown() => progress.reference(&name)?,
            Event::Eof => break,
            _ => {}
        }
        limits::check("elements", progress.elements.len(), limits.elements_max)?;
        limits::check(
            "characters in one paragraph",
            progress.text.len(),
            limits.chars_max * 4,
        )?;
        buffer.clear();
    }
    Ok(progress.elements)
}

impl Progress {
    fn is_shown(&self) -> bool {
        self.in_text && self.skipped_at.is_none()
    }

    fn open(&mut self, tag: &BytesStart<'_>) {
        match tag.local_name().as_ref() {
            // What was deleted, and the second copy of a drawing for old readers.
            b"del" | b"moveFrom" | b"Fallback" if self.skipped_at.is_none() => {
                self.skipped_at = Some(self.depth);
            }
            b"p" => {
                (self.style, self.is_listed) = (None, false);
            }
            b"pStyle" => self.style = value_of(tag),
            b"numPr" => self.is_listed = true,
            b"t" => self.in_text = true,
            b"tab" | b"br" | b"cr" if self.skipped_at.is_none() => self.text.push(' '),
            b"noBreakHyphen" if self.skipped_at.is_none() => self.text.push('-'),
            b"tbl" => self.tables.push(Table::default()),
            b"tr" => {
                if let Some(table) = self.tables.last_mut() {
                    (table.row, table.column) = (table.row + 1, 0);
                }
            }
            b"tc" => {
                if let Some(table) = self.tables.last_mut() {
                    table.column += 1;
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &[u8]) {
        match name {
            b"t" => self.in_text = false,
            b"p" => self.paragraph(),
            b"tc" => self.cell(),
            b"tbl" => drop(self.tables.pop()),
            _ => {}
        }
        if self.skipped_at == Some(self.depth) {
            self.skipped_at = None;
        }
        self.depth = self.depth.saturating_sub(1);
    }

    fn reference(&mut self, name: &BytesRef<'_>) -> Result<()> {
        if let Some(char) = name.resolve_char_ref().map_err(broken)? {
            self.text.push(char);
            return Ok(());
        }
        let name = name.decode().map_err(broken)?;
        // Entities of a document type of its own are never unfolded.
        self.text
            .push_str(quick_xml::escape::resolve_predefined_entity(&name).unwrap_or(" "));
        Ok(())
    }

    fn paragraph(&mut self) {
        let text = std::mem::take(&mut self.text)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        if text.is_empty() {
            return;
        }
        if let Some(table) = self.tables.last_mut() {
            if !table.text.is_empty() {
                table.text.push(' ');
            }
            table.text.push_str(&text);
            return;
        }
        let is_titled = self.style.as_deref().is_some_and(|style| {
            let style = style.to_lowercase();
            style.starts_with("heading") || style.starts_with("title") || style == "subtitle"
        });
        let kind = if is_titled || is_heading(&text) {
            ElementKind::Heading
        } else if self.is_listed || is_item(&text) {
            ElementKind::ListItem
        } else {
            ElementKind::Paragraph
        };
        self.elements.push(super::element(kind, text));
    }

    fn cell(&mut self) {
        let Some(table) = self.tables.last_mut() else {
            return;
        };
        let text = std::mem::take(&mut table.text);
        if text.is_empty() {
            return;
        }
        let cell = Some((table.row, table.column));
        self.elements.push(Element {
            cell,
            ..super::element(ElementKind::TableCell, text)
        });
    }
}

fn value_of(tag: &BytesStart<'_>) -> Option<String> {
    let found = tag
        .attributes()
        .flatten()
        .find(|found| found.key.local_name().as_ref() == b"val")?;
    Some(String::from_utf8_lossy(&found.value).into_owned())
}
