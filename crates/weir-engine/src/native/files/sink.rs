//! Collects records into batches of bounded size, and says after each how to read on.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use weir_protocol::source::Progress;
use weir_protocol::{Batch, Error, ReadEvent, Record, Result, SliceState, StateChange};

use crate::clock::Clock;

/// A batch is sent when it holds so many bytes or records.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_RECORDS: usize = 50_000;
/// Largest single record.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 20;

pub(super) type Events = mpsc::Sender<Result<ReadEvent>>;

pub(super) struct Sink {
    out: Events,
    clock: Clock,
    slice: Arc<str>,
    /// The file's version, which becomes the slice's cursor when the file is read to its end.
    version: String,
    body: Vec<u8>,
    records: Vec<Record>,
    progress: Progress,
    remaining: Option<u64>,
    stopped: bool,
}

impl Sink {
    pub(super) fn new(out: Events, clock: Clock, remaining: Option<u64>, files: u64) -> Self {
        Self {
            out,
            clock,
            slice: Arc::from(""),
            version: String::new(),
            body: Vec::new(),
            records: Vec::new(),
            progress: Progress {
                slices_total: files,
                ..Progress::default()
            },
            remaining,
            stopped: false,
        }
    }

    /// Begins the next file.
    pub(super) fn begin(&mut self, slice: Arc<str>, version: &str) {
        self.slice = slice;
        version.clone_into(&mut self.version);
    }

    /// A file that needs no reading.
    pub(super) fn skip(&mut self) {
        self.progress.slices_done += 1;
    }

    /// Where the bytes of the next record are appended.
    pub(super) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.body
    }

    /// Makes what was appended since `start` a record. `cursor` is the place of its cursor's value in the body.
    pub(super) fn record(&mut self, start: usize, cursor: Option<Range<usize>>) -> Result<()> {
        let small = |n: usize| u32::try_from(n).map_err(|_| too_large(n));
        let cursor = cursor.unwrap_or(0..0);
        self.records.push(Record {
            start: small(start)?,
            len: small(self.body.len() - start)?,
            cursor_start: small(cursor.start)?,
            cursor_len: small(cursor.len())?,
        });
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        let wanted = self
            .remaining
            .is_some_and(|left| self.records.len() as u64 >= left);
        wanted || self.body.len() >= BATCH_BYTES || self.records.len() >= BATCH_RECORDS
    }

    /// Sends what there is; `page` leads to what comes next.
    pub(super) fn flush(&mut self, page: Value) -> Result<()> {
        self.send_batch()?;
        self.advance(SliceState {
            page: Some(page),
            // The version that `page` belongs to: another version is read from its beginning.
            pending: Some(Value::String(self.version.clone())),
            ..SliceState::default()
        })
    }

    /// Sends what there is: the file is read to its end.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.send_batch()?;
        self.progress.slices_done += 1;
        self.advance(SliceState {
            cursor: Some(Value::String(self.version.clone())),
            done: true,
            ..SliceState::default()
        })
    }

    /// The read came to its end.
    pub(super) fn complete(&mut self, change: StateChange) -> Result<()> {
        self.send(ReadEvent::Advance(change))
    }

    /// Whether the reader wants no more. The error that ended the reading is no failure then.
    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    fn send_batch(&mut self) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.records);
        let body = Bytes::from(std::mem::take(&mut self.body));
        self.progress.pages += 1;
        self.progress.bytes += body.len() as u64;
        let count = records.len() as u64;
        self.send(ReadEvent::Batch(Batch {
            slice: Arc::clone(&self.slice),
            body,
            records,
            filtered: 0,
            deduplicated: 0,
            emitted_at: self.clock.now(),
        }))?;
        if let Some(left) = &mut self.remaining {
            *left = left.saturating_sub(count);
            if *left == 0 {
                return Err(self.stop());
            }
        }
        Ok(())
    }

    fn advance(&mut self, state: SliceState) -> Result<()> {
        let key = Arc::clone(&self.slice);
        self.send(ReadEvent::Advance(StateChange::Slice { key, state }))?;
        self.send(ReadEvent::Progress(self.progress))
    }

    fn send(&mut self, event: ReadEvent) -> Result<()> {
        if self.out.blocking_send(Ok(event)).is_err() {
            return Err(self.stop());
        }
        Ok(())
    }

    fn stop(&mut self) -> Error {
        self.stopped = true;
        Error::cancelled("nobody reads on")
    }
}

fn too_large(bytes: usize) -> Error {
    Error::limit("a record is too large")
        .with("bytes", bytes)
        .with("bytes_max", RECORD_BYTES_MAX)
        .hint("split the record, or check that the file's format is right")
}

/// Refuses a record before it fills the memory.
pub(super) fn check_record_size(bytes: usize, file: &str) -> Result<()> {
    if bytes > RECORD_BYTES_MAX {
        return Err(too_large(bytes).with("file", file));
    }
    Ok(())
}
