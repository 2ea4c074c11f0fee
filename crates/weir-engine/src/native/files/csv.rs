//! CSV: a row becomes a JSON object. A row with more or fewer fields than there are columns, with quotes that do
//! not add up, or with bytes that are not UTF-8, is passed on as it stands in the file: the lake keeps it in quarantine.

use std::io::{self, Read};
use std::ops::Range;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Value, json};
use weir_protocol::{Error, Result};

use super::column::{ColumnType, Guess, types_of, write_text};
use super::config::CsvOptions;
use super::sink::{self, Sink};
use crate::decode::quoting::{self, Misquoted};

const BUFFER_BYTES: usize = 256 << 10;

/// Remembers what was read since the last row, so that a row can be passed on as it stands.
struct Tee<R> {
    inner: R,
    /// Bytes of the content from `base` on.
    seen: Vec<u8>,
    base: u64,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // A row so long, such as one whose quote is never closed, is not waited for.
        if self.is_full() {
            return Err(io::Error::other("a row is too large"));
        }
        let count = self.inner.read(out)?;
        self.seen.extend_from_slice(&out[..count]);
        Ok(count)
    }
}

impl<R> Tee<R> {
    fn is_full(&self) -> bool {
        self.seen.len() > sink::RECORD_BYTES_MAX + 2 * BUFFER_BYTES
    }

    /// The content between two positions, and forgets what lies before `end` from time to time.
    fn between(&self, start: u64, end: u64) -> &[u8] {
        let at = |position: u64| usize::try_from(position - self.base).unwrap_or(usize::MAX);
        self.seen.get(at(start)..at(end)).unwrap_or_default()
    }

    fn forget(&mut self, end: u64) {
        let done = usize::try_from(end - self.base).unwrap_or(0);
        if done >= BUFFER_BYTES && done <= self.seen.len() {
            self.seen.drain(..done);
            self.base = end;
        }
    }
}

/// Delimiter and quote; both were checked to be ASCII with the settings.
fn signs(options: &CsvOptions) -> (u8, u8) {
    let byte = |sign: char| u8::try_from(sign).unwrap_or(b',');
    (byte(options.delimiter), byte(options.quote))
}

fn builder(options: &CsvOptions) -> ReaderBuilder {
    let (delimiter, quote) = signs(options);
    let mut builder = ReaderBuilder::new();
    builder
        .delimiter(delimiter)
        .quote(quote)
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES);
    builder
}

/// The column names: those of the settings, or the file's first row.
pub(super) fn columns(content: impl Read, options: &CsvOptions, file: &str) -> Result<Vec<String>> {
    if let Some(columns) = &options.columns {
        return Ok(columns.clone());
    }
    let mut row = ByteRecord::new();
    builder(options)
        .from_reader(content.take(sink::RECORD_BYTES_MAX as u64))
        .read_byte_record(&mut row)
        .map_err(|error| broken(error, file))?;
    names(&row, file)
}

fn names(header: &ByteRecord, file: &str) -> Result<Vec<String>> {
    let mut columns: Vec<String> = Vec::with_capacity(header.len());
    for (index, name) in header.iter().enumerate() {
        let name = std::str::from_utf8(name).map_err(|error| {
            Error::decode(format!("the header of '{file}' is not UTF-8"))
                .with("column", index + 1)
                .caused_by(error)
                .hint("save the file as UTF-8, or name the columns in config.csv.columns")
        })?;
        let name = match name.trim() {
            "" => format!("column_{}", index + 1),
            name => name.to_owned(),
        };
        if columns.contains(&name) {
            return Err(Error::decode(format!("'{file}' has two columns called '{name}'"))
                .hint("rename one in the file, or name the columns in config.csv.columns"));
        }
        columns.push(name);
    }
    Ok(columns)
}

/// Types of the columns by the first `rows_max` rows.
pub(super) fn sample(
    content: impl Read,
    options: &CsvOptions,
    file: &str,
    rows_max: usize,
) -> Result<(Vec<String>, Vec<Guess>)> {
    let mut reader = builder(options).from_reader(content.take(sink::RECORD_BYTES_MAX as u64));
    let mut row = ByteRecord::new();
    let columns = match &options.columns {
        Some(columns) => columns.clone(),
        None => {
            reader
                .read_byte_record(&mut row)
                .map_err(|error| broken(error, file))?;
            names(&row, file)?
        }
    };
    let mut guesses = vec![Guess::default(); columns.len()];
    for _ in 0..rows_max {
        if !reader
            .read_byte_record(&mut row)
            .map_err(|error| broken(error, file))?
        {
            break;
        }
        // What was cut by the limit is no row.
        if reader.position().byte() >= sink::RECORD_BYTES_MAX as u64 {
            break;
        }
        if row.len() == columns.len() && std::str::from_utf8(row.as_slice()).is_ok() {
            for (guess, value) in guesses.iter_mut().zip(row.iter()) {
                guess.see(std::str::from_utf8(value).unwrap_or_default());
            }
        }
    }
    Ok((columns, guesses))
}

/// How rows are turned into records.
pub(super) struct Rows<'a> {
    pub(super) options: &'a CsvOptions,
    pub(super) columns: Vec<String>,
    pub(super) schema: Option<&'a Value>,
    pub(super) cursor: Option<&'a str>,
    pub(super) file: &'a str,
}

pub(super) fn read(content: impl Read, offset: u64, rows: &Rows<'_>, sink: &mut Sink) -> Result<()> {
    let types = types_of(&rows.columns, rows.schema);
    let keys: Vec<Vec<u8>> = rows.columns.iter().map(|column| key(column)).collect();
    let cursor = rows
        .cursor
        .and_then(|cursor| rows.columns.iter().position(|column| column == cursor));
    let tee = Tee {
        inner: content,
        seen: Vec::new(),
        base: 0,
    };
    let (delimiter, quote) = signs(rows.options);
    let mut reader = builder(rows.options).from_reader(tee);
    let mut row = ByteRecord::new();
    let mut skip_header = offset == 0 && rows.options.columns.is_none();
    loop {
        let begin = reader.position().byte();
        let more = match reader.read_byte_record(&mut row) {
            Ok(more) => more,
            Err(_) if reader.get_ref().is_full() => {
                return sink::check_record_size(reader.get_ref().seen.len(), rows.file);
            }
            Err(error) => return Err(broken(error, rows.file)),
        };
        let end = reader.position().byte();
        if !more {
            return sink.finish();
        }
        let raw = reader.get_ref().between(begin, end);
        let misquoted = quoting::misquoted(raw, delimiter, quote);
        if std::mem::take(&mut skip_header) {
            match misquoted {
                Some(misquoted) => return Err(misquoted_header(misquoted, rows.file)),
                None => continue,
            }
        }
        sink::check_record_size(row.as_slice().len(), rows.file)?;
        let start = sink.body().len();
        let is_whole =
            row.len() == keys.len() && std::str::from_utf8(row.as_slice()).is_ok() && misquoted.is_none();
        let found = if is_whole {
            write_row(&row, &keys, &types, cursor, sink.body())
        } else {
            sink.body().extend_from_slice(raw.trim_ascii());
            None
        };
        sink.record(start, found)?;
        reader.get_mut().forget(end);
        if sink.is_full() {
            sink.flush(json!({ "offset": offset + end }))?;
        }
    }
}

fn key(column: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(column.len() + 3);
    write_text(column, &mut key);
    key.push(b':');
    key
}

/// Appends the row as a JSON object; the place of the cursor's value, if it has one.
fn write_row(
    row: &ByteRecord,
    keys: &[Vec<u8>],
    types: &[ColumnType],
    cursor: Option<usize>,
    out: &mut Vec<u8>,
) -> Option<Range<usize>> {
    let mut found = None;
    out.push(b'{');
    for (index, ((value, key), kind)) in row.iter().zip(keys).zip(types).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        let start = out.len();
        // The whole row was seen to be UTF-8, and a field of it can only be cut at a delimiter.
        let value = std::str::from_utf8(value).unwrap_or_default();
        kind.write(value, out);
        if cursor == Some(index) && !value.is_empty() {
            found = Some(start..out.len());
        }
    }
    out.push(b'}');
    found
}

fn misquoted_header(misquoted: Misquoted, file: &str) -> Error {
    Error::decode(format!("in the header of '{file}' {}", misquoted.message())).hint(
        "mend the file's first line, or name the columns in config.csv.columns; \
         where quotes mean nothing, set config.csv.quote to a character that never occurs",
    )
}

fn broken(error: csv::Error, file: &str) -> Error {
    Error::decode(format!("'{file}' cannot be read as CSV"))
        .caused_by(error)
        .hint("check config.csv.delimiter and quote, and that the file is complete")
}
