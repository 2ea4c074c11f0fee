//! A worker that has neither store nor project: what a run is made of comes with it, its credentials
//! are lent for its time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_control::rpc::{Carrier, Papers, Remote};
use weir_control::runs::Begin;
use weir_control::runs::queue::Claimed;
use weir_control::slices::{Helper, Tools};
use weir_control::sync::Silent;
use weir_control::worker::Performer;
use weir_control::{Owner, SyncOptions, SyncPlan, sync_over};
use weir_engine::catalog::Connector;
use weir_engine::control::ControlClient;
use weir_lake::{Lake, LakeConfig};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Result, Source};

use crate::config::lake_credentials;
use crate::engine::{self, Supplied};
use crate::performer::{log_failures, sharing};
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

    /// What a run's slices and streams are read with, as its papers and what is lent for it say.
    async fn connect(&self, run: &str, papers: Papers) -> Result<Connected> {
        let Papers {
            mut connection,
            connector,
            lake_location,
            lake_options,
            roots_pem,
        } = papers;
        let lent = self.remote.lend(run).await?;
        let supplied = Supplied {
            tokens: lent.has_tokens.then(|| self.remote.tokens(run)),
            permits: Some(self.remote.permits(run)),
            inbox: Some(self.remote.inbox(run)),
            account: lent.account.clone(),
            memory_bytes: Some(self.memory_bytes),
            ..Supplied::default()
        };
        let pii_key = lent.give_to(&mut connection);
        let connector = Connector::carried(&connection.connector, connector)?;
        let source = engine::connect_elsewhere(&connector, &connection, roots_pem, supplied)?;
        let lake = Lake::open(LakeConfig {
            location: lake_location,
            options: lake_options.into_iter().chain(lake_credentials()).collect(),
            pii_key,
        })?;
        Ok(Connected {
            connection,
            source,
            lake: Arc::new(lake),
        })
    }

    async fn plan(&self, claimed: &Claimed, cancel: CancellationToken) -> Result<SyncPlan> {
        let papers = self.remote.papers(&claimed.run)?;
        let Connected {
            connection,
            source,
            lake,
        } = self.connect(&claimed.run, papers).await?;
        let asked = &claimed.options;
        let streams = chosen_streams(source.as_ref(), &connection, &asked.streams).await?;
        let mut registered = registered(&connection);
        registered.tenant.clone_from(&claimed.tenant);
        Ok(SyncPlan {
            connection: registered,
            source,
            destination: lake.clone(),
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
            sharing: Some(sharing(&connection, lake)),
        })
    }
}

/// A connection at hand, with the lake that its project writes to.
struct Connected {
    connection: ConnectionSpec,
    source: Arc<dyn Source>,
    lake: Arc<Lake>,
}

#[async_trait]
impl Helper for RemotePerformer {
    async fn tools(&self, run: &Claimed) -> Result<Tools> {
        let papers = self.remote.helped_papers(&run.run)?;
        let Connected { source, lake, .. } = self.connect(&run.run, papers).await?;
        Ok(Tools {
            source,
            spools: lake,
            hung_after: self.hung_after,
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
