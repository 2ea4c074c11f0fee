//! Writes the records of one stream into objects, one zstd frame each.

use std::io::Write;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use object_store::path::Path;
use weir_protocol::{Batch, Error, Result, WritePlan};
use zstd::stream::write::Encoder;

use super::line::{Held, append_json};
use super::{ObjectName, folder};
use crate::storage::Storage;

/// Bytes of lines in one object, before compression.
const OBJECT_BYTES_MAX: usize = 32 << 20;
/// Fast: storage is cheaper than the time of a sync, and Silver compresses again.
const COMPRESSION_LEVEL: i32 = 1;

pub(crate) struct BronzeWriter {
    storage: Storage,
    folder: Path,
    run: String,
    /// The end of each line's beginning: `","source":"…","stream":"…","cursor":`.
    middle: Vec<u8>,
    sequence: u64,
    part: u32,
    open: Option<OpenObject>,
    line: Vec<u8>,
    bytes_written: u64,
}

struct OpenObject {
    day: String,
    encoder: Encoder<'static, Vec<u8>>,
    raw_bytes: usize,
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
            part: 0,
            open: None,
            line: Vec::new(),
            bytes_written: 0,
        })
    }

    /// Takes a batch; puts an object whenever one is full. `unreadable` are the places, ascending,
    /// of records that a parser refused.
    pub(crate) async fn write(&mut self, batch: &Batch, unreadable: &[usize]) -> Result<()> {
        let day = day_of(batch.emitted_at);
        if self.open.as_ref().is_some_and(|object| object.day != day) {
            self.put().await?;
        }
        let mut start = format!("{{\"emitted_at\":\"{}", batch.emitted_at).into_bytes();
        start.extend_from_slice(&self.middle);
        let mut unreadable = unreadable.iter().peekable();
        for (place, record) in batch.records.iter().enumerate() {
            self.line.clear();
            self.line.extend_from_slice(&start);
            self.line
                .extend_from_slice(batch.cursor(record).unwrap_or(b"null"));
            self.line.push(b',');
            let json = batch.json(record);
            let held = match unreadable.next_if(|refused| **refused == place) {
                None => Held::of_json(json),
                Some(_) => Held::of(json),
            };
            held.append(&mut self.line)?;
            self.line.extend_from_slice(b"}\n");
            if self.append_line(&day)? >= OBJECT_BYTES_MAX {
                self.put().await?;
            }
        }
        Ok(())
    }

    /// Makes everything taken so far durable and gives the compressed bytes put so far; what comes next
    /// belongs to checkpoint `next`.
    pub(crate) async fn flush(&mut self, next: u64) -> Result<u64> {
        self.put().await?;
        if next != self.sequence {
            self.sequence = next;
            self.part = 0;
        }
        Ok(self.bytes_written)
    }

    fn append_line(&mut self, day: &str) -> Result<usize> {
        let object = match &mut self.open {
            Some(object) => object,
            none => none.insert(OpenObject {
                day: day.to_owned(),
                encoder: Encoder::new(Vec::new(), COMPRESSION_LEVEL).map_err(compression)?,
                raw_bytes: 0,
            }),
        };
        object.encoder.write_all(&self.line).map_err(compression)?;
        object.raw_bytes += self.line.len();
        Ok(object.raw_bytes)
    }

    async fn put(&mut self) -> Result<()> {
        let Some(object) = self.open.take() else {
            return Ok(());
        };
        let body = object.encoder.finish().map_err(compression)?;
        let name = ObjectName {
            sequence: self.sequence,
            part: self.part,
            run: self.run.clone(),
        };
        let path = self
            .folder
            .clone()
            .join(format!("dt={}", object.day))
            .join(name.to_string());
        self.bytes_written += body.len() as u64;
        self.storage.put(&path, Bytes::from(body)).await?;
        self.part += 1;
        Ok(())
    }
}

fn day_of(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

fn compression(error: std::io::Error) -> Error {
    Error::internal("cannot compress a Bronze object").caused_by(error)
}
