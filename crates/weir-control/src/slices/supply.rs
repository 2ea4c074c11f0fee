//! Where a worker gets slices from.

use async_trait::async_trait;
use weir_protocol::Result;

use super::{ClaimedSlice, HeldSlice, SliceEnd};
use crate::Store;

/// Slices of other workers' runs, as one worker sees them.
#[async_trait]
pub trait SliceSupply: Send + Sync {
    /// Takes slices that wait, `slices_max` at most, of a run that is helped already or of any.
    async fn claim(&self, run: Option<&str>, slices_max: usize) -> Result<Vec<ClaimedSlice>>;

    /// Renews the right to slices. What is not in the answer was taken away.
    async fn renew(&self, held: &[HeldSlice]) -> Result<Vec<String>>;

    async fn report(&self, id: &str, attempt: i64, end: SliceEnd) -> Result<()>;
}

/// The slices of a store that is at hand.
pub struct StoreSlices {
    store: Store,
    worker: String,
}

impl StoreSlices {
    /// `worker` as it names itself when it takes runs.
    pub fn new(store: Store, worker: String) -> Self {
        Self { store, worker }
    }
}

#[async_trait]
impl SliceSupply for StoreSlices {
    async fn claim(&self, run: Option<&str>, slices_max: usize) -> Result<Vec<ClaimedSlice>> {
        // Slices of a run that is helped already belong to what this worker has.
        if run.is_none() && self.store.fit().is_err() {
            return Ok(Vec::new());
        }
        super::claim(&self.store, &self.worker, None, run, slices_max).await
    }

    async fn renew(&self, held: &[HeldSlice]) -> Result<Vec<String>> {
        super::renew(&self.store, &self.worker, held).await
    }

    async fn report(&self, id: &str, attempt: i64, end: SliceEnd) -> Result<()> {
        super::report(&self.store, &self.worker, (id, attempt), &end).await
    }
}
