//! CSV as a `ResponseToFileExtractor` reads it: with the rules of a data frame. Texts that mean "nothing"
//! are null, a compressed answer is unpacked by itself, rows that are longer than the names begin with
//! an index.

use std::borrow::Cow;
use std::collections::HashSet;

use ::csv::{ByteRecord, ReaderBuilder};
use bytes::Bytes;
use serde_json::{Map, Value};
use weir_protocol::spec::Encoding;
use weir_protocol::{Error, Result};

use super::decode::offset;
use crate::decode::csv::refuse_swallowed;
use crate::decode::{Decoded, unpack};

const NOTHING: &[&str] = &[
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// `keeps_words`: only empty cells are null.
pub(super) fn decode(body: &Bytes, keeps_words: bool, bytes_max: u64) -> Result<Vec<Decoded>> {
    // What is not compressed is taken as it is.
    let parts = unpack(Encoding::Gzip, body, bytes_max)?;
    parts.iter().map(|part| rows(part, keeps_words)).collect()
}

/// Without the zero bytes that some systems leave between texts.
fn clean(body: &[u8]) -> Cow<'_, [u8]> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if memchr::memchr(0, body).is_none() {
        return Cow::Borrowed(body);
    }
    tracing::warn!("zero bytes were left out of a downloaded file");
    body.iter().copied().filter(|byte| *byte != 0).collect()
}

fn rows(body: &[u8], keeps_words: bool) -> Result<Decoded> {
    let body = clean(body);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(&*body);
    let mut row = ByteRecord::new();
    let mut names: Option<Vec<String>> = None;
    // How many cells of a row come before those that have names.
    let mut index = None;
    let (mut out, mut spans) = (Vec::with_capacity(body.len() * 2), Vec::new());
    loop {
        let begin = reader.position().clone();
        if !reader.read_byte_record(&mut row).map_err(unreadable)? {
            break;
        }
        refuse_swallowed(&body, &begin, reader.position(), b',')?;
        let cells = row.iter().map(cell).collect::<Result<Vec<_>>>()?;
        let Some(names) = &names else {
            names = Some(named(&cells));
            continue;
        };
        let index = *index.get_or_insert_with(|| cells.len().saturating_sub(names.len()));
        if cells.len() > names.len() + index {
            return Err(too_long(&row, names.len() + index));
        }
        let start = offset(out.len())?;
        let record = record(names, &cells[index.min(cells.len())..], keeps_words);
        serde_json::to_writer(&mut out, &record).map_err(|error| {
            Error::internal("a row cannot be written")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?;
        spans.push(start..offset(out.len())?);
    }
    Ok(Decoded::Lines(out.into(), spans))
}

fn unreadable(error: ::csv::Error) -> Error {
    Error::decode("the downloaded file cannot be read as CSV")
        .caused_by(error)
        .hint("check what the export's download gives")
}

fn too_long(row: &ByteRecord, most: usize) -> Error {
    let line = row.position().map_or(0, ::csv::Position::line);
    Error::decode(format!("a row has {} cells instead of at most {most}", row.len()))
        .with("line", line)
        .hint("check what the export's download gives; the file may be damaged or no CSV")
}

fn cell(cell: &[u8]) -> Result<&str> {
    std::str::from_utf8(cell).map_err(|error| {
        Error::decode("the downloaded file is not valid UTF-8")
            .caused_by(error)
            .hint("a ResponseToFileExtractor reads UTF-8; for another character set use a CsvDecoder with its encoding")
    })
}

/// Each name once: those that come again get a number, those that are empty their place.
fn named(cells: &[&str]) -> Vec<String> {
    let all: HashSet<&str> = cells.iter().copied().collect();
    let mut taken: HashSet<String> = HashSet::new();
    let mut names = Vec::with_capacity(cells.len());
    for (place, cell) in cells.iter().enumerate() {
        let mut name = match *cell {
            "" => format!("Unnamed: {place}"),
            cell => cell.to_owned(),
        };
        let mut count = 0;
        while taken.contains(&name) || (count > 0 && all.contains(name.as_str())) {
            count += 1;
            name = format!("{cell}.{count}");
        }
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

fn record(names: &[String], cells: &[&str], keeps_words: bool) -> Map<String, Value> {
    let mut cells = cells.iter();
    let value = |text: &str| {
        if text.is_empty() || (!keeps_words && NOTHING.contains(&text)) {
            Value::Null
        } else {
            Value::from(text)
        }
    };
    let members = names.iter().map(|name| {
        let value = cells.next().map_or(Value::Null, |text| value(text));
        (name.clone(), value)
    });
    members.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, keeps_words: bool) -> Result<String> {
        let parts = decode(&Bytes::copy_from_slice(text.as_bytes()), keeps_words, 1 << 20)?;
        let Decoded::Lines(body, spans) = &parts[0] else {
            unreachable!("rows are lines")
        };
        let lines: Vec<&str> = spans
            .iter()
            .map(|span| std::str::from_utf8(&body[span.start as usize..span.end as usize]).unwrap())
            .collect();
        Ok(lines.join(" "))
    }

    /// Each as pandas 2.3 reads it.
    #[test]
    fn rows_are_those_of_a_data_frame() {
        for (text, rows) in [
            (
                "a,b,c\nNA,N/A,null\nNaN,,x\n",
                r#"{"a":null,"b":null,"c":null} {"a":null,"b":null,"c":"x"}"#,
            ),
            ("a,b\n1,2,3\n4,5,6\n", r#"{"a":"2","b":"3"} {"a":"5","b":"6"}"#),
            ("a,b,c\n1\n", r#"{"a":"1","b":null,"c":null}"#),
            ("a,a,a.1,b\n1,2,3,4\n", r#"{"a":"1","a.2":"2","a.1":"3","b":"4"}"#),
            (",x,\n1,2,3\n", r#"{"Unnamed: 0":"1","x":"2","Unnamed: 2":"3"}"#),
            ("a,b\n1,2,\n", r#"{"a":"2","b":null}"#),
            ("\n\na,b\n\n1,2\n", r#"{"a":"1","b":"2"}"#),
            (
                "\u{feff}a,b\r\n\"x\ny\",\"z\"\"\"\r\n",
                r#"{"a":"x\ny","b":"z\""}"#,
            ),
            ("a\nx\0y\n", r#"{"a":"xy"}"#),
            ("", ""),
        ] {
            assert_eq!(read(text, false).unwrap(), rows, "{text:?}");
        }
        let kept = read("a,b\nNA,\n", true).unwrap();
        assert_eq!(kept, r#"{"a":"NA","b":null}"#);
        let error = read("a,b\n1,2\n3,4,5\n", false).unwrap_err();
        assert!(error.to_string().contains("line: 3"), "{error}");
    }
}
