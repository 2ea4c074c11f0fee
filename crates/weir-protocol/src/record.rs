//! Records on their way to the lake: slices of the page they came in, never a tree of values.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

/// Where one record lies in its batch's `body`, and its cursor value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Byte offset of the record's JSON text in `body`.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
    /// Byte offset of the raw JSON of the cursor's value in `body`; meaningless when `cursor_len` is 0.
    pub cursor_start: u32,
    /// Length in bytes; 0 when the stream has no cursor or the record lacks it.
    pub cursor_len: u32,
}

/// The records of (at most) one page of one slice.
///
/// A page larger than 4 GiB cannot be expressed; sources refuse such answers long before.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The slice these records belong to, as in [`crate::StreamState::slices`].
    pub slice: Arc<str>,
    /// Bytes as received (or as rewritten by the stream's transforms). Each record in it is one JSON text.
    pub body: Bytes,
    pub records: Vec<Record>,
    /// Records of the same page that a filter or client-side incremental reading left out.
    pub filtered: u64,
    /// Records of the same page that were already acknowledged at the cursor's edge by an earlier read.
    pub deduplicated: u64,
    /// When the answer was received.
    pub emitted_at: Timestamp,
}

impl Batch {
    /// The JSON text of a record, exactly as received.
    pub fn json(&self, record: &Record) -> &[u8] {
        let start = record.start as usize;
        &self.body[start..start + record.len as usize]
    }

    /// The raw JSON of the record's cursor value.
    pub fn cursor(&self, record: &Record) -> Option<&[u8]> {
        let start = record.cursor_start as usize;
        (record.cursor_len > 0).then(|| &self.body[start..start + record.cursor_len as usize])
    }

    /// How many records the source's answer held: those here and those left out.
    pub fn read(&self) -> u64 {
        self.records.len() as u64 + self.filtered + self.deduplicated
    }
}
