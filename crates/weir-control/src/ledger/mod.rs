//! What a sync asks of the control store and writes into it. The store answers itself where it is at
//! hand; a worker elsewhere asks a server over the RPC (`crate::rpc`). Everything that is written may
//! be written again: whoever did not hear the answer says it once more.

mod store;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use weir_protocol::destination::Committed;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{Error, Receipt, Result, StreamState, SyncMode};

use crate::leases::{self, Lease};
use crate::runs::{Begin, Failure, RunStatus};
use crate::slices::SliceLedger;
use crate::states::StoredState;
use crate::{Connection, Owner};

/// A run that begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    pub connection: Connection,
    pub streams: Vec<(String, SyncMode)>,
    pub begin: Begin,
    pub owner: Owner,
}

/// A run that began: its id, and the leases of its streams in the order that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub run: String,
    pub leases: Vec<Lease>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub tenant: String,
    pub run: String,
    pub status: RunStatus,
    pub error: Option<Failure>,
}

/// The beginning and the end of runs.
#[async_trait]
pub trait RunLedger: Send + Sync {
    /// Takes the leases of all streams, or none.
    async fn begin(&self, beginning: &Beginning) -> Result<Begun>;

    /// Ends a run and gives all its leases back. What was ended before stays as it ended.
    async fn end(&self, ended: &Ended) -> Result<()>;
}

/// What came of renewing a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewed {
    Held {
        /// Somebody wants the run to stop.
        is_cancel_asked: bool,
        /// The store's clock.
        now_ms: i64,
    },
    /// Another run has taken the stream over.
    Lost,
}

impl Renewed {
    /// The store's clock, where the lease is held still.
    pub(crate) fn held(self, lease: &Lease) -> Result<i64> {
        match self {
            Self::Held { now_ms, .. } => Ok(now_ms),
            Self::Lost => Err(leases::lost(lease)),
        }
    }
}

/// Where the store believes a stream to stand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub stored: Option<StoredState>,
    /// How the run of that state read, where it is known.
    pub mode: Option<SyncMode>,
}

/// One thing that is written down under a lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The stream steps to another status.
    Status {
        /// The source part of table names.
        source: String,
        mode: SyncMode,
        to: RunStatus,
        error: Option<Failure>,
    },
    Checkpoint(Box<Checkpoint>),
    /// The lake refused to publish what was read: its books are kept, its state is not.
    Refused {
        receipt: Box<Receipt>,
        progress: Progress,
    },
    /// Where the lake stands, if that is elsewhere than the store knew.
    Recovered(Option<Box<Committed>>),
    Notice(Notice),
    /// A full read was asked for, and begins.
    FullAsked,
    FullDone,
    /// The lease is given back.
    Release,
}

/// What one checkpoint left behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub receipt: Receipt,
    pub state: StreamState,
    pub mode: SyncMode,
    pub progress: Progress,
}

/// What is asked and written while a stream's lease is held. Whoever lost it can write nothing.
#[async_trait]
pub trait StreamLedger: Send + Sync {
    async fn renew(&self, lease: &Lease) -> Result<Renewed>;

    async fn standing(&self, lease: &Lease) -> Result<Standing>;

    /// How a run of the same tenant read the lease's stream, where it is known.
    async fn mode_of(&self, lease: &Lease, run: &str) -> Result<Option<SyncMode>>;

    async fn write(&self, lease: &Lease, entry: &Entry) -> Result<()>;
}

/// All that a sync needs.
pub trait Ledger: RunLedger + StreamLedger + SliceLedger {}

impl<L: RunLedger + StreamLedger + SliceLedger> Ledger for L {}

pub type SharedLedger = Arc<dyn Ledger>;

/// An error as it is written down.
pub(crate) fn failure(error: Option<&Error>) -> Option<Failure> {
    error.map(Failure::from)
}
