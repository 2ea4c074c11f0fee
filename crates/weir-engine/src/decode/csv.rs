//! CSV: each row becomes a JSON object whose values are the texts as they stand; types come later,
//! from the schema.

use bytes::Bytes;
use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use weir_protocol::spec::Decode;
use weir_protocol::{Error, Result};

use super::{Decoded, looks_like_html, not_in_format, offset};

pub(super) fn decode(text: &Bytes, spec: &Decode, content_type: Option<&str>) -> Result<Decoded> {
    if looks_like_html(text) {
        return Err(not_in_format("CSV", text, content_type));
    }
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter(spec)?)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_ref());
    let mut row = ByteRecord::new();
    let columns = match &spec.columns {
        Some(columns) => columns.clone(),
        None if read(&mut reader, &mut row)? => row
            .iter()
            .map(|name| utf8(name).map(str::to_owned))
            .collect::<Result<_>>()?,
        None => return Ok(Decoded::nothing()),
    };
    let keys = keys(&columns)?;
    let mut buffer = Vec::with_capacity(text.len() * 2);
    let mut lines = Vec::new();
    while read(&mut reader, &mut row)? {
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

fn delimiter(spec: &Decode) -> Result<u8> {
    let delimiter = spec.delimiter.unwrap_or(',');
    u8::try_from(delimiter).ok().filter(u8::is_ascii).ok_or_else(|| {
        Error::spec(format!("CSV delimiter '{delimiter}' is not one byte"))
            .hint("use an ASCII character such as ',' or ';'")
    })
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
    let line = row.position().map_or(0, csv::Position::line);
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
