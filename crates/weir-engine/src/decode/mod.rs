//! Bytes as received → JSON text. One file a format; JSON passes through without being copied.

mod archive;
mod charset;
pub(crate) mod csv;
mod json;
mod jsonl;
pub(crate) mod quoting;
mod xml;

use std::ops::Range;

use bytes::Bytes;
use weir_protocol::spec::{Decode, DecodeFormat, Encoding};
use weir_protocol::{Error, Result};

/// Bytes of a body that an error shows.
const EXCERPT_BYTES: usize = 200;

/// JSON text made of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// One JSON document; whether it is whole is found by whoever parses it.
    Document(Bytes),
    /// A JSON text per record, each a span of the buffer.
    Lines(Bytes, Vec<Range<u32>>),
}

impl Decoded {
    fn nothing() -> Self {
        Self::Lines(Bytes::new(), Vec::new())
    }
}

/// What is decoded.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    pub body: &'a Bytes,
    /// The answer's Content-Type, where there is one.
    pub content_type: Option<&'a str>,
    /// Most bytes after decompression, archive members together.
    pub bytes_max: u64,
}

/// One part, or one for each member of a zip archive.
pub fn decode(spec: &Decode, encoded: Encoded<'_>) -> Result<Vec<Decoded>> {
    let parts = archive::unpack(spec.compression, encoded.body, encoded.bytes_max)?;
    let mut decoded = Vec::with_capacity(parts.len());
    for part in parts {
        let one = decode_part(spec, &part.bytes, encoded.content_type);
        let one = one.map_err(|error| match &part.member {
            Some(member) => error.with("member", member),
            None => error,
        });
        decoded.push(one?);
    }
    Ok(decoded)
}

/// The parts of a body without its compression: one, or one for each member of a zip archive.
pub(crate) fn unpack(encoding: Encoding, body: &Bytes, bytes_max: u64) -> Result<Vec<Bytes>> {
    let parts = archive::unpack(encoding, body, bytes_max)?;
    Ok(parts.into_iter().map(|part| part.bytes).collect())
}

fn decode_part(spec: &Decode, bytes: &Bytes, content_type: Option<&str>) -> Result<Decoded> {
    let text = charset::to_utf8(bytes, spec.charset.as_deref(), content_type)?;
    match spec.format {
        DecodeFormat::Json => json::decode(text, content_type),
        DecodeFormat::Jsonl => jsonl::decode(text, content_type),
        DecodeFormat::Csv => csv::decode(&text, spec, content_type),
        DecodeFormat::Xml => xml::decode(&text, content_type),
    }
}

/// Says what came instead of the format.
fn not_in_format(format: &str, body: &[u8], content_type: Option<&str>) -> Error {
    let head = body.get(..body.len().min(EXCERPT_BYTES)).unwrap_or_default();
    let words = String::from_utf8_lossy(head);
    let words: Vec<&str> = words.split_whitespace().collect();
    let error = Error::decode(format!("the answer is not {format}"))
        .with("content-type", content_type.unwrap_or("none"))
        .with("begins with", words.join(" "));
    if looks_like_html(body) {
        error.hint("the answer is an HTML page: check base_url and path, and that the credential is right")
    } else {
        error.hint("set 'decode' of the stream to the format that the API answers, or ask for another with an Accept header")
    }
}

fn looks_like_html(body: &[u8]) -> bool {
    let head = body
        .get(..body.len().min(1024))
        .unwrap_or_default()
        .to_ascii_lowercase();
    let head = head.trim_ascii_start();
    head.starts_with(b"<!doctype html")
        || head.starts_with(b"<html")
        || (head.starts_with(b"<") && memchr::memmem::find(head, b"<html").is_some())
}

/// Offsets are 32 bits wide.
fn offset(position: usize) -> Result<u32> {
    u32::try_from(position).map_err(|_| {
        Error::limit("one answer is larger than 4 GiB of JSON")
            .hint("ask for smaller pages or narrower slices")
    })
}

#[cfg(test)]
mod tests;
