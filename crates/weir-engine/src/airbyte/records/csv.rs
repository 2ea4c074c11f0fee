//! CSV as the reference reads it: short rows end in nulls, long ones in a list without name.

use std::borrow::Cow;

use ::csv::{ByteRecord, ReaderBuilder};
use bytes::Bytes;
use encoding_rs::Encoding;
use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::super::node::Node;
use super::super::template::py_text;
use super::decode::offset;
use crate::decode::Decoded;
use crate::decode::csv::refuse_swallowed;

#[derive(Debug, Clone)]
pub(crate) struct Options {
    delimiter: u8,
    encoding: Charset,
    nulls: Vec<String>,
}

/// A text's encoding, by the names that Python knows.
#[derive(Debug, Clone, Copy)]
enum Charset {
    /// A mark at the beginning stays part of the first name.
    Utf8,
    Utf8WithMark,
    /// Each byte is the character of its number.
    Latin1,
    Other(&'static Encoding),
}

impl Charset {
    fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase().replace('_', "-");
        Some(match name.as_str() {
            "utf-8" | "utf8" | "u8" | "utf" => Self::Utf8,
            "utf-8-sig" | "utf8-sig" => Self::Utf8WithMark,
            "latin-1" | "latin1" | "l1" | "latin" | "iso-8859-1" | "iso8859-1" | "8859" | "cp819" => {
                Self::Latin1
            }
            other => {
                let label = match (other.strip_prefix("cp125"), other.strip_prefix("iso8859-")) {
                    (Some(page), _) => format!("windows-125{page}"),
                    (_, Some(part)) => format!("iso-8859-{part}"),
                    _ => other.to_owned(),
                };
                Self::Other(Encoding::for_label(label.as_bytes())?)
            }
        })
    }

    fn read(self, body: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => {
                let text = encoding_rs::UTF_8.decode_without_bom_handling(body).0;
                // The reader takes one mark away.
                if text.starts_with('\u{feff}') {
                    format!("\u{feff}{text}").into()
                } else {
                    text
                }
            }
            Self::Utf8WithMark => encoding_rs::UTF_8.decode_with_bom_removal(body).0,
            Self::Latin1 => body.iter().map(|byte| char::from(*byte)).collect(),
            Self::Other(encoding) => encoding.decode(body).0,
        }
    }
}

impl Options {
    pub(super) fn new(node: &Node<'_>) -> Result<Self> {
        let delimiter = match node.str("delimiter").unwrap_or(",") {
            "\\t" => "\t",
            other => other,
        };
        let [delimiter] = delimiter.as_bytes() else {
            return Err(node.error("the delimiter of CSV must be one ASCII character"));
        };
        let name = node.str("encoding").unwrap_or("utf-8");
        let encoding =
            Charset::named(name).ok_or_else(|| node.error(format!("the encoding '{name}' is not known")))?;
        Ok(Self {
            delimiter: *delimiter,
            encoding,
            nulls: node
                .list("set_values_to_none")
                .iter()
                .map(|value| py_text(value.value))
                .collect(),
        })
    }
}

pub(super) fn decode(body: &Bytes, options: &Options) -> Result<Decoded> {
    let text = options.encoding.read(body);
    let mut reader = ReaderBuilder::new()
        .delimiter(options.delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut row = ByteRecord::new();
    let mut names: Option<Vec<String>> = None;
    let mut out = Vec::with_capacity(text.len() * 2);
    let mut spans = Vec::new();
    let failed = |error: ::csv::Error| {
        Error::decode("CSV cannot be read")
            .caused_by(error)
            .hint("check the delimiter of the CsvDecoder")
    };
    loop {
        let begin = reader.position().clone();
        if !reader.read_byte_record(&mut row).map_err(failed)? {
            break;
        }
        refuse_swallowed(text.as_bytes(), &begin, reader.position(), options.delimiter)?;
        let cells = row.iter().map(|cell| String::from_utf8_lossy(cell).into_owned());
        let Some(names) = &names else {
            names = Some(cells.collect());
            continue;
        };
        let record = record(names, cells.collect(), options);
        let start = offset(out.len())?;
        serde_json::to_writer(&mut out, &record).map_err(|error| {
            Error::internal("a row cannot be written")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?;
        spans.push(start..offset(out.len())?);
    }
    Ok(Decoded::Lines(out.into(), spans))
}

fn record(names: &[String], cells: Vec<String>, options: &Options) -> Map<String, Value> {
    let value = |text: String| {
        if options.nulls.contains(&text) {
            Value::Null
        } else {
            Value::String(text)
        }
    };
    let mut record = Map::new();
    let mut cells = cells.into_iter();
    for name in names {
        record.insert(name.clone(), cells.next().map_or(Value::Null, value));
    }
    let rest: Vec<Value> = cells.map(value).collect();
    if !rest.is_empty() {
        record.insert("null".to_owned(), Value::Array(rest));
    }
    record
}
