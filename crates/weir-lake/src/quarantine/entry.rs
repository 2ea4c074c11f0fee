//! One held record.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use weir_protocol::{Error, Result};

use crate::bronze::{Held, RawRecord, present};
use crate::typed::Rejected;

/// A record in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What `weir quarantine release` and `discard` are given.
    pub id: String,
    pub reason: String,
    pub column: Option<String>,
    pub emitted_at: Timestamp,
    /// The checkpoint and run that the record arrived in: where its Bronze line lies.
    pub sequence: u64,
    pub run: String,
    pub slice: Arc<str>,
    /// Raw JSON of the cursor's value.
    pub cursor: Option<Bytes>,
    /// The bytes as received.
    pub record: Bytes,
}

/// Where a record came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) sequence: u64,
    pub(crate) run: &'a str,
}

#[derive(Deserialize)]
struct Line<'a> {
    id: String,
    reason: String,
    #[serde(default)]
    column: Option<String>,
    emitted_at: Timestamp,
    #[serde(default)]
    sequence: Option<u64>,
    run: String,
    slice: Arc<str>,
    #[serde(borrow, default)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    record: Option<&'a RawValue>,
    #[serde(borrow, default)]
    raw: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    raw_base64: Option<Cow<'a, str>>,
}

/// What stands before the record's bytes in a line.
#[derive(serde::Serialize)]
struct Head<'a> {
    id: &'a str,
    reason: &'a str,
    column: Option<&'a str>,
    emitted_at: Timestamp,
    sequence: u64,
    run: &'a str,
    slice: &'a str,
}

/// Appends a line that [`parse`] reads.
pub(super) fn append(out: &mut Vec<u8>, id: &str, origin: Origin<'_>, rejected: &Rejected) -> Result<()> {
    let head = Head {
        id,
        reason: &rejected.reason,
        column: rejected.column.as_deref(),
        emitted_at: rejected.emitted_at,
        sequence: origin.sequence,
        run: origin.run,
        slice: &rejected.slice,
    };
    serde_json::to_writer(&mut *out, &head)
        .map_err(|error| Error::internal("a held record cannot be written").caused_by(error))?;
    out.pop();
    out.extend_from_slice(b",\"cursor\":");
    out.extend_from_slice(rejected.cursor.as_deref().unwrap_or(b"null"));
    out.push(b',');
    Held::of(&rejected.record).append(out)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// `sequence` is that of the object: lines that name none arrived with it.
pub(super) fn parse(line: &[u8], sequence: u64) -> Result<Entry> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
        Error::destination("a line of quarantine is not what weir writes")
            .caused_by(error)
            .hint("the object was changed by hand: restore it from a copy")
    })?;
    let held = RawRecord {
        record: line.record,
        raw: line.raw,
        raw_base64: line.raw_base64,
    };
    Ok(Entry {
        record: Bytes::copy_from_slice(&held.bytes()?),
        cursor: line
            .cursor
            .filter(|raw| raw.get() != "null")
            .map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())),
        id: line.id,
        reason: line.reason,
        column: line.column,
        emitted_at: line.emitted_at,
        sequence: line.sequence.unwrap_or(sequence),
        run: line.run,
        slice: line.slice,
    })
}
