//! Events as bytes: a line of JSON that says what follows, then a batch's own bytes as they came.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{Batch, Error, ReadEvent, Record, Result, SliceState, StateChange};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Head {
    Batch {
        slice: Arc<str>,
        /// Bytes that follow the line.
        bytes: usize,
        /// Start and length of each, then of its cursor.
        records: Vec<[u32; 4]>,
        filtered: u64,
        deduplicated: u64,
        emitted_at: Timestamp,
    },
    Advance {
        key: Arc<str>,
        state: Box<SliceState>,
    },
    Progress(Progress),
    Notice(Notice),
}

pub(super) fn add(frames: &mut Vec<u8>, event: &ReadEvent) -> Result<()> {
    let (head, body) = match event {
        ReadEvent::Batch(batch) => (head_of(batch), &batch.body[..]),
        ReadEvent::Advance(StateChange::Slice { key, state }) => {
            let (key, state) = (key.clone(), Box::new(state.clone()));
            (Head::Advance { key, state }, &[][..])
        }
        ReadEvent::Progress(progress) => (Head::Progress(*progress), &[][..]),
        ReadEvent::Notice(notice) => (Head::Notice(notice.clone()), &[][..]),
        ReadEvent::Advance(StateChange::Complete { .. }) => {
            return Err(Error::internal("a slice cannot complete a stream").hint("report it"));
        }
    };
    serde_json::to_writer(&mut *frames, &head).map_err(|error| {
        Error::internal("an event cannot be written")
            .caused_by(error)
            .hint("report it")
    })?;
    frames.push(b'\n');
    frames.extend_from_slice(body);
    Ok(())
}

fn head_of(batch: &Batch) -> Head {
    let record = |record: &Record| [record.start, record.len, record.cursor_start, record.cursor_len];
    Head::Batch {
        slice: batch.slice.clone(),
        bytes: batch.body.len(),
        records: batch.records.iter().map(record).collect(),
        filtered: batch.filtered,
        deduplicated: batch.deduplicated,
        emitted_at: batch.emitted_at,
    }
}

/// Every event of `frames`; batches share its memory.
pub(super) fn events(frames: &Bytes) -> Result<Vec<ReadEvent>> {
    let mut events = Vec::new();
    let mut at = 0;
    while at < frames.len() {
        let rest = frames.get(at..).unwrap_or_default();
        let line = memchr::memchr(b'\n', rest).ok_or_else(cut_off)?;
        let head = serde_json::from_slice(rest.get(..line).unwrap_or_default())
            .map_err(|error| cut_off().caused_by(error))?;
        at += line + 1;
        events.push(match head {
            Head::Batch {
                slice,
                bytes,
                records,
                filtered,
                deduplicated,
                emitted_at,
            } => {
                let end = at.checked_add(bytes).filter(|end| *end <= frames.len());
                let body = frames.slice(at..end.ok_or_else(cut_off)?);
                at += bytes;
                ReadEvent::Batch(Batch {
                    slice,
                    records: within(&records, body.len())?,
                    body,
                    filtered,
                    deduplicated,
                    emitted_at,
                })
            }
            Head::Advance { key, state } => {
                let state = *state;
                ReadEvent::Advance(StateChange::Slice { key, state })
            }
            Head::Progress(progress) => ReadEvent::Progress(progress),
            Head::Notice(notice) => ReadEvent::Notice(notice),
        });
    }
    Ok(events)
}

/// Records that lie in their batch's bytes.
fn within(records: &[[u32; 4]], bytes: usize) -> Result<Vec<Record>> {
    let lies_within = |start: u32, len: u32| u64::from(start) + u64::from(len) <= bytes as u64;
    records
        .iter()
        .map(|&[start, len, cursor_start, cursor_len]| {
            if !lies_within(start, len) || !lies_within(cursor_start, cursor_len) {
                return Err(cut_off());
            }
            Ok(Record {
                start,
                len,
                cursor_start,
                cursor_len,
            })
        })
        .collect()
}

fn cut_off() -> Error {
    Error::decode("it is cut off, or of another version")
        .hint("use workers of one version of weir, and run again")
}
