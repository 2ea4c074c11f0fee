//! Writes the records of one stream into objects, one zstd frame each.

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use object_store::path::Path;
use weir_protocol::{Batch, Result, WritePlan};

use super::frame::Frame;
use super::line::{Held, append_json};
use super::{ObjectName, Parts, folder};
use crate::failpoint;
use crate::storage::Storage;

/// Bytes of lines in one object, before compression.
const OBJECT_BYTES_MAX: usize = 16 << 20;
/// Lines wait until they are so many bytes, and are compressed together.
const LINES_BYTES_MAX: usize = 512 << 10;
/// What a line has beside its beginning and its record, roughly: the cursor and punctuation.
const LINE_BYTES_MORE: usize = 64;

pub(crate) struct BronzeWriter {
    storage: Storage,
    folder: Path,
    run: String,
    /// The end of each line's beginning: `","source":"…","stream":"…","cursor":`.
    middle: Vec<u8>,
    sequence: u64,
    parts: Parts,
    /// The day of the lines that wait.
    day: String,
    lines: Vec<u8>,
    /// The lines before them of the same object.
    frame: Frame,
    bytes_written: u64,
}

impl BronzeWriter {
    /// `sequence` is that of the checkpoint that the first records belong to.
    pub(crate) fn new(storage: Storage, plan: &WritePlan, sequence: u64) -> Result<Self> {
        let mut middle = b"\",\"source\":".to_vec();
        append_json(&mut middle, &plan.source)?;
        middle.extend_from_slice(b",\"stream\":");
        append_json(&mut middle, &plan.stream.name)?;
        middle.extend_from_slice(b",\"cursor\":");
        Ok(Self {
            storage,
            folder: folder(&plan.source, &plan.stream.name),
            run: plan.run.clone(),
            middle,
            sequence,
            parts: Parts::default(),
            day: String::new(),
            lines: Vec::new(),
            frame: Frame::default(),
            bytes_written: 0,
        })
    }

    /// Takes a batch; puts an object whenever one is full. `unreadable` are the places, ascending,
    /// of records that a parser refused.
    pub(crate) async fn write(&mut self, batch: &Batch, unreadable: &[usize]) -> Result<()> {
        let day = day_of(batch.emitted_at);
        if self.day != day {
            self.put().await?;
            self.day = day;
        }
        let mut start = format!("{{\"emitted_at\":\"{}", batch.emitted_at).into_bytes();
        start.extend_from_slice(&self.middle);
        let records: usize = batch.records.iter().map(|record| record.len as usize).sum();
        let lines = records + batch.records.len() * (start.len() + LINE_BYTES_MORE);
        self.lines.reserve(lines.min(LINES_BYTES_MAX));
        let mut unreadable = unreadable.iter().peekable();
        for (place, record) in batch.records.iter().enumerate() {
            self.lines.extend_from_slice(&start);
            let cursor = batch.cursor(record).unwrap_or(b"null");
            self.lines.extend_from_slice(cursor);
            self.lines.push(b',');
            let json = batch.json(record);
            let held = match unreadable.next_if(|refused| **refused == place) {
                None => Held::of_json(json),
                Some(_) => Held::of(json),
            };
            held.append(&mut self.lines)?;
            self.lines.extend_from_slice(b"}\n");
            if self.lines.len() >= LINES_BYTES_MAX {
                self.frame.write(&mut self.lines)?;
            }
            if self.frame.bytes() >= OBJECT_BYTES_MAX {
                self.put().await?;
            }
        }
        Ok(())
    }

    /// Makes everything taken so far durable and gives the compressed bytes put so far; what comes next
    /// belongs to checkpoint `next`.
    pub(crate) async fn flush(&mut self, next: u64) -> Result<u64> {
        self.put().await?;
        self.parts.turn(&mut self.sequence, next);
        Ok(self.bytes_written)
    }

    async fn put(&mut self) -> Result<()> {
        if self.lines.is_empty() && self.frame.bytes() == 0 {
            return Ok(());
        }
        let body = self.frame.finish(&mut self.lines)?;
        let name = ObjectName {
            sequence: self.sequence,
            part: self.parts.next(),
            run: self.run.clone(),
        };
        let path = self
            .folder
            .clone()
            .join(format!("dt={}", self.day))
            .join(name.to_string());
        self.bytes_written += body.len() as u64;
        self.storage.put(&path, Bytes::from(body)).await?;
        failpoint::reach("lake.in_bronze")?;
        Ok(())
    }
}

fn day_of(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}
