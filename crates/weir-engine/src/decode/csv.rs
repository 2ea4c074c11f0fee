//! CSV: each row becomes a JSON object whose values are the texts as they stand; types come later,
//! from the schema.

use bytes::Bytes;
use csv::{ByteRecord, ErrorKind, Position, ReaderBuilder};
use weir_protocol::spec::Decode;
use weir_protocol::{Error, Result};

use super::quoting::{self, Misquoted};
use super::{Decoded, looks_like_html, not_in_format, offset};

pub(super) fn decode(text: &Bytes, spec: &Decode, content_type: Option<&str>) -> Result<Decoded> {
    if looks_like_html(text) {
        return Err(not_in_format("CSV", text, content_type));
    }
    let (delimiter, quote) = (
        sign("delimiter", spec.delimiter.unwrap_or(','))?,
        sign("quote", spec.quote.unwrap_or('"'))?,
    );
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .quote(quote)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_ref());
    let mut row = ByteRecord::new();
    let mut read = |row: &mut ByteRecord| {
        let begin = reader.position().clone();
        let is_row = read(&mut reader, row)?;
        let raw = span(text, &begin, reader.position());
        match quoting::misquoted(raw, delimiter, quote) {
            Some(misquoted) => Err(refuse(misquoted, &begin)),
            None => Ok(is_row),
        }
    };
    let columns = match &spec.columns {
        Some(columns) => columns.clone(),
        None if read(&mut row)? => row
            .iter()
            .map(|name| utf8(name).map(str::to_owned))
            .collect::<Result<_>>()?,
        None => return Ok(Decoded::nothing()),
    };
    let keys = keys(&columns)?;
    let mut buffer = Vec::with_capacity(text.len() * 2);
    let mut lines = Vec::new();
    while read(&mut row)? {
        if row.len() != keys.len() {
            return Err(ragged(&row, keys.len()));
        }
        let start = offset(buffer.len())?;
        for (key, value) in keys.iter().zip(row.iter()) {
            buffer.extend_from_slice(key);
            match utf8(value)? {
                "" if spec.empty_as_null => buffer.extend_from_slice(b"null"),
                text => write_text(&mut buffer, text)?,
            }
        }
        buffer.push(b'}');
        lines.push(start..offset(buffer.len())?);
    }
    Ok(Decoded::Lines(buffer.into(), lines))
}

fn sign(field: &str, sign: char) -> Result<u8> {
    u8::try_from(sign).ok().filter(u8::is_ascii).ok_or_else(|| {
        Error::spec(format!("CSV {field} '{sign}' is not one byte"))
            .hint("use an ASCII character such as ',' or ';' or '\"'")
    })
}

/// What the reader took between two of its positions.
fn span<'a>(text: &'a [u8], begin: &Position, end: &Position) -> &'a [u8] {
    let at = |position: &Position| usize::try_from(position.byte()).unwrap_or(usize::MAX);
    text.get(at(begin)..at(end)).unwrap_or_default()
}

fn refuse(misquoted: Misquoted, begin: &Position) -> Error {
    Error::decode(misquoted.message())
        .with("row from line", begin.line())
        .hint(
            "the text may be cut, or hold quotes that are not doubled: have the vendor mend it; \
             where quotes mean nothing, set decode.quote to a character that never occurs, such as \"\\u0001\"",
        )
}

/// The same for readers without options.
pub(crate) fn refuse_swallowed(text: &[u8], begin: &Position, end: &Position, delimiter: u8) -> Result<()> {
    match quoting::misquoted(span(text, begin, end), delimiter, b'"') {
        Some(misquoted) => Err(refuse(misquoted, begin)
            .hint("the text may be cut, or hold quotes that are not doubled: have the vendor mend it")),
        None => Ok(()),
    }
}

/// What stands before each value: `{"name":` or `,"name":`.
fn keys(columns: &[String]) -> Result<Vec<Vec<u8>>> {
    let mut keys: Vec<Vec<u8>> = Vec::with_capacity(columns.len());
    for (index, name) in columns.iter().enumerate() {
        if columns[..index].contains(name) {
            return Err(Error::decode(format!("CSV column '{name}' is there twice"))
                .with("column", index + 1)
                .hint("set decode.columns with names of your own, and skip the header at the source"));
        }
        let mut key = vec![if index == 0 { b'{' } else { b',' }];
        write_text(&mut key, name)?;
        key.push(b':');
        keys.push(key);
    }
    Ok(keys)
}

fn read(reader: &mut csv::Reader<&[u8]>, row: &mut ByteRecord) -> Result<bool> {
    reader.read_byte_record(row).map_err(|error| match error.kind() {
        ErrorKind::Io(_) => Error::internal("CSV in memory cannot be read").caused_by(error),
        _ => Error::decode("CSV cannot be read")
            .caused_by(error)
            .hint("check decode.delimiter and the file's quotes"),
    })
}

fn ragged(row: &ByteRecord, columns: usize) -> Error {
    let line = row.position().map_or(0, Position::line);
    Error::decode(format!("CSV row has {} values for {columns} columns", row.len()))
        .with("line", line)
        .hint("check decode.delimiter, and the quotes around values that hold it or a line end")
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        Error::decode("CSV value is not UTF-8")
            .caused_by(error)
            .hint("set decode.charset")
    })
}

fn write_text(buffer: &mut Vec<u8>, text: &str) -> Result<()> {
    serde_json::to_writer(buffer, text)
        .map_err(|error| Error::internal("text cannot be written as JSON").caused_by(error))
}
