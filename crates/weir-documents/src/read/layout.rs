//! From glyphs on a page to lines, columns and paragraphs; from the order in which right-to-left text is seen to the
//! order in which it is read.

use unicode_normalization::UnicodeNormalization as _;

use super::text;
use crate::document::{Element, ElementKind};

/// One glyph: where its base line begins, how wide it is and how high its font; the page's units.
#[derive(Debug, Clone)]
pub(super) struct Glyph {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) size: f64,
    /// More than one character where it is a ligature.
    pub(super) text: String,
}

/// Of the font's height: how far base lines of one line differ.
const SAME_LINE: f64 = 0.4;
/// Of the font's height: a gap that is a space, and one that parts two columns.
const SPACE: f64 = 0.17;
const GUTTER: f64 = 1.1;
/// Of the usual distance between lines: more is a new paragraph.
const PARAGRAPH_GAP: f64 = 1.32;
/// Of the usual height of the font: more is a heading.
const HEADING_SIZE: f64 = 1.15;
/// Of the column's width: a line that ends before is the last of its paragraph.
const FULL_LINE: f64 = 0.72;
/// Lines that a page needs before it is looked at for columns, and the part of them that a gutter parts.
const COLUMN_LINES_MIN: usize = 6;

/// A line of text with where it stands.
#[derive(Debug, Clone)]
struct Line {
    text: String,
    left: f64,
    right: f64,
    y: f64,
    size: f64,
    is_rtl: bool,
}

pub(super) fn elements_of(glyphs: Vec<Glyph>, page: u32) -> Vec<Element> {
    let rows = rows(glyphs);
    let columns = match gutter(&rows) {
        Some(x) => split(rows, x),
        None => vec![rows],
    };
    let mut elements = Vec::new();
    for rows in columns {
        let lines: Vec<Line> = rows.iter().filter_map(|row| line(row)).collect();
        elements.extend(paragraphs(&lines, page));
    }
    elements
}

/// Glyphs by base line from top to bottom, each from left to right.
fn rows(mut glyphs: Vec<Glyph>) -> Vec<Vec<Glyph>> {
    glyphs.retain(|glyph| glyph.size > 0.0);
    glyphs.sort_by(|one, other| other.y.total_cmp(&one.y));
    let mut rows: Vec<Vec<Glyph>> = Vec::new();
    for glyph in glyphs {
        match rows.last_mut() {
            Some(row) if row.first().is_some_and(|first| same_line(first, &glyph)) => row.push(glyph),
            _ => rows.push(vec![glyph]),
        }
    }
    for row in &mut rows {
        row.sort_by(|one, other| one.x.total_cmp(&other.x));
        row.dedup_by(|glyph, before| {
            glyph.text == before.text && (glyph.x - before.x).abs() < before.size * 0.05
        });
    }
    rows
}

fn same_line(one: &Glyph, other: &Glyph) -> bool {
    (one.y - other.y).abs() < SAME_LINE * one.size.max(other.size)
}

fn shown(row: &[Glyph]) -> impl Iterator<Item = &Glyph> {
    row.iter().filter(|glyph| !glyph.text.trim().is_empty())
}

fn reach(rows: &[Vec<Glyph>]) -> Option<(f64, f64)> {
    let glyphs = || rows.iter().flat_map(|row| shown(row));
    let left = glyphs().map(|glyph| glyph.x).min_by(f64::total_cmp)?;
    let right = glyphs()
        .map(|glyph| glyph.x + glyph.width)
        .max_by(f64::total_cmp)?;
    Some((left, right))
}

/// The place at which a page of two columns is parted.
fn gutter(rows: &[Vec<Glyph>]) -> Option<f64> {
    if rows.len() < COLUMN_LINES_MIN {
        return None;
    }
    let (left, right) = reach(rows)?;
    // From a third to two thirds of the width, in steps of a hundredth.
    (33..=67)
        .map(|step| left + (right - left) * f64::from(step) / 100.0)
        .find(|x| {
            let parted = rows.iter().filter(|row| is_parted(row, *x)).count();
            let crossed = rows.iter().filter(|row| is_crossed(row, *x)).count();
            parted * 2 >= rows.len() && crossed * 5 <= rows.len()
        })
}

fn is_parted(row: &[Glyph], x: f64) -> bool {
    let before = shown(row)
        .filter(|glyph| glyph.x < x)
        .map(|glyph| glyph.x + glyph.width)
        .max_by(f64::total_cmp);
    let after = shown(row)
        .filter(|glyph| glyph.x >= x)
        .map(|glyph| glyph.x)
        .min_by(f64::total_cmp);
    let size = row.first().map_or(0.0, |glyph| glyph.size);
    matches!((before, after), (Some(before), Some(after)) if before <= x && after - before > GUTTER * size)
}

fn is_crossed(row: &[Glyph], x: f64) -> bool {
    let is_both = shown(row).any(|glyph| glyph.x < x) && shown(row).any(|glyph| glyph.x >= x);
    is_both && !is_parted(row, x)
}

/// The columns in the order in which they are read: that of Arabic text comes second in either.
fn split(rows: Vec<Vec<Glyph>>, x: f64) -> Vec<Vec<Vec<Glyph>>> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for row in rows {
        if is_crossed(&row, x) {
            first.push(row);
            continue;
        }
        let (left, right): (Vec<Glyph>, Vec<Glyph>) = row.into_iter().partition(|glyph| glyph.x < x);
        for (part, column) in [(left, &mut first), (right, &mut second)] {
            if shown(&part).next().is_some() {
                column.push(part);
            }
        }
    }
    vec![first, second]
}

fn line(row: &[Glyph]) -> Option<Line> {
    let (left, right) = reach(std::slice::from_ref(&row.to_vec()))?;
    let size = shown(row).map(|glyph| glyph.size).max_by(f64::total_cmp)?;
    let mut pieces: Vec<String> = Vec::new();
    let mut end: Option<f64> = None;
    for glyph in row {
        let is_apart = end.is_some_and(|end| glyph.x - end > SPACE * glyph.size);
        if is_apart && pieces.last().is_some_and(|last| last != " ") {
            pieces.push(" ".to_owned());
        }
        let text: String = glyph.text.nfkc().collect();
        if text.trim().is_empty() {
            if pieces.last().is_some_and(|last| last != " ") {
                pieces.push(" ".to_owned());
            }
        } else {
            pieces.push(text);
        }
        end = Some(end.unwrap_or(f64::MIN).max(glyph.x + glyph.width));
    }
    let is_rtl = is_right_to_left(&pieces);
    let text = if is_rtl {
        read_order(&pieces)
    } else {
        left_to_right(pieces)
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(Line {
        text,
        left,
        right,
        y: row.first()?.y,
        size,
        is_rtl,
    })
}

fn is_arabic(char: char) -> bool {
    matches!(char, '\u{600}'..='\u{65f}' | '\u{66a}'..='\u{6ef}' | '\u{6fa}'..='\u{7ff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}')
        && char.is_alphabetic()
}

/// Digits and Latin letters stand from left to right in either kind of line.
fn is_ltr(piece: &str) -> bool {
    piece
        .chars()
        .any(|char| (char.is_alphanumeric() || matches!(char, '$' | '€' | '£' | '%')) && !is_arabic(char))
}

fn is_right_to_left(pieces: &[String]) -> bool {
    let chars = || pieces.iter().flat_map(|piece| piece.chars());
    let arabic = chars().filter(|char| is_arabic(*char)).count();
    let others = chars()
        .filter(|char| char.is_alphabetic() && !is_arabic(*char))
        .count();
    arabic > 0 && arabic >= others
}

/// A line of Latin text in which Arabic words stand: each run of those is turned.
fn left_to_right(mut pieces: Vec<String>) -> String {
    let mut start = 0;
    while start < pieces.len() {
        let is_word = |piece: &String| piece.chars().any(is_arabic);
        if !pieces.get(start).is_some_and(is_word) {
            start += 1;
            continue;
        }
        let mut end = start + 1;
        let mut seen = start + 1;
        while let Some(piece) = pieces
            .get(seen)
            .filter(|piece| is_word(piece) || piece.as_str() == " ")
        {
            seen += 1;
            if is_word(piece) {
                end = seen;
            }
        }
        if let Some(run) = pieces.get_mut(start..end) {
            run.reverse();
        }
        start = end;
    }
    pieces.concat()
}

/// A line that is read from right to left, of pieces from left to right.
fn read_order(pieces: &[String]) -> String {
    let mut read: Vec<String> = Vec::new();
    let mut run: Vec<&String> = Vec::new();
    let mut waiting: Vec<&String> = Vec::new();
    for piece in pieces.iter().rev() {
        if is_ltr(piece) {
            // What stands between two such pieces belongs to them where it joins them.
            run.append(&mut waiting);
            run.push(piece);
            continue;
        }
        if !run.is_empty() && waiting.len() < 2 && is_joint(piece, &run) {
            waiting.push(piece);
            continue;
        }
        end_run(&mut read, &mut run, &mut waiting);
        read.push(piece.clone());
    }
    end_run(&mut read, &mut run, &mut waiting);
    mend_brackets(read.concat())
}

/// Between digits a point, a comma, a colon or a slash; between Latin letters also a space.
fn is_joint(piece: &str, run: &[&String]) -> bool {
    let is_latin = run
        .last()
        .is_some_and(|piece| piece.chars().any(char::is_alphabetic));
    match piece {
        "." | "," | ":" | "/" | "٫" | "٬" | "-" => true,
        " " | "&" | "'" | "_" | "@" => is_latin,
        _ => false,
    }
}

fn end_run(read: &mut Vec<String>, run: &mut Vec<&String>, waiting: &mut Vec<&String>) {
    read.extend(run.drain(..).rev().cloned());
    read.extend(waiting.drain(..).cloned());
}

/// Brackets may be stored as they look. Where the first one closes, all are turned.
fn mend_brackets(text: String) -> String {
    let first = text
        .chars()
        .find(|char| matches!(char, '(' | ')' | '[' | ']' | '«' | '»'));
    if !matches!(first, Some(')' | ']' | '»')) {
        return text;
    }
    let turned = |char| match char {
        '(' => ')',
        ')' => '(',
        '[' => ']',
        ']' => '[',
        '«' => '»',
        '»' => '«',
        other => other,
    };
    text.chars().map(turned).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn paragraphs(lines: &[Line], page: u32) -> Vec<Element> {
    let size = median(lines.iter().map(|line| line.size).collect()).unwrap_or(0.0);
    let gaps = lines.windows(2).filter_map(|pair| match pair {
        [one, other] if other.y < one.y => Some(one.y - other.y),
        _ => None,
    });
    // The usual distance is among the smaller ones: those between paragraphs are larger.
    let mut gaps: Vec<f64> = gaps.collect();
    gaps.sort_by(f64::total_cmp);
    let usual = gaps.get(gaps.len() / 3).copied().unwrap_or(size * 1.2);
    let left = lines
        .iter()
        .map(|line| line.left)
        .min_by(f64::total_cmp)
        .unwrap_or(0.0);
    let right = lines
        .iter()
        .map(|line| line.right)
        .max_by(f64::total_cmp)
        .unwrap_or(0.0);
    let mut elements: Vec<Element> = Vec::new();
    let mut before: Option<&Line> = None;
    for line in lines {
        let goes_on = before.is_some_and(|before| {
            let is_full = if before.is_rtl {
                right - before.left >= (right - left) * FULL_LINE
            } else {
                before.right - left >= (right - left) * FULL_LINE
            };
            is_full
                && before.y - line.y <= usual * PARAGRAPH_GAP
                && (before.size - line.size).abs() < before.size * 0.1
                && !text::begins(&line.text)
                && !text::is_heading(&before.text)
                && !text::is_heading(&line.text)
        });
        match elements.last_mut() {
            Some(last) if goes_on => text::join(&mut last.text, &line.text),
            _ => elements.push(Element {
                kind: kind(line, size),
                page: Some(page),
                text: line.text.clone(),
                cell: None,
                recognition: None,
            }),
        }
        before = Some(line);
    }
    elements
}

fn kind(line: &Line, size: f64) -> ElementKind {
    if line.size > size * HEADING_SIZE && line.text.chars().count() < 120 {
        return ElementKind::Heading;
    }
    text::kind_of(&line.text, text::is_item(&line.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a line as they are seen from left to right.
    fn seen(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn arabic_is_read_from_the_right_and_its_numbers_from_the_left() {
        let line = seen("2024/03/15 ﺦﻳرﺎﺗ");
        assert_eq!(read_order(&line).nfkc().collect::<String>(), "تاريخ 2024/03/15");
        let line = seen("(لوألا) 1,500.50 غلبم");
        assert_eq!(read_order(&line), "مبلغ 1,500.50 (الأول)");
        let line = seen("(LLC) Acme Ltd ةكرش");
        assert_eq!(read_order(&line), "شركة Acme Ltd (LLC)");
    }

    #[test]
    fn arabic_words_in_a_latin_line_are_turned() {
        assert_eq!(
            left_to_right(seen("Name: دمحأ يلع of Cairo")),
            "Name: علي أحمد of Cairo"
        );
    }

    #[test]
    fn two_columns_are_read_one_after_the_other() {
        let glyph = |x: f64, y: f64, text: &str| Glyph {
            x,
            y,
            width: 60.0,
            size: 10.0,
            text: text.to_owned(),
        };
        let rows = (0..8).flat_map(|row| {
            let y = 700.0 - f64::from(row) * 12.0;
            [
                glyph(50.0, y, &format!("left{row}")),
                glyph(300.0, y, &format!("right{row}")),
            ]
        });
        let elements = elements_of(rows.collect(), 1);
        let text: Vec<&str> = elements
            .iter()
            .flat_map(|element| element.text.split(' '))
            .collect();
        assert_eq!(text.iter().filter(|word| word.starts_with("left")).count(), 8);
        assert!(text[..8].iter().all(|word| word.starts_with("left")), "{text:?}");
    }
}
