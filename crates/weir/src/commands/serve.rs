use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;
use weir_control::connectors::Prober;
use weir_control::policies::InForce;
use weir_control::rpc::Office;
use weir_control::worker::{Limits, Worker, schedule};
use weir_control::{Acting, Store, principals};
use weir_protocol::Result;
use weir_protocol::units::{ByteSize, Span};
use weir_server::{DEFAULT_ADDRESS, Identity, Listening, REQUESTS_PER_MINUTE_DEFAULT, ServerState, Settings};

use super::Context;
use super::sync::memory;
use crate::applied::{self, StandIn};
use crate::audit_trail;
use crate::board::{ProjectConnections, catalog};
use crate::interrupt;
use crate::output::line;
use crate::parts::Parts;
use crate::performer::{ProjectPerformer, take_schedules};
use crate::supplies::ProjectSupplies;
use crate::wiring::Wiring;

/// How often the queue and the schedules are looked at.
const POLL: Duration = Duration::from_secs(1);
/// How often it is looked whether policy files changed.
const POLICIES_LOOK: Duration = Duration::from_secs(2);

/// Serve the API, sync connections by their schedules, and work through the queue, until Ctrl-C
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Connections say when they are synced: `schedule: { tier: critical }`. Several servers may share a\nPostgreSQL store (WEIR_DATABASE_URL); each run is carried out by one of them.\n\nEvery request to the API needs a token. Where the store has none yet, one that may do everything is made and\nprinted, this once; `weir token create` makes others.\n\nWorkers on other machines (`weir worker`) reach the server over TLS only.\n\nExamples:\n  weir serve --listen 127.0.0.1:7373 --runs-at-once 8\n  weir serve --listen 0.0.0.0:7373 --tls-cert server.pem --tls-key server.key"
)]
pub(crate) struct ServeArgs {
    /// Address and port; other machines can reach it only if you name one of theirs to reach
    #[arg(long, default_value_t = DEFAULT_ADDRESS)]
    listen: SocketAddr,
    /// Certificate of the server and its authorities, PEM: the port speaks TLS then
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Runs that are carried out at once; 0: serve only, others work
    #[arg(long, default_value_t = 4, value_name = "N")]
    runs_at_once: u16,
    /// Memory that each run may hold, 16MiB at least
    #[arg(long, default_value = "256MiB", value_name = "SIZE", value_parser = memory)]
    memory: ByteSize,
    /// A stream without a page or a checkpoint for so long has hung: it is ended, and tried again where attempts are left
    #[arg(long, default_value = "1h", value_name = "TIME")]
    hung_after: Span,
    /// When asked to stop, let runs go on for so long before they stop at their next checkpoint
    #[arg(long, default_value = "30s", value_name = "TIME")]
    drain: Span,
    /// Requests that each token may make
    #[arg(long, value_name = "N", default_value_t = REQUESTS_PER_MINUTE_DEFAULT)]
    requests_per_minute: NonZeroU32,
}

pub(crate) async fn run(args: &ServeArgs, context: &Arc<Context>) -> Result<()> {
    match applied::stand_in(context).await? {
        None => serve(args, context, None).await,
        Some((context, stand_in)) => serve(args, &context, Some(stand_in)).await,
    }
}

async fn serve(args: &ServeArgs, context: &Arc<Context>, stand_in: Option<StandIn>) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?.acting_as(Acting::default());
    let wiring = Arc::new(wiring.over(store.clone()));
    let files = wiring.project.policy_files()?;
    let policies = InForce::begin(&store, files, wiring.surroundings()).await?;
    let listening = Listening::bind(args.listen, args.identity()?).await?;
    let stop = interrupt::token();
    let scheduled = take_schedules(&wiring, &store).await?.scheduled;
    line(listening.url()?);
    if let Some(first) = principals::bootstrap(&store).await? {
        line(format!("admin token, shown this once: {}", first.text.expose()));
    }
    tracing::info!(scheduled, store = %store.place(), "serving");
    let mut parts = Parts::new(stop.clone());
    let sealing = audit_trail::keep_sealed(store.clone(), wiring.audit_key()?, stop.clone());
    parts.start("signing of the audit trail", done(sealing));
    parts.start("scheduler", done(schedule(store.clone(), POLL, stop.clone())));
    parts.start(
        "worker",
        work(args.clone(), context.clone(), store.clone(), stop.clone()),
    );
    let supplies = ProjectSupplies::new(context.clone(), store.clone());
    let policies = Arc::new(policies);
    let watching = watch(policies.clone(), context.clone(), store.clone(), stop.clone());
    parts.start("policies", done(watching));
    parts.start("applied project", done(follow(stand_in, stop.clone())));
    let settings = Settings {
        policies,
        catalog: catalog(&wiring.catalog),
        prober: Some(Prober::new(Arc::new(ProjectConnections(wiring)))),
        office: Some(Office::new(store.clone(), Arc::new(supplies))),
        requests_per_minute: args.requests_per_minute,
    };
    let state = ServerState::new(store, settings);
    parts.start(
        "port",
        weir_server::serve(listening, state, stop.cancelled_owned()),
    );
    parts.wait().await
}

/// Takes changed policy files.
async fn watch(policies: Arc<InForce>, context: Arc<Context>, store: Store, stop: CancellationToken) {
    loop {
        if tokio::time::timeout(POLICIES_LOOK, stop.cancelled())
            .await
            .is_ok()
        {
            return;
        }
        // The project first: a folder that is away has no files, and that is no wish to have no rules.
        let files = context.project().and_then(|project| project.policy_files());
        if let Err(error) = policies.take(&store, files).await {
            tracing::error!(%error, "the policies cannot be kept");
        }
    }
}

async fn follow(stand_in: Option<StandIn>, stop: CancellationToken) {
    match stand_in {
        Some(stand_in) => stand_in.follow(stop).await,
        None => stop.cancelled().await,
    }
}

impl ServeArgs {
    fn identity(&self) -> Result<Option<Identity>> {
        let pair = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        pair.map(|(certificate, key)| Identity::read(certificate, key))
            .transpose()
    }
}

async fn done(part: impl Future<Output = ()> + Send) -> Result<()> {
    part.await;
    Ok(())
}

async fn work(args: ServeArgs, context: Arc<Context>, store: Store, stop: CancellationToken) -> Result<()> {
    if args.runs_at_once == 0 {
        stop.cancelled().await;
        return Ok(());
    }
    let performer = ProjectPerformer::new(context, store.clone(), args.memory.bytes(), args.hung_after.get());
    let limits = Limits {
        runs_at_once: usize::from(args.runs_at_once),
        poll: POLL,
        drain: args.drain.get(),
    };
    Worker::new(store, Arc::new(performer), limits).run(stop).await
}
