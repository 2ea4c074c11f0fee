//! Where a worker gets its runs from.

use async_trait::async_trait;
use uuid::Uuid;
use weir_protocol::{Error, Result};

use crate::runs::queue::{self, Claimed, Held};
use crate::workers::{self, Identity};
use crate::{DEFAULT_TENANT, Owner, Store};

/// The queue as one worker sees it.
#[async_trait]
pub trait RunSupply: Send + Sync {
    /// Takes runs that wait, `runs_max` at most.
    async fn claim(&self, runs_max: usize) -> Result<Vec<Claimed>>;

    /// Renews the right to runs and says that the worker lives. What is not in the answer was taken away.
    async fn renew(&self, runs: &[String]) -> Result<Vec<(String, Held)>>;

    /// Ends a run that came to nothing before it began.
    async fn fail(&self, claimed: &Claimed, error: &Error) -> Result<()>;
}

/// The queue of a store that is at hand.
pub struct StoreSupply {
    store: Store,
    identity: Identity,
}

impl StoreSupply {
    pub fn new(store: Store) -> Self {
        let Owner { host, pid, .. } = Owner::this_process();
        let identity = Identity {
            // Names this part of this process among all workers.
            id: format!("{host}/{pid}/{}", Uuid::now_v7()),
            tenant: DEFAULT_TENANT.to_owned(),
            name: host,
            principal: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Self { store, identity }
    }

    /// As runs and slices name the worker.
    pub fn worker(&self) -> &str {
        &self.identity.id
    }
}

#[async_trait]
impl RunSupply for StoreSupply {
    async fn claim(&self, runs_max: usize) -> Result<Vec<Claimed>> {
        if self.store.fit().is_err() {
            return Ok(Vec::new());
        }
        queue::claim(&self.store, &self.identity.id, None, runs_max).await
    }

    async fn renew(&self, runs: &[String]) -> Result<Vec<(String, Held)>> {
        workers::heard(&self.store, &self.identity).await?;
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        queue::renew(&self.store, &self.identity.id, runs).await
    }

    async fn fail(&self, claimed: &Claimed, error: &Error) -> Result<()> {
        queue::end(&self.store, claimed, Err(error)).await
    }
}
