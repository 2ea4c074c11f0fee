//! A message as a record. Whatever it looks like, it becomes one: what cannot be read of it is null, and `problem`
//! says so.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use mail_parser::{
    Address, DateTime, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders as _, PartType,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use weir_protocol::{Error, Result};

use super::imap::Facts;

/// Attachments of one message.
const ATTACHMENTS_MAX: usize = 500;
/// Addresses of one header.
const ADDRESSES_MAX: usize = 1_000;

/// Where a message lies, and what the server knows of it.
pub(super) struct Source<'a> {
    pub(super) folder: &'a str,
    pub(super) validity: u32,
    pub(super) facts: &'a Facts,
    /// Only its header was read.
    pub(super) is_partial: bool,
    /// Attachments up to this come with their content.
    pub(super) attachment_bytes_max: u64,
}

#[derive(Serialize)]
struct Record<'a> {
    folder: &'a str,
    uidvalidity: u32,
    uid: u32,
    message_id: Option<String>,
    /// As the sender wrote it; UTC.
    date: Option<String>,
    /// As the server noted it; UTC.
    received_at: Option<String>,
    from: Vec<Person>,
    reply_to: Vec<Person>,
    to: Vec<Person>,
    cc: Vec<Person>,
    bcc: Vec<Person>,
    subject: Option<String>,
    in_reply_to: Option<String>,
    references: Vec<String>,
    text: Option<String>,
    html: Option<String>,
    attachments: Vec<File>,
    flags: &'a [String],
    size: u32,
    is_partial: bool,
    problem: Option<&'static str>,
}

#[derive(Serialize)]
struct Person {
    name: Option<String>,
    address: Option<String>,
}

#[derive(Serialize)]
struct File {
    name: Option<String>,
    content_type: String,
    content_id: Option<String>,
    is_inline: bool,
    size: u64,
    sha256: String,
    base64: Option<String>,
}

/// The record's JSON.
pub(super) fn json(source: &Source<'_>, raw: &[u8]) -> Result<Vec<u8>> {
    // A parser's mistake about one message is no reason to read no other.
    let parsed = catch_unwind(AssertUnwindSafe(|| record(source, raw)));
    let record = parsed.unwrap_or_else(|_| bare(source, Some("the message cannot be parsed")));
    serde_json::to_vec(&record).map_err(|error| {
        Error::internal("a message cannot be written as JSON")
            .caused_by(error)
            .hint("report it")
    })
}

fn bare<'a>(source: &Source<'a>, problem: Option<&'static str>) -> Record<'a> {
    Record {
        folder: source.folder,
        uidvalidity: source.validity,
        uid: source.facts.uid,
        message_id: None,
        date: None,
        received_at: source.facts.received_at.and_then(utc),
        from: Vec::new(),
        reply_to: Vec::new(),
        to: Vec::new(),
        cc: Vec::new(),
        bcc: Vec::new(),
        subject: None,
        in_reply_to: None,
        references: Vec::new(),
        text: None,
        html: None,
        attachments: Vec::new(),
        flags: &source.facts.flags,
        size: source.facts.size,
        is_partial: source.is_partial,
        problem,
    }
}

fn record<'a>(source: &Source<'a>, raw: &[u8]) -> Record<'a> {
    let Some(message) = MessageParser::default().parse(raw) else {
        return bare(source, Some("the message has no headers"));
    };
    let headers = Record {
        message_id: message.message_id().map(str::to_owned),
        date: message.date().and_then(moment),
        from: people(message.from()),
        reply_to: people(message.reply_to()),
        to: people(message.to()),
        cc: people(message.cc()),
        bcc: people(message.bcc()),
        subject: message.subject().map(str::to_owned),
        in_reply_to: ids(message.in_reply_to()).into_iter().next(),
        references: ids(message.references()),
        ..bare(source, None)
    };
    if source.is_partial {
        return headers;
    }
    let is_broken = message.parts.iter().any(|part| part.is_encoding_problem);
    Record {
        text: texts(&message, &message.text_body, |body| match body {
            PartType::Text(text) => Some(text),
            _ => None,
        }),
        html: texts(&message, &message.html_body, |body| match body {
            PartType::Html(text) => Some(text),
            _ => None,
        }),
        attachments: files(source, &message),
        problem: is_broken.then_some("a part is encoded in another way than it says"),
        ..headers
    }
}

/// The bodies of one kind, in their order. What is not of this kind was made from the other.
fn texts<'x>(
    message: &'x Message<'x>,
    places: &[u32],
    pick: impl Fn(&'x PartType<'x>) -> Option<&'x std::borrow::Cow<'x, str>>,
) -> Option<String> {
    let bodies: Vec<&str> = places
        .iter()
        .filter_map(|place| message.parts.get(usize::try_from(*place).ok()?))
        .filter_map(|part| pick(&part.body).map(AsRef::as_ref))
        .collect();
    (!bodies.is_empty()).then(|| bodies.join("\n"))
}

fn files(source: &Source<'_>, message: &Message<'_>) -> Vec<File> {
    message
        .attachments()
        .take(ATTACHMENTS_MAX)
        .map(|part| file(source, part))
        .collect()
}

fn file(source: &Source<'_>, part: &MessagePart<'_>) -> File {
    let bytes = part.contents();
    let size = bytes.len() as u64;
    let digest = Sha256::digest(bytes);
    let kind = part.content_type();
    let content_type = match kind {
        Some(kind) => format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("*")).to_ascii_lowercase(),
        None => "application/octet-stream".to_owned(),
    };
    File {
        name: part.attachment_name().map(str::to_owned),
        content_type,
        content_id: part.content_id().map(str::to_owned),
        is_inline: part
            .content_disposition()
            .is_some_and(mail_parser::ContentType::is_inline),
        size,
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        base64: (size <= source.attachment_bytes_max).then(|| STANDARD.encode(bytes)),
    }
}

fn people(header: Option<&Address<'_>>) -> Vec<Person> {
    let Some(header) = header else {
        return Vec::new();
    };
    header
        .iter()
        .take(ADDRESSES_MAX)
        .map(|found| Person {
            name: found.name.as_deref().map(str::to_owned),
            address: found.address.as_deref().map(str::to_owned),
        })
        .collect()
}

fn ids(header: &HeaderValue<'_>) -> Vec<String> {
    match header {
        HeaderValue::Text(id) => vec![id.to_string()],
        HeaderValue::TextList(ids) => ids.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

/// None where the date is none that there could be.
fn moment(date: &DateTime) -> Option<String> {
    date.is_valid().then(|| utc(date.to_timestamp())).flatten()
}

fn utc(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds)
        .ok()
        .map(|moment| moment.to_string())
}
