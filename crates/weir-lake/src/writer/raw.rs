//! The Bronze and quarantine stages of a stream's writer.

use bytes::Bytes;
use weir_protocol::{Batch, Error, Record, Result, WritePlan};

use crate::bronze::BronzeWriter;
use crate::failpoint;
use crate::lake::Lake;
use crate::quarantine::QuarantineWriter;
use crate::typed::{Redactor, Rejected};

/// Keeps records as received, without the fields that must not be stored at all.
pub(super) struct Raw {
    writer: BronzeWriter,
    redactor: Option<Redactor>,
    /// The cursor itself is such a field.
    drops_cursor: bool,
    bytes: u64,
    /// Something was taken since the last flush.
    dirty: bool,
}

/// Keeps what did not fit.
pub(super) struct Held {
    writer: QuarantineWriter,
    dirty: bool,
}

impl Raw {
    pub(super) fn new(lake: &Lake, plan: &WritePlan, committed: u64) -> Result<Self> {
        let redactor = Redactor::new(&plan.stream.policy.pii)?;
        let cursor = plan.stream.cursor_field.as_deref();
        Ok(Self {
            drops_cursor: redactor
                .as_ref()
                .zip(cursor)
                .is_some_and(|(redactor, path)| redactor.drops(path)),
            redactor,
            writer: BronzeWriter::new(lake.storage.clone(), plan, committed + 1)?,
            bytes: 0,
            dirty: false,
        })
    }

    /// `unreadable`: places of records that are no JSON.
    pub(super) async fn write(&mut self, batch: &Batch, unreadable: &[usize]) -> Result<()> {
        failpoint::reach("lake.before_bronze")?;
        self.dirty |= !batch.records.is_empty();
        match &mut self.redactor {
            Some(redactor) => {
                let batch = redacted(batch, redactor, self.drops_cursor)?;
                self.writer.write(&batch, unreadable).await
            }
            None => self.writer.write(batch, unreadable).await,
        }
    }

    /// Makes all of it durable; answers with the compressed bytes since the last time.
    pub(super) async fn flush(&mut self, next: u64) -> Result<u64> {
        let all = self.writer.flush(next).await?;
        if std::mem::take(&mut self.dirty) {
            failpoint::reach("lake.after_bronze")?;
        }
        let new = all - self.bytes;
        self.bytes = all;
        Ok(new)
    }
}

impl Held {
    pub(super) fn new(lake: &Lake, plan: &WritePlan, committed: u64) -> Self {
        Self {
            writer: QuarantineWriter::new(lake.storage.clone(), plan, plan.run.clone(), committed + 1),
            dirty: false,
        }
    }

    pub(super) async fn push(&mut self, rejected: &[Rejected]) -> Result<()> {
        self.dirty |= !rejected.is_empty();
        self.writer.push(rejected).await
    }

    pub(super) async fn flush(&mut self, next: u64) -> Result<()> {
        let dirty = std::mem::take(&mut self.dirty);
        if dirty {
            failpoint::reach("lake.before_quarantine")?;
        }
        self.writer.flush(next).await?;
        if dirty {
            failpoint::reach("lake.after_quarantine")?;
        }
        Ok(())
    }
}

fn redacted(batch: &Batch, redactor: &mut Redactor, drops_cursor: bool) -> Result<Batch> {
    let mut body = Vec::with_capacity(batch.body.len());
    let mut records = Vec::with_capacity(batch.records.len());
    for record in &batch.records {
        let raw = redactor.record(Bytes::copy_from_slice(batch.json(record)));
        let start = offset(body.len())?;
        body.extend_from_slice(&raw);
        let cursor = batch.cursor(record).filter(|_| !drops_cursor);
        let cursor_start = offset(body.len())?;
        body.extend_from_slice(cursor.unwrap_or_default());
        records.push(Record {
            start,
            len: offset(raw.len())?,
            cursor_start,
            cursor_len: offset(cursor.map_or(0, <[u8]>::len))?,
        });
    }
    Ok(Batch {
        body: body.into(),
        records,
        ..batch.clone()
    })
}

fn offset(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(|error| {
        Error::limit("a page without its dropped fields exceeds 4 GiB")
            .hint("ask the source for smaller pages")
            .caused_by(error)
    })
}
