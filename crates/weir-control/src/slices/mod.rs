//! Slices of one stream on several workers: who holds the stream offers them, others read and keep what
//! they read in a spool, and the holder alone takes it in
//! (`docs/decisions/20261122-slices-on-several-workers.md`).

mod help;
mod shares;
mod sql;
mod supply;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use weir_protocol::Result;
use weir_protocol::slices::{SliceTask, SpoolPlace};

use crate::Store;
use crate::leases::{self, Lease};
use crate::runs::queue::Claimed;
use crate::store::Scope;

pub(crate) use help::help;
pub use help::{Helper, Tools};
pub use shares::Sharing;
pub(crate) use shares::{Shares, may_share};
pub use supply::{SliceSupply, StoreSlices};

/// Slices that one call takes at most.
pub const SLICES_MAX: usize = 64;

/// What the holder of a stream asks about the slices that others may read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SliceAsk {
    /// Said again, it changes nothing.
    Offer {
        id: String,
        task: SliceTask,
        /// Workers that may help the run at once.
        helpers_max: u32,
    },
    /// Takes a slice out, unless somebody is at it.
    TakeBack { id: String },
    /// Takes a slice out, wherever it is.
    Forget { id: String },
    /// How those stand that this run offers under this term.
    Look,
    /// Takes out all of the stream, of whichever run.
    Clear,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceAnswer {
    /// Whether a slice is the holder's own again.
    pub is_taken: bool,
    /// Those on offer, where that was asked.
    pub offered: Vec<Offered>,
}

/// How a slice on offer stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    pub id: String,
    pub at: At,
    pub attempt: i64,
    /// Read so far in this attempt.
    pub pages: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Nobody is at it; whoever was there let it expire.
    Queued,
    Claimed,
    Done,
    Failed,
}

/// What a sync asks about its slices. Whoever lost the lease is refused.
#[async_trait]
pub trait SliceLedger: Send + Sync {
    async fn slices(&self, lease: &Lease, ask: &SliceAsk) -> Result<SliceAnswer>;
}

#[async_trait]
impl SliceLedger for Store {
    async fn slices(&self, lease: &Lease, ask: &SliceAsk) -> Result<SliceAnswer> {
        if *ask == SliceAsk::Look {
            // What is not this term's is not among them.
            let offered = self.read(lease.scope(), "look at the slices", |db, _| {
                Box::pin(async move { Ok(sql::offered(db, lease).await?) })
            });
            return Ok(SliceAnswer {
                is_taken: false,
                offered: offered.await?,
            });
        }
        let is_taken = self.write(lease.scope(), "write about slices", |db, _| {
            Box::pin(async move {
                leases::fence(db, lease).await?;
                Ok(match ask {
                    SliceAsk::Offer {
                        id,
                        task,
                        helpers_max,
                    } => {
                        sql::offer(db, lease, id, task, *helpers_max).await?;
                        false
                    }
                    SliceAsk::TakeBack { id } => sql::take_back(db, lease, id).await?,
                    SliceAsk::Forget { id } => sql::forget(db, lease, id).await?,
                    SliceAsk::Clear => {
                        sql::clear(db, lease).await?;
                        false
                    }
                    SliceAsk::Look => false,
                })
            })
        });
        Ok(SliceAnswer {
            is_taken: is_taken.await?,
            offered: Vec::new(),
        })
    }
}

/// A slice that a worker reads for the run of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimedSlice {
    pub id: String,
    /// The run that it is read for, which is another worker's.
    pub run: Claimed,
    pub stream: String,
    pub term: i64,
    pub attempt: i64,
    pub task: SliceTask,
}

impl ClaimedSlice {
    pub(crate) fn place(&self) -> SpoolPlace {
        SpoolPlace {
            connection: self.run.connection.clone(),
            stream: self.stream.clone(),
            run: self.run.run.clone(),
            term: self.term,
            slice: self.id.clone(),
            attempt: self.attempt,
        }
    }
}

/// One attempt at a slice, as its worker names it, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSlice {
    pub id: String,
    pub attempt: i64,
    pub pages: u64,
}

/// How an attempt at a slice ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SliceEnd {
    /// Its spool is complete.
    Done,
    /// Somebody else may read it.
    GivenBack,
    /// Whoever holds the stream has to read it.
    Failed(String),
}

/// Takes slices that wait, `slices_max` at most: of one run that the worker helps already, or of any that
/// is not its own, one run at a time. Of one tenant, or of all.
pub async fn claim(
    store: &Store,
    worker: &str,
    tenant: Option<&str>,
    run: Option<&str>,
    slices_max: usize,
) -> Result<Vec<ClaimedSlice>> {
    let waiting = store
        .read(Scope::Everyone, "look for slices", |db, _| {
            Box::pin(async move { Ok(sql::is_waiting(db, worker, tenant, run).await?) })
        })
        .await?;
    if !waiting {
        return Ok(Vec::new());
    }
    // Whoever joins a first one may take more with the next call.
    let most = match run {
        Some(_) => slices_max.min(SLICES_MAX),
        None => slices_max.min(1),
    };
    store
        .write_alone(Scope::Everyone, "slices", "claim slices", |db, _| {
            Box::pin(async move { Ok(sql::claim(db, worker, tenant, run, most).await?) })
        })
        .await
}

/// Renews a worker's right to slices; what is not in the answer was taken away.
pub async fn renew(store: &Store, worker: &str, held: &[HeldSlice]) -> Result<Vec<String>> {
    store
        .write(Scope::Everyone, "renew the worker's slices", |db, _| {
            Box::pin(async move {
                let mut kept = Vec::with_capacity(held.len());
                for slice in held {
                    if sql::renew(db, worker, slice).await? {
                        kept.push(slice.id.clone());
                    }
                }
                Ok(kept)
            })
        })
        .await
}

/// Ends an attempt. Said by whoever has lost the slice, it changes nothing.
pub async fn report(store: &Store, worker: &str, (id, attempt): (&str, i64), end: &SliceEnd) -> Result<()> {
    store
        .statement(Scope::Everyone, "end the slice", |db, _| {
            Box::pin(async move { Ok(sql::report(db, worker, (id, attempt), end).await?) })
        })
        .await
}

/// The run that a worker reads a slice of at this moment.
pub(crate) async fn helped(store: &Store, tenant: &str, worker: &str, run: &str) -> Result<Option<Claimed>> {
    store
        .read(Scope::Tenant(tenant), "look whom the worker helps", |db, _| {
            Box::pin(async move { Ok(sql::helped(db, (tenant, worker), run).await?) })
        })
        .await
}
