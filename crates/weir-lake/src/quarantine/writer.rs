//! Holds what did not fit, durably, before the checkpoint that it belongs to is committed.

use bytes::Bytes;
use object_store::path::Path;
use weir_protocol::{Error, Result, WritePlan};

use super::{entry, folder};
use crate::bronze::ObjectName;
use crate::storage::Storage;
use crate::typed::Rejected;

/// Bytes of lines in one object, before compression.
const OBJECT_BYTES_MAX: usize = 8 << 20;
const COMPRESSION_LEVEL: i32 = 3;

pub(crate) struct QuarantineWriter {
    storage: Storage,
    folder: Path,
    run: String,
    sequence: u64,
    part: u32,
    lines: Vec<u8>,
    lines_count: u64,
}

impl QuarantineWriter {
    /// `sequence` is that of the checkpoint that the first records belong to.
    pub(crate) fn new(storage: Storage, plan: &WritePlan, sequence: u64) -> Self {
        Self {
            storage,
            folder: folder(&plan.source, &plan.stream.name),
            run: plan.run.clone(),
            sequence,
            part: 0,
            lines: Vec::new(),
            lines_count: 0,
        }
    }

    pub(crate) async fn push(&mut self, rejected: &[Rejected]) -> Result<()> {
        for record in rejected {
            // Short enough to be typed, unique within the stream, and the same when it is written again.
            let id = format!("{}-{}-{}", self.sequence, self.part, self.lines_count);
            entry::append(&mut self.lines, &id, &self.run, record)?;
            self.lines_count += 1;
            if self.lines.len() >= OBJECT_BYTES_MAX {
                self.put().await?;
            }
        }
        Ok(())
    }

    /// Makes everything pushed so far durable; what comes next belongs to checkpoint `next`.
    pub(crate) async fn flush(&mut self, next: u64) -> Result<()> {
        self.put().await?;
        if next != self.sequence {
            self.sequence = next;
            self.part = 0;
        }
        Ok(())
    }

    async fn put(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let body = zstd::bulk::compress(&self.lines, COMPRESSION_LEVEL)
            .map_err(|error| Error::internal("cannot compress held records").caused_by(error))?;
        let name = ObjectName {
            sequence: self.sequence,
            part: self.part,
            run: self.run.clone(),
        };
        let path = self.folder.clone().join(name.to_string());
        self.storage.put(&path, Bytes::from(body)).await?;
        self.part += 1;
        self.lines.clear();
        self.lines_count = 0;
        Ok(())
    }
}
