//! A manifest's decoders, onto the engine's own formats.

use bytes::Bytes;
use serde_json::{Map, Value};
use weir_protocol::spec::{Decode, DecodeFormat, Encoding};
use weir_protocol::{Error, Result};

use super::super::node::Node;
use super::{csv, rows};
use crate::decode::{Decoded, Encoded, decode};
use crate::extract::{Path, find};
use crate::http::Answer;

#[derive(Debug, Clone)]
pub(crate) enum Decoder {
    /// One of the engine's own.
    Engine(Box<Decode>),
    Csv {
        compression: Encoding,
        options: csv::Options,
    },
    /// Each line as `{"record": line}`.
    Lines,
    /// The elements of one list within a document.
    Items(Path),
    /// A file of rows that is unpacked by what it is.
    Rows { keeps_words: bool },
}

impl Decoder {
    pub(crate) fn new(node: Option<&Node<'_>>) -> Result<Self> {
        match node {
            None => Ok(Self::of(DecodeFormat::Json, Encoding::None)),
            Some(node) => Self::within(node, Encoding::None),
        }
    }

    fn of(format: DecodeFormat, compression: Encoding) -> Self {
        Self::Engine(Box::new(Decode {
            format,
            compression,
            ..Decode::default()
        }))
    }

    fn within(node: &Node<'_>, compression: Encoding) -> Result<Self> {
        let nested = |compression| match node.get("decoder").or_else(|| node.get("parser")) {
            Some(inner) => Self::within(&inner, compression),
            None => Ok(Self::of(DecodeFormat::Json, compression)),
        };
        Ok(match node.kind() {
            "JsonDecoder" | "JsonParser" => Self::of(DecodeFormat::Json, compression),
            "JsonlDecoder" | "JsonLineParser" => Self::of(DecodeFormat::Jsonl, compression),
            "XmlDecoder" => Self::of(DecodeFormat::Xml, compression),
            "CsvDecoder" | "CsvParser" => Self::Csv {
                compression,
                options: csv::Options::new(node)?,
            },
            "IterableDecoder" => Self::Lines,
            "JsonItemsDecoder" => Self::Items(Path::parse(node.str("items_path").unwrap_or_default())?),
            "GzipDecoder" | "GzipParser" => nested(Encoding::Gzip)?,
            "ZipfileDecoder" => nested(Encoding::Zip)?,
            "CompositeRawDecoder" => nested(compression)?,
            _ => return Err(node.unknown("a decoder")),
        })
    }

    /// Whether an answer is one document that a paginator can look into.
    pub(crate) fn is_document(&self) -> bool {
        matches!(self, Self::Engine(spec) if matches!(spec.format, DecodeFormat::Json | DecodeFormat::Xml))
    }

    /// Whether the reference reads an answer only once with it.
    pub(crate) fn is_streamed(&self) -> bool {
        match self {
            Self::Engine(spec) => spec.format == DecodeFormat::Jsonl || spec.compression == Encoding::Gzip,
            Self::Csv { compression, .. } => *compression != Encoding::Zip,
            Self::Lines | Self::Items(_) | Self::Rows { .. } => true,
        }
    }

    pub(crate) fn decode(&self, answer: &Answer, bytes_max: u64) -> Result<Vec<Decoded>> {
        let encoded = |body| Encoded {
            body,
            content_type: answer.header("content-type"),
            bytes_max,
        };
        match self {
            Self::Engine(spec) => {
                // An empty answer is an empty document, as in the reference.
                if answer.body.trim_ascii().is_empty() && spec.compression == Encoding::None {
                    return Ok(vec![Decoded::Document(Bytes::from_static(b"{}"))]);
                }
                decode(spec, encoded(&answer.body))
            }
            Self::Csv { compression, options } => {
                // Unpacked as text of lines first, so that one place knows archives.
                let parts = crate::decode::unpack(*compression, &answer.body, bytes_max)?;
                parts.iter().map(|part| csv::decode(part, options)).collect()
            }
            Self::Lines => Ok(vec![lines(&answer.body)?]),
            Self::Items(path) => items(&answer.body, path),
            Self::Rows { keeps_words } => rows::decode(&answer.body, *keeps_words, bytes_max),
        }
    }

    /// The answer as one value; a list's first element stands for it.
    pub(crate) fn first_value(&self, answer: &Answer, bytes_max: u64) -> Result<Value> {
        let parts = self.decode(answer, bytes_max)?;
        let text = parts.first().and_then(|part| match part {
            Decoded::Document(body) => Some(body.clone()),
            Decoded::Lines(body, lines) => lines
                .first()
                .map(|line| body.slice(line.start as usize..line.end as usize)),
        });
        let Some(text) = text else {
            return Ok(Value::Object(Map::new()));
        };
        let value: Value = serde_json::from_slice(&text).map_err(|error| {
            Error::decode("the answer is not valid JSON")
                .caused_by(error)
                .hint("check that the URL answers JSON, and the manifest's decoder")
        })?;
        Ok(match value {
            Value::Array(items) => items
                .into_iter()
                .next()
                .unwrap_or_else(|| Value::Object(Map::new())),
            other => other,
        })
    }
}

fn lines(body: &Bytes) -> Result<Decoded> {
    let mut out = Vec::with_capacity(body.len() * 2);
    let mut spans = Vec::new();
    for line in String::from_utf8_lossy(body).lines() {
        let start = offset(out.len())?;
        let mut record = Map::new();
        record.insert("record".to_owned(), Value::from(line));
        serde_json::to_writer(&mut out, &record).map_err(|error| {
            Error::internal("a line cannot be written")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?;
        spans.push(start..offset(out.len())?);
    }
    Ok(Decoded::Lines(out.into(), spans))
}

fn items(body: &Bytes, path: &Path) -> Result<Vec<Decoded>> {
    let found = find(body, &(0..body.len()), path)?;
    Ok(found
        .map(|at| Decoded::Document(body.slice(at)))
        .into_iter()
        .collect())
}

/// Offsets are 32 bits wide; answers are refused long before.
pub(super) fn offset(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(|_| Error::limit("a page is larger than 4 GiB").hint("ask for smaller pages"))
}
