//! A worker that has neither store nor project: what a run is made of comes with it, its credentials
//! are lent for its time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_control::rpc::{Carrier, Papers, Remote};
use weir_control::runs::Begin;
use weir_control::runs::queue::Claimed;
use weir_control::sync::Silent;
use weir_control::worker::Performer;
use weir_control::{Owner, SyncOptions, SyncPlan, sync_over};
use weir_engine::catalog::Connector;
use weir_engine::control::ControlClient;
use weir_lake::{Lake, LakeConfig};
use weir_protocol::Result;

use crate::config::lake_credentials;
use crate::engine::{self, Supplied};
use crate::performer::log_failures;
use crate::wiring::{chosen_streams, registered};

/// Calls over HTTPS.
pub(crate) struct HttpCarrier(pub(crate) ControlClient);

#[async_trait]
impl Carrier for HttpCarrier {
    async fn carry(&self, call: &'static str, body: Vec<u8>) -> Result<Vec<u8>> {
        self.0.post(&["worker", "v1", call], body).await
    }
}

/// Carries runs out with what a server sends.
pub(crate) struct RemotePerformer {
    remote: Arc<Remote>,
    memory_bytes: u64,
    hung_after: Duration,
}

impl RemotePerformer {
    /// `memory_bytes` is what each run may hold.
    pub(crate) fn new(remote: Arc<Remote>, memory_bytes: u64, hung_after: Duration) -> Self {
        Self {
            remote,
            memory_bytes,
            hung_after,
        }
    }

    async fn plan(&self, claimed: &Claimed, cancel: CancellationToken) -> Result<SyncPlan> {
        let Papers {
            mut connection,
            connector,
            lake_location,
            lake_options,
            roots_pem,
        } = self.remote.papers(&claimed.run)?;
        let lent = self.remote.lend(&claimed.run).await?;
        let supplied = Supplied {
            tokens: lent.has_tokens.then(|| self.remote.tokens(&claimed.run)),
            permits: Some(self.remote.permits(&claimed.run)),
            inbox: Some(self.remote.inbox(&claimed.run)),
        };
        let pii_key = lent.give_to(&mut connection);
        let connector = Connector::carried(&connection.connector, connector)?;
        let source = engine::connect_elsewhere(&connector, &connection, roots_pem, supplied)?;
        let asked = &claimed.options;
        let streams = chosen_streams(source.as_ref(), &connection, &asked.streams).await?;
        let lake = Lake::open(LakeConfig {
            location: lake_location,
            options: lake_options.into_iter().chain(lake_credentials()).collect(),
            pii_key,
        })?;
        let mut registered = registered(&connection);
        registered.tenant.clone_from(&claimed.tenant);
        Ok(SyncPlan {
            connection: registered,
            source,
            destination: Arc::new(lake),
            streams,
            options: SyncOptions {
                full: asked.full,
                from: asked.from.clone(),
                to: asked.to.clone(),
                memory_bytes: self.memory_bytes,
                hung_after: self.hung_after,
                ..SyncOptions::default()
            },
            begin: Begin::Claimed(claimed.run.clone()),
            owner: Owner::this_process(),
            cancel,
            observer: Arc::new(Silent),
        })
    }
}

#[async_trait]
impl Performer for RemotePerformer {
    async fn perform(&self, claimed: &Claimed, cancel: CancellationToken) -> Result<()> {
        let plan = self.plan(claimed, cancel).await?;
        let outcome = Box::pin(sync_over(self.remote.clone(), plan)).await?;
        log_failures(&outcome);
        Ok(())
    }
}
