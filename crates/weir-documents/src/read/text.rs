//! Plain text and Markdown, and lines of any format that have to become elements.

use weir_protocol::{Error, Result};

use super::element;
use crate::document::{Element, ElementKind};
use crate::find::pattern::pattern;
use crate::limits::Limits;

pattern!(
    LIST,
    r"^\s*(?:[-*•▪◦‣·]\s|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5}|[أ-ي])[.)\-ـ–]\s|\d{1,2}(?:\.\d{1,2}){1,4}\.?\s|[٠-٩]{1,3}[.)\-–/]\s?|(?:أولا|ثانيا|ثالثا|رابعا|خامسا|سادسا|سابعا|ثامنا|تاسعا|عاشرا)ً?\s*[:/\-–])"
);
// A short label and what it says, on a line of its own.
pattern!(
    LABEL,
    r"^\s*(?:\*\*)?[\p{Lu}\p{Lo}][^.:!?\n]{0,48}[:：](?:\*\*)?\s"
);
pattern!(
    NUMBERED_HEAD,
    r"^\s*(?i:(?:article|section|clause|schedule|annex|appendix|exhibit)\b|المادة|الماده|البند|الملحق)\s*"
);

/// Longest line that is taken for a heading; characters.
const HEADING_CHARS_MAX: usize = 90;

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Vec<Element>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Error::usage("the text is not UTF-8")
            .caused_by(error)
            .hint("save it as UTF-8")
    })?;
    let mut elements = Vec::new();
    let mut block: Vec<String> = Vec::new();
    let mut row = 0;
    for line in text.trim_start_matches('\u{feff}').lines().chain([""]) {
        if let Some(cells) = table_row(line) {
            close(&mut block, &mut elements);
            row += 1;
            elements.extend(cells_of(&cells, row));
        } else if line.trim().is_empty() {
            close(&mut block, &mut elements);
            row = 0;
        } else if let Some(heading) = markdown_heading(line) {
            close(&mut block, &mut elements);
            elements.push(element(ElementKind::Heading, heading));
        } else {
            block.push(line.to_owned());
        }
        crate::limits::check("elements", elements.len(), limits.elements_max)?;
    }
    Ok(elements)
}

fn close(block: &mut Vec<String>, elements: &mut Vec<Element>) {
    let pieces = pieces(&std::mem::take(block));
    elements.extend(pieces.into_iter().map(|(kind, text)| element(kind, text)));
}

fn markdown_heading(line: &str) -> Option<String> {
    let rest = line.strip_prefix('#')?.trim_start_matches('#');
    rest.starts_with(' ').then(|| rest.trim().to_owned())
}

/// Cells of a row of a Markdown table; a line of dashes is none.
fn table_row(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?;
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
    let is_rule = cells
        .iter()
        .all(|cell| cell.chars().all(|char| matches!(char, '-' | ':' | ' ')));
    Some(if is_rule { Vec::new() } else { cells })
}

fn cells_of(cells: &[String], row: u32) -> Vec<Element> {
    let filled = (1_u32..).zip(cells).filter(|(_, text)| !text.is_empty());
    filled
        .map(|(column, text)| Element {
            cell: Some((row, column)),
            ..element(ElementKind::TableCell, text.clone())
        })
        .collect()
}

/// Lines that belong together as elements: a line goes on in the next one where nothing says otherwise.
pub(super) fn pieces(lines: &[String]) -> Vec<(ElementKind, String)> {
    let mut pieces: Vec<(ElementKind, String)> = Vec::new();
    let mut is_closed = true;
    for line in lines {
        let is_broken = line.ends_with('\\') || line.ends_with("  ");
        let words = line
            .trim_end_matches('\\')
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        if words.is_empty() {
            continue;
        }
        let is_item = LIST.is_in(line);
        let begins = is_closed || is_item || LABEL.is_in(line) || is_heading(&words);
        match pieces.last_mut() {
            Some((_, text)) if !begins => join(text, &words),
            _ => pieces.push((kind_of(&words, is_item), words.clone())),
        }
        is_closed = is_broken || is_heading(&words);
    }
    pieces
}

/// Adds a line to those before it.
pub(super) fn join(text: &mut String, line: &str) {
    let is_hyphenated = text.ends_with('-')
        && text.chars().rev().nth(1).is_some_and(char::is_lowercase)
        && line.chars().next().is_some_and(char::is_lowercase);
    if is_hyphenated {
        text.pop();
    } else {
        text.push(' ');
    }
    text.push_str(line);
}

pub(super) fn kind_of(words: &str, is_item: bool) -> ElementKind {
    if is_heading(words) {
        ElementKind::Heading
    } else if is_item {
        ElementKind::ListItem
    } else {
        ElementKind::Paragraph
    }
}

pub(super) fn is_item(words: &str) -> bool {
    LIST.is_in(words)
}

/// Whether a line begins something of its own.
pub(super) fn begins(words: &str) -> bool {
    LIST.is_in(words) || LABEL.is_in(words)
}

/// Whether a line reads like a heading: short, no sentence, in capitals or with a number of its own.
pub(super) fn is_heading(words: &str) -> bool {
    let length = words.chars().count();
    if length > HEADING_CHARS_MAX || words.ends_with([',', ';', '؛', '،']) || words.contains('"') {
        return false;
    }
    let letters = words.chars().filter(|char| char.is_alphabetic()).count();
    let capitals = words.chars().filter(|char| char.is_uppercase()).count();
    let is_shouted = letters > 3 && capitals * 10 >= letters * 9 && !words.contains('(') && length < 70;
    is_shouted || (length < 60 && NUMBERED_HEAD.is_in(words) && !words.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let elements = read(text.as_bytes(), &Limits::default()).unwrap();
        let line = |element: &Element| format!("{:?} {:?} {}\n", element.kind, element.cell, element.text);
        elements.iter().map(line).collect()
    }

    #[test]
    fn markdown_becomes_elements() {
        let text = "# Supply\n\nThis agreement is\nmade today.\n\n- first\n- second\n\nName: A\\\nDate: B\n\n| a | b |\n|---|---|\n| 1 |  |\n\nPARTIES\n(1) One\n(2) Two\n";
        insta::assert_snapshot!(shown(text), @r"
        Heading None Supply
        Paragraph None This agreement is made today.
        ListItem None - first
        ListItem None - second
        Paragraph None Name: A
        Paragraph None Date: B
        TableCell Some((1, 1)) a
        TableCell Some((1, 2)) b
        TableCell Some((3, 1)) 1
        Heading None PARTIES
        ListItem None (1) One
        ListItem None (2) Two
        ");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(read(b"\xff\xfe", &Limits::default()).is_err());
    }
}
