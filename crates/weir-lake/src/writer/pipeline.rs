//! The stages between an accepted batch and the checkpoint, each at work at the same time:
//!
//! ```text
//! write ─► typing (JSON to Arrow) ─┬─► bronze (raw bytes to objects)
//!                                  └─► gathering (Parquet files, or memory and spill)
//! ```
//!
//! Bronze comes after typing since that has parsed every record, and knows which are JSON.
//!
//! Channels between them hold few batches, so that a slow stage pushes back to the source.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use weir_protocol::{Batch, Error, Result, SchemaChange};

use super::gathered::Gathered;
use super::raw::{Held, Raw};
use super::shape::Shape;
use crate::typed::{Decoded, Inexact, Typer};

/// A batch of no more bytes is typed where the task runs; a larger one on a thread of its own, so that
/// it holds nobody up.
const INLINE_BYTES_MAX: usize = 512 << 10;
/// What passes the stages at once of a larger batch.
const PART_BYTES_MAX: usize = 8 << 20;
const PART_RECORDS_MAX: usize = 50_000;
/// Batches that may wait between two stages.
const WAITING_BATCHES_MAX: usize = 2;

/// Everything since the last checkpoint, durable but for the commit.
pub(super) struct Flushed {
    pub(super) rows: Gathered,
    /// Data and lineage columns as they are now.
    pub(super) schema: SchemaRef,
    pub(super) changes: Vec<SchemaChange>,
    /// Columns that no record since the start had.
    pub(super) vanished: Vec<SchemaChange>,
    /// Long columns that are not widened, of the table and of what was typed.
    pub(super) inexact: Inexact,
    pub(super) quarantined: u64,
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) bronze_bytes: u64,
}

enum ToBronze {
    /// With the places of the records that are no JSON.
    Batch(Arc<Batch>, Vec<usize>),
    Flush(u64, oneshot::Sender<u64>),
}

enum ToTyping {
    Batch(Batch),
    /// The sender is for the bytes that Bronze put.
    Flush(Box<Turn>, oneshot::Sender<u64>),
}

enum ToGathering {
    Typed(Box<Decoded>),
    Flush(Box<Turn>, SchemaRef, Vec<SchemaChange>, Inexact),
}

/// A checkpoint passes the stages.
struct Turn {
    /// Rows from here on are gathered in this.
    next: Gathered,
    /// Number of the next checkpoint.
    sequence: u64,
    reply: oneshot::Sender<Flushed>,
}

pub(super) struct Pipeline {
    typing: mpsc::Sender<ToTyping>,
    stages: Vec<JoinHandle<Result<()>>>,
}

impl Pipeline {
    pub(super) fn start(typer: Typer, shape: Shape, rows: Gathered, raw: Raw, held: Held) -> Self {
        let (bronze, raw_rx) = mpsc::channel(WAITING_BATCHES_MAX);
        let (typing, typing_rx) = mpsc::channel(WAITING_BATCHES_MAX);
        let (gathering, gathering_rx) = mpsc::channel(WAITING_BATCHES_MAX);
        let stages = vec![
            tokio::spawn(type_batches(typer, typing_rx, bronze, gathering)),
            tokio::spawn(gather(shape, rows, held, gathering_rx)),
            tokio::spawn(keep_raw(raw, raw_rx)),
        ];
        Self { typing, stages }
    }

    pub(super) async fn write(&mut self, batch: Batch) -> Result<()> {
        if self.typing.send(ToTyping::Batch(batch)).await.is_err() {
            return Err(self.failure().await);
        }
        Ok(())
    }

    /// Waits until all accepted batches have passed the stages. `sequence` is the number of the
    /// checkpoint after this one.
    pub(super) async fn flush(&mut self, next: Gathered, sequence: u64) -> Result<Flushed> {
        let (raw_reply, raw_done) = oneshot::channel();
        let (reply, done) = oneshot::channel();
        let turn = Turn {
            next,
            sequence,
            reply,
        };
        let turn = ToTyping::Flush(Box::new(turn), raw_reply);
        if self.typing.send(turn).await.is_err() {
            return Err(self.failure().await);
        }
        let (bronze_bytes, flushed) = tokio::join!(raw_done, done);
        let (Ok(bronze_bytes), Ok(mut flushed)) = (bronze_bytes, flushed) else {
            return Err(self.failure().await);
        };
        flushed.bronze_bytes = bronze_bytes;
        Ok(flushed)
    }

    /// Why a stage stopped.
    async fn failure(&mut self) -> Error {
        // Closing the entry ends the stages that still run.
        self.typing = mpsc::channel(1).0;
        for stage in self.stages.drain(..) {
            match stage.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(error) => {
                    return Error::internal("a stage of the writer broke off")
                        .hint("report this defect with the run's log")
                        .caused_by(error);
                }
            }
        }
        Error::internal("the writer has stopped already")
            .hint("sync again: it goes on from the last checkpoint")
    }
}

async fn type_batches(
    mut typer: Typer,
    mut batches: mpsc::Receiver<ToTyping>,
    bronze: mpsc::Sender<ToBronze>,
    next: mpsc::Sender<ToGathering>,
) -> Result<()> {
    while let Some(message) = batches.recv().await {
        let batch = match message {
            ToTyping::Batch(batch) => batch,
            ToTyping::Flush(turn, raw_reply) => {
                let raw = ToBronze::Flush(turn.sequence, raw_reply);
                let typed = ToGathering::Flush(turn, typer.row_schema(), typer.vanished(), typer.inexact());
                if bronze.send(raw).await.is_err() || next.send(typed).await.is_err() {
                    // The next stage stopped, and says why itself.
                    return Ok(());
                }
                continue;
            }
        };
        let parts = batch.parts(PART_BYTES_MAX, PART_RECORDS_MAX);
        let page = Arc::new(batch);
        let parts = match parts.is_empty() {
            true => vec![Arc::clone(&page)],
            false => parts.into_iter().map(Arc::new).collect(),
        };
        for part in parts {
            let (back, mut decoded) = decode(typer, Arc::clone(&part), Arc::clone(&page)).await?;
            typer = back;
            let unreadable = std::mem::take(&mut decoded.unreadable);
            let typed = ToGathering::Typed(Box::new(decoded));
            if bronze.send(ToBronze::Batch(part, unreadable)).await.is_err()
                || next.send(typed).await.is_err()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Types a part of a page, or all of it, by what the whole page says about the schema.
async fn decode(mut typer: Typer, part: Arc<Batch>, page: Arc<Batch>) -> Result<(Typer, Decoded)> {
    let is_small = part.body.len() <= INLINE_BYTES_MAX;
    let work = move || {
        let decoded = typer.decode_part(&part, &page)?;
        Ok((typer, decoded))
    };
    if is_small {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::internal("the typing of a page broke off")
            .hint("report this defect with the run's log")
            .caused_by(error)
    })?
}

async fn gather(
    shape: Shape,
    mut rows: Gathered,
    mut held: Held,
    mut typed: mpsc::Receiver<ToGathering>,
) -> Result<()> {
    let mut changes = Vec::new();
    let mut quarantined = 0;
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(message) = typed.recv().await {
        match message {
            ToGathering::Typed(decoded) => {
                for rejected in &decoded.quarantined {
                    quarantined += 1;
                    *reasons.entry(rejected.reason.clone()).or_default() += 1;
                }
                held.push(&decoded.quarantined).await?;
                changes.extend(decoded.changes);
                rows.push(shape.rows(decoded.rows)?).await?;
            }
            ToGathering::Flush(turn, schema, vanished, inexact) => {
                held.flush(turn.sequence).await?;
                let flushed = Flushed {
                    rows: std::mem::replace(&mut rows, turn.next),
                    schema,
                    changes: std::mem::take(&mut changes),
                    vanished,
                    inexact,
                    quarantined: std::mem::take(&mut quarantined),
                    reasons: std::mem::take(&mut reasons),
                    bronze_bytes: 0,
                };
                if turn.reply.send(flushed).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

async fn keep_raw(mut raw: Raw, mut batches: mpsc::Receiver<ToBronze>) -> Result<()> {
    while let Some(message) = batches.recv().await {
        match message {
            ToBronze::Batch(batch, unreadable) => raw.write(&batch, &unreadable).await?,
            ToBronze::Flush(sequence, reply) => {
                let bytes = raw.flush(sequence).await?;
                if reply.send(bytes).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
