//! Text from pictures: what somebody else has to do, and how its answer is read.

use weir_protocol::Result;

use crate::format::Format;

/// Recognises text in pictures. Whoever runs this crate brings one.
pub trait Ocr {
    /// Whether anything can be recognised here at all.
    fn is_there(&self) -> bool;

    /// The text of these pages (from 1) of a PDF, or of the one page of an image.
    fn pages(&self, file: &[u8], format: Format, pages: &[u32]) -> Result<Vec<OcrPage>>;
}

/// Recognises nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOcr;

impl Ocr for NoOcr {
    fn is_there(&self) -> bool {
        false
    }

    fn pages(&self, _file: &[u8], _format: Format, _pages: &[u32]) -> Result<Vec<OcrPage>> {
        Ok(Vec::new())
    }
}

/// A page that was recognised.
#[derive(Debug, Clone, PartialEq)]
pub struct OcrPage {
    /// From 1.
    pub page: u32,
    pub texts: Vec<OcrText>,
}

/// A block of text on it.
#[derive(Debug, Clone, PartialEq)]
pub struct OcrText {
    pub lines: Vec<String>,
    /// 0 to 1.
    pub confidence: f64,
}

/// Columns of a word in tesseract's table: level, page, block, paragraph, line, word, left, top, width, height, conf, text.
const COLUMNS: usize = 12;
/// The level of words.
const WORD: &str = "5";

/// A page from the table of words that `tesseract … tsv` prints. Lines that are not as they should be are left out.
pub fn tsv_page(page: u32, table: &str) -> OcrPage {
    let mut texts: Vec<OcrText> = Vec::new();
    let mut sums: Vec<(f64, f64)> = Vec::new();
    let mut last = (String::new(), String::new());
    for row in table.lines() {
        let columns: Vec<&str> = row.splitn(COLUMNS, '\t').collect();
        let [WORD, _, block, paragraph, line, _, _, _, _, _, confidence, word] = columns[..] else {
            continue;
        };
        let (word, Ok(confidence)) = (word.trim(), confidence.parse::<f64>()) else {
            continue;
        };
        if word.is_empty() || confidence < 0.0 {
            continue;
        }
        let here = (
            format!("{block}.{paragraph}"),
            format!("{block}.{paragraph}.{line}"),
        );
        if here.0 != last.0 {
            texts.push(OcrText {
                lines: Vec::new(),
                confidence: 0.0,
            });
            sums.push((0.0, 0.0));
        }
        let (Some(text), Some(sum)) = (texts.last_mut(), sums.last_mut()) else {
            continue;
        };
        match text.lines.last_mut() {
            Some(line) if here.1 == last.1 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => text.lines.push(word.to_owned()),
        }
        sum.0 += confidence / 100.0;
        sum.1 += 1.0;
        text.confidence = (sum.0 / sum.1 * 100.0).round() / 100.0;
        last = here;
    }
    OcrPage { page, texts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_make_lines_and_paragraphs() {
        let head =
            "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n";
        let word = |block: u32, line: u32, confidence: &str, text: &str| {
            format!("5\t1\t{block}\t1\t{line}\t1\t0\t0\t1\t1\t{confidence}\t{text}\n")
        };
        let table = [
            head.to_owned(),
            word(1, 1, "90", "Supply"),
            word(1, 1, "70", "Agreement"),
            word(1, 2, "80", "of"),
            word(2, 1, "-1", "noise"),
            word(2, 1, "96", "Term"),
            "5\tbroken\n".to_owned(),
        ]
        .concat();
        let page = tsv_page(3, &table);
        assert_eq!(page.page, 3);
        assert_eq!(page.texts[0].lines, ["Supply Agreement", "of"]);
        assert_eq!(page.texts[0].confidence, 0.8);
        assert_eq!(page.texts[1].lines, ["Term"]);
    }
}
