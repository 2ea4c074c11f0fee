//! CSV as the reference reads it: short rows end in nulls, long ones in a list without name.

use ::csv::{ByteRecord, ReaderBuilder};
use bytes::Bytes;
use encoding_rs::Encoding;
use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::super::node::Node;
use super::super::template::py_text;
use super::decode::offset;
use crate::decode::Decoded;

#[derive(Debug, Clone)]
pub(crate) struct Options {
    delimiter: u8,
    encoding: Option<&'static Encoding>,
    nulls: Vec<String>,
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
        let encoding = match node.str("encoding") {
            None | Some("utf-8" | "utf8" | "UTF-8") => None,
            Some(name) => Some(
                Encoding::for_label(name.as_bytes())
                    .ok_or_else(|| node.error(format!("the encoding '{name}' is not known")))?,
            ),
        };
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
    let text = match options.encoding {
        Some(encoding) => encoding.decode(body).0,
        None => encoding_rs::UTF_8.decode(body).0,
    };
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
    while reader.read_byte_record(&mut row).map_err(failed)? {
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
