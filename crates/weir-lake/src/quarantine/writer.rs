//! Holds what did not fit, durably, before the checkpoint that it belongs to is committed.

use bytes::Bytes;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use weir_protocol::{Error, Result, WritePlan};

use super::entry::{self, Origin};
use super::folder;
use crate::bronze::{ObjectName, Parts};
use crate::storage::Storage;
use crate::typed::Rejected;

/// Bytes of lines in one object, before compression.
const OBJECT_BYTES_MAX: usize = 8 << 20;
const COMPRESSION_LEVEL: i32 = 3;
/// Bytes of the digest that tells held records apart.
const ID_BYTES: usize = 8;

pub(crate) struct QuarantineWriter {
    storage: Storage,
    folder: Path,
    run: String,
    sequence: u64,
    parts: Parts,
    lines: Vec<u8>,
    lines_count: u64,
    /// Objects of the present checkpoint.
    written: Vec<Path>,
}

impl QuarantineWriter {
    /// `sequence` is that of the checkpoint that the first records belong to.
    pub(crate) fn new(storage: Storage, plan: &WritePlan, run: String, sequence: u64) -> Self {
        Self {
            storage,
            folder: folder(&plan.source, &plan.stream.name),
            run,
            sequence,
            parts: Parts::default(),
            lines: Vec::new(),
            lines_count: 0,
            written: Vec::new(),
        }
    }

    pub(crate) async fn push(&mut self, rejected: &[Rejected]) -> Result<()> {
        for record in rejected {
            let id = self.id(record);
            let origin = Origin {
                sequence: self.sequence,
                run: &self.run,
            };
            entry::append(&mut self.lines, &id, origin, record)?;
            self.pushed().await?;
        }
        Ok(())
    }

    /// Holds a record that came in with an earlier checkpoint.
    pub(crate) async fn push_from(&mut self, origin: Origin<'_>, record: &Rejected) -> Result<()> {
        let id = self.id(record);
        entry::append(&mut self.lines, &id, origin, record)?;
        self.pushed().await
    }

    async fn pushed(&mut self) -> Result<()> {
        self.lines_count += 1;
        if self.lines.len() >= OBJECT_BYTES_MAX {
            self.put().await?;
        }
        Ok(())
    }

    /// Short enough to be typed, and the same when the same run writes the record again. The run is
    /// part of it: sequences begin anew with a new table, decisions about an old one's records stay.
    fn id(&self, rejected: &Rejected) -> String {
        let place = format!(
            "{}\n{}\n{}\n{}\n{}\n",
            self.run,
            self.sequence,
            self.parts.put(),
            self.lines_count,
            rejected.emitted_at
        );
        let digest = Sha256::new()
            .chain_update(place)
            .chain_update(&rejected.record)
            .finalize();
        digest.iter().take(ID_BYTES).fold(String::new(), |mut id, byte| {
            id.push_str(&format!("{byte:02x}"));
            id
        })
    }

    /// Makes everything pushed so far durable; what comes next belongs to checkpoint `next`.
    pub(crate) async fn flush(&mut self, next: u64) -> Result<()> {
        self.put().await?;
        if next > self.sequence {
            self.written.clear();
        }
        self.parts.turn(&mut self.sequence, next);
        Ok(())
    }

    /// Removes what was put for the checkpoint that is not to be.
    pub(crate) async fn withdraw(&mut self) -> Result<()> {
        for path in std::mem::take(&mut self.written) {
            self.storage.delete(&path).await?;
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
            part: self.parts.next(),
            run: self.run.clone(),
        };
        let path = self.folder.clone().join(name.to_string());
        self.storage.put(&path, Bytes::from(body)).await?;
        self.written.push(path);
        self.lines.clear();
        self.lines_count = 0;
        Ok(())
    }
}
