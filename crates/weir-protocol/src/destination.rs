//! What every place that records are written to looks like.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::books::Books;
use crate::error::{Error, Result};
use crate::record::Batch;
use crate::source::StreamDescriptor;
use crate::state::StreamState;
use crate::sync_mode::SyncMode;

/// A lake (or its in-memory twin).
#[async_trait]
pub trait Destination: Send + Sync {
    /// Opens a stream for writing and recovers what an interrupted writer left: orphaned objects
    /// are removed, the last committed state is found.
    async fn open(&self, plan: WritePlan) -> Result<Box<dyn StreamWriter>>;
}

/// Writes one stream during one run.
///
/// # Contract
///
/// - `write` accepts; it does not make durable. Back pressure is its waiting.
/// - `checkpoint` makes all accepted batches durable together with `state`, atomically: after a
///   crash either all of it is there or none. What was committed is found again in `committed`.
/// - Batches that were accepted twice (because the source was read again from older state) change
///   nothing where the mode has a key, and land once where the plan's state says they were not committed.
/// - `finish` is a last checkpoint that also publishes what the mode holds back until the end
///   (exchange of a replaced table, marks on vanished keys). It may refuse to publish what would
///   spoil the table; nothing of that read is found in `committed` again.
#[async_trait]
pub trait StreamWriter: Send {
    /// The newest durable checkpoint of this stream, from the lake itself.
    fn committed(&self) -> Option<&Committed>;

    async fn write(&mut self, batch: Batch) -> Result<()>;

    async fn checkpoint(&mut self, state: &StreamState) -> Result<Receipt>;

    async fn finish(self: Box<Self>, state: &StreamState) -> Result<Finished>;
}

/// Which stream is written where and how.
#[derive(Debug, Clone)]
pub struct WritePlan {
    pub run: String,
    pub connection: String,
    /// The source part of table names.
    pub source: String,
    pub stream: StreamDescriptor,
    pub mode: SyncMode,
    /// Start over: forget what an interrupted full refresh left.
    pub restart: bool,
    /// The newest checkpoint that is known to have happened, 0 for none: what lies beyond the table's
    /// own, but not beyond this, is no leftover.
    pub known_sequence: u64,
    /// Bytes this writer may hold in memory.
    pub memory_bytes: u64,
    pub started_at: Timestamp,
}

/// A checkpoint found in the lake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    pub sequence: u64,
    pub run: String,
    pub state: StreamState,
    /// Books of that run and stream up to and including this checkpoint.
    pub books: Books,
}

/// How a run's last checkpoint ended.
#[derive(Debug)]
#[must_use = "what was read may not be published"]
pub struct Finished {
    /// Books of all that was read, published or not.
    pub receipt: Receipt,
    /// Why nothing of it was published: the table is as it was.
    pub refusal: Option<Error>,
}

impl Finished {
    /// The receipt, if what was read is published.
    pub fn published(self) -> Result<Receipt> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(self.receipt),
        }
    }
}

/// Proof that everything up to here is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Number of the stream's checkpoints, counted on across runs.
    pub sequence: u64,
    pub table: String,
    /// Version of the table that holds the data; equal to the one before where nothing changed.
    pub version: i64,
    /// Books of this run and stream up to and including this checkpoint.
    pub books: Books,
    /// Bytes of Bronze (compressed) and Silver files that this run wrote so far.
    pub bronze_bytes: u64,
    pub silver_bytes: u64,
    pub schema_changes: Vec<SchemaChange>,
    /// Up to ten different reasons why records went to quarantine, with counts, most frequent first.
    pub quarantine_reasons: Vec<(String, u64)>,
    /// Child table to rows that this run wrote to it. They are no part of the books.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub child_rows: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    pub column: String,
    pub kind: SchemaChangeKind,
    /// Type before, as the lake writes it; none for a new column.
    pub from: Option<String>,
    pub to: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaChangeKind {
    Added,
    Widened,
    /// Present in the registered schema, absent from a whole read.
    Vanished,
    /// A type that does not fit; the records went to quarantine or the stream stopped.
    Conflict,
}
