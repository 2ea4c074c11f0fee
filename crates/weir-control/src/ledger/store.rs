//! The store as a ledger.

use async_trait::async_trait;
use weir_protocol::{Error, Result, SyncMode};

use super::{Beginning, Begun, Ended, Entry, Renewed, RunLedger, Standing, StreamLedger};
use crate::leases::{self, Lease};
use crate::{Store, runs, states};

#[async_trait]
impl RunLedger for Store {
    async fn begin(&self, beginning: &Beginning) -> Result<Begun> {
        let Beginning {
            connection,
            streams,
            begin,
            owner,
        } = beginning;
        let (run, leases) = runs::start_sync(self, connection, streams, begin, owner).await?;
        Ok(Begun { run, leases })
    }

    async fn end(&self, ended: &Ended) -> Result<()> {
        let error = ended.error.clone().map(Error::from);
        runs::finish(self, &ended.tenant, &ended.run, ended.status, error.as_ref()).await
    }
}

#[async_trait]
impl StreamLedger for Store {
    async fn renew(&self, lease: &Lease) -> Result<Renewed> {
        if !leases::try_renew(self, lease).await? {
            return Ok(Renewed::Lost);
        }
        let (is_cancel_asked, now_ms) = runs::queue::asked_to_stop(self, &lease.tenant, &lease.run).await?;
        Ok(Renewed::Held {
            is_cancel_asked,
            now_ms,
        })
    }

    async fn standing(&self, lease: &Lease) -> Result<Standing> {
        let stored = states::get(self, &lease.tenant, &lease.connection, &lease.stream).await?;
        let mode = match stored.as_ref().and_then(|stored| stored.run.as_deref()) {
            Some(run) => self.mode_of(lease, run).await?,
            None => None,
        };
        Ok(Standing { stored, mode })
    }

    async fn mode_of(&self, lease: &Lease, run: &str) -> Result<Option<SyncMode>> {
        runs::mode_of(self, lease, run).await
    }

    async fn write(&self, lease: &Lease, entry: &Entry) -> Result<()> {
        match entry {
            Entry::Status {
                source,
                mode,
                to,
                error,
            } => {
                let error = error.clone().map(Error::from);
                runs::stream_step(self, lease, *mode, source, *to, error.as_ref()).await
            }
            Entry::Checkpoint(checkpoint) => runs::store_checkpoint(self, lease, checkpoint).await,
            Entry::Refused { receipt, progress } => {
                runs::store_refused(self, lease, receipt, *progress).await
            }
            Entry::Recovered(committed) => runs::store_recovered(self, lease, committed.as_deref()).await,
            Entry::Notice(notice) => runs::note(self, lease, notice).await,
            Entry::FullAsked => states::ask_full(self, lease).await,
            Entry::FullDone => states::full_is_done(self, lease).await,
            Entry::Release => leases::release(self, lease).await,
        }
    }
}
