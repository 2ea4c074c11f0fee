use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;
use weir_control::connectors::Prober;
use weir_control::oauth::{Desk, Servers, keep_fresh};
use weir_control::policies::{InForce, Surroundings};
use weir_control::rpc::Office;
use weir_control::slices::StoreSlices;
use weir_control::worker::{Limits, StoreSupply, Worker, schedule};
use weir_control::{
    Acting, DEFAULT_TENANT, Store, bundles, calls, deliveries, fitness, hooks, principals, states,
};
use weir_protocol::units::{ByteSize, Span};
use weir_protocol::{Error, Result};
use weir_server::{
    DEFAULT_ADDRESS, DataDesk, Identity, Listening, McpSettings, REQUESTS_PER_MINUTE_DEFAULT, ServerState,
    Settings, TraceJoin,
};

use super::Context;
use super::sync::memory;
use crate::applied::{self, StandIn};
use crate::audit_trail;
use crate::board::{ProjectConnections, catalog};
use crate::grants::ProjectServers;
use crate::interrupt;
use crate::login;
use crate::messenger::{Messenger, watch_disk};
use crate::output::line;
use crate::parts::Parts;
use crate::performer::{ProjectPerformer, take_schedules};
use crate::places::ProjectStreams;
use crate::receivers::ProjectReceivers;
use crate::renewals;
use crate::spools;
use crate::supplies::ProjectSupplies;
use crate::telemetry;
use crate::tools::ProjectData;
use crate::vendors::ProjectVendors;
use crate::wiring::Wiring;

/// How often the queue and the schedules are looked at.
const POLL: Duration = Duration::from_secs(1);
/// How often it is looked whether policy files changed.
const POLICIES_LOOK: Duration = Duration::from_secs(2);
/// How often it is looked whether the store is still one that this server can work for.
const FITNESS_LOOK: Duration = Duration::from_secs(5);
/// How often the grants are looked at.
const GRANTS_LOOK: Duration = Duration::from_secs(15);
/// How often it is looked for secrets that end, and for old values that no run holds.
const SECRETS_LOOK: Duration = Duration::from_secs(60);

/// Serve the API, sync connections by their schedules, and work through the queue, until Ctrl-C
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Connections say when they are synced: `schedule: { tier: critical }`. Several servers may share a\nPostgreSQL store (WEIR_DATABASE_URL); each run is carried out by one of them.\n\nEvery request to the API needs a token. Where the store has none yet, one that may do everything is made and\nprinted, this once; `weir token create` makes others.\n\nWorkers on other machines (`weir worker`) reach the server over TLS only.\n\nExamples:\n  weir serve --listen 127.0.0.1:7373 --runs-at-once 8\n  weir serve --listen 0.0.0.0:7373 --tls-cert server.pem --tls-key server.key\n  weir serve --listen 10.0.0.5:7373 --tls-by-proxy"
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
    /// A proxy before the port speaks TLS to the world: the port itself may be plain HTTP on other addresses than loopback
    #[arg(long, conflicts_with = "tls_cert")]
    tls_by_proxy: bool,
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
    /// A page elsewhere that may speak MCP to the server from a browser, as https://agents.example.com:443; repeat for more
    #[arg(long = "mcp-origin", value_name = "ORIGIN")]
    mcp_origins: Vec<String>,
    /// At /mcp, serve the fixtures of the official conformance suite, to anybody on this machine, and nothing else
    #[arg(long, hide = true)]
    mcp_conformance: bool,
}

pub(crate) async fn run(args: &ServeArgs, context: &Arc<Context>) -> Result<()> {
    match applied::stand_in(context).await? {
        None => serve(args, context, None).await,
        Some((context, stand_in)) => serve(args, &context, Some(stand_in)).await,
    }
}

async fn serve(args: &ServeArgs, context: &Arc<Context>, stand_in: Option<StandIn>) -> Result<()> {
    args.refuse_public_fixtures()?;
    args.refuse_plain_port()?;
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?.acting_as(Acting::default());
    let wiring = Arc::new(wiring.over(store.clone()));
    look_first(&wiring, &store).await?;
    let files = wiring.project.policy_files()?;
    let policies = InForce::begin(&store, files, wiring.surroundings().await?).await?;
    let listening = Listening::bind(args.listen, args.identity()?).await?;
    let stop = interrupt::token();
    let scheduled = take_schedules(&wiring, &store).await?.scheduled;
    let address = listening.url()?;
    line(&address);
    if let Some(first) = principals::bootstrap(&store).await? {
        line(format!("admin token, shown this once: {}", first.text.expose()));
    }
    tracing::info!(scheduled, store = %store.place(), "serving");
    let mut parts = Parts::new(stop.clone());
    take_care(&mut parts, &wiring, &store, &stop)?;
    parts.start("scheduler", done(schedule(store.clone(), POLL, stop.clone())));
    parts.start(
        "worker",
        work(args.clone(), context.clone(), store.clone(), stop.clone()),
    );
    let policies = Arc::new(policies);
    let vendors = Arc::new(ProjectVendors::new(context.clone(), store.clone()));
    let (calls, bundles) = desks(&mut parts, &store, vendors, &policies, &stop);
    let watching = watch(policies.clone(), context.clone(), store.clone(), stop.clone());
    parts.start("policies", done(watching));
    parts.start("applied project", done(follow(stand_in, stop.clone())));
    let servers = authorization_servers(&mut parts, context, &store, &stop);
    let base = context.settings.public_url.as_deref().unwrap_or(&address);
    let login = login::login(&wiring.project.file, &context.settings.login, &store, base)?;
    if let Some(login) = &login {
        login.narrow().await?;
    }
    let settings = Settings {
        policies,
        calls: Some(calls),
        bundles: Some(bundles),
        hooks: Some(inbound(context, &store)),
        data: Some(data(context, &store)),
        states: Some(states(context, &store)),
        mcp: args.mcp(base),
        oauth: Some(Desk::new(&store, DEFAULT_TENANT, servers, base)),
        login,
        catalog: catalog(&wiring.catalog),
        prober: Some(Prober::new(Arc::new(ProjectConnections(wiring.clone())))),
        office: Some(office(context, &store)),
        channels: wiring.project.file.alerts.channels.keys().cloned().collect(),
        audit_key: Some(Arc::new(wiring.audit_key()?)),
        audit_keys: wiring.audit_keys()?,
        vault: Some(wiring),
        trace_join: trace_join(context),
        requests_per_minute: args.requests_per_minute,
    };
    let state = ServerState::new(store, settings);
    parts.start(
        "port",
        weir_server::serve(listening, state, stop.cancelled_owned()),
    );
    parts.wait().await
}

/// Refuses a store that this server could not work for, and tells of clocks that differ.
async fn look_first(wiring: &Wiring, store: &Store) -> Result<()> {
    fitness::require(store, DEFAULT_TENANT, wiring).await?;
    if let Some(error) = store.clock_offset().await?.problem("the store's") {
        let next = error.next_step().unwrap_or_default();
        tracing::warn!(%error, next, "clocks differ");
    }
    Ok(())
}

/// Who makes calls of actions and bundles of them, and goes on with those that wait or were left.
fn desks(
    parts: &mut Parts,
    store: &Store,
    vendors: Arc<ProjectVendors>,
    policies: &Arc<InForce>,
    stop: &CancellationToken,
) -> (calls::Desk, bundles::Desk) {
    let calls = calls::Desk::new(store, DEFAULT_TENANT, vendors.clone(), policies.clone());
    parts.start("calls", done(calls.clone().run(POLL, stop.clone())));
    let bundles = bundles::Desk::new(store, DEFAULT_TENANT, calls.clone(), vendors);
    parts.start("bundles", done(bundles.clone().run(POLL, stop.clone())));
    (calls, bundles)
}

/// Where the grants of connections are renewed, which begins at once.
fn authorization_servers(
    parts: &mut Parts,
    context: &Arc<Context>,
    store: &Store,
    stop: &CancellationToken,
) -> Arc<dyn Servers> {
    let servers: Arc<dyn Servers> = Arc::new(ProjectServers {
        context: context.clone(),
        store: store.clone(),
    });
    let refreshing = keep_fresh(
        store.clone(),
        DEFAULT_TENANT.to_owned(),
        servers.clone(),
        GRANTS_LOOK,
        stop.clone(),
    );
    parts.start("refreshing of grants", done(refreshing));
    servers
}

/// Who takes in what outside systems send.
fn inbound(context: &Arc<Context>, store: &Store) -> hooks::Desk {
    hooks::Desk::new(
        store,
        Arc::new(ProjectReceivers::new(context.clone(), store.clone())),
    )
}

/// Who answers workers elsewhere.
fn office(context: &Arc<Context>, store: &Store) -> Office {
    let supplies = ProjectSupplies::new(context.clone(), store.clone());
    Office::new(store.clone(), Arc::new(supplies))
}

/// Starts what looks after the store whatever the server is asked: its audit trail, secrets, disk and
/// what it has to tell.
fn take_care(parts: &mut Parts, wiring: &Arc<Wiring>, store: &Store, stop: &CancellationToken) -> Result<()> {
    let sealing = audit_trail::keep_sealed(store.clone(), wiring.audit_key()?, stop.clone());
    parts.start("signing of the audit trail", done(sealing));
    let tenant = DEFAULT_TENANT.to_owned();
    let looking = fitness::keep(
        store.clone(),
        tenant.clone(),
        wiring.clone(),
        FITNESS_LOOK,
        stop.clone(),
    );
    parts.start("look at the store's schema and keys", done(looking));
    let rotating = weir_control::secrets::keep(store.clone(), tenant, SECRETS_LOOK, stop.clone());
    parts.start("care of secrets", done(rotating));
    let verifying = audit_trail::keep_verified(store.clone(), wiring.audit_keys()?, stop.clone());
    parts.start("verifying of the audit trail", done(verifying));
    let kept = wiring.project.file.calls.kept();
    let erasing = calls::keep(store.clone(), kept, stop.clone());
    parts.start("care of old calls", done(erasing));
    let sweeping = spools::keep_swept(wiring.clone(), stop.clone());
    parts.start("care of spools", done(sweeping));
    // All of them now: one that is first read while its files are being changed would stay broken.
    for problem in wiring.catalog.problems() {
        tracing::warn!(connector = problem.connector, error = %problem.error, "a connector cannot be used");
    }
    let renewing = renewals::keep(wiring.clone(), stop.clone());
    parts.start("care of credentials", done(renewing));
    let disk = watch_disk(wiring.clone(), store.clone(), stop.clone());
    parts.start("watch over the disk", done(disk));
    let telling = deliveries::run(
        store.clone(),
        Arc::new(Messenger::new(wiring.clone(), store.clone())?),
        Arc::new(wiring.project.file.deliveries()),
        POLL,
        stop.clone(),
    );
    parts.start("sending of events and alerts", done(telling));
    Ok(())
}

/// Takes changed policy files.
pub(super) async fn watch(
    policies: Arc<InForce>,
    context: Arc<Context>,
    store: Store,
    stop: CancellationToken,
) {
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
        if !policies.policies().is_empty() {
            match surroundings(&context, &store).await {
                Ok(surroundings) => policies.know(surroundings),
                // What was known before is known still: nothing opens by a mistake in a file.
                Err(error) => tracing::error!(%error, "the connectors cannot be looked at for the policies"),
            }
        }
    }
}

async fn surroundings(context: &Context, store: &Store) -> Result<Surroundings> {
    let wiring = Wiring::open(context)?.over(store.clone());
    wiring.surroundings().await
}

async fn follow(stand_in: Option<StandIn>, stop: CancellationToken) {
    match stand_in {
        Some(stand_in) => stand_in.follow(stop).await,
        None => stop.cancelled().await,
    }
}

/// Who sets where streams are read on from.
fn states(context: &Arc<Context>, store: &Store) -> states::Desk {
    let streams = ProjectStreams::new(context.clone(), store.clone());
    states::Desk::new(DEFAULT_TENANT, Arc::new(streams))
}

/// The project's lake and sources, for tools.
pub(crate) fn data(context: &Arc<Context>, store: &Store) -> DataDesk {
    let data = ProjectData::new(context.clone(), store.clone());
    DataDesk::new(DEFAULT_TENANT, Arc::new(data))
}

fn trace_join(context: &Context) -> Option<TraceJoin> {
    let is_on = context.settings.traces.is_on;
    is_on.then_some(telemetry::join as TraceJoin)
}

impl ServeArgs {
    fn mcp(&self, base: &str) -> McpSettings {
        McpSettings {
            base: base.to_owned(),
            origins: self.mcp_origins.clone(),
            conformance: self.mcp_conformance,
        }
    }

    /// Tokens that go over a network in the clear are everybody's there.
    fn refuse_plain_port(&self) -> Result<()> {
        let is_safe = self.tls_cert.is_some() || self.tls_by_proxy || self.listen.ip().is_loopback();
        if is_safe {
            return Ok(());
        }
        Err(
            Error::usage("tokens and data would go over the network in the clear")
                .with("listen", self.listen)
                .hint("give --tls-cert and --tls-key, listen on 127.0.0.1, or say with --tls-by-proxy that a proxy before the port speaks TLS"),
        )
    }

    /// Fixtures ask for no token.
    fn refuse_public_fixtures(&self) -> Result<()> {
        if !self.mcp_conformance || self.listen.ip().is_loopback() {
            return Ok(());
        }
        Err(
            Error::usage("the conformance fixtures are for this machine alone")
                .with("listen", self.listen)
                .hint("listen on 127.0.0.1, or leave --mcp-conformance out"),
        )
    }

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
    let performer = Arc::new(performer);
    let supply = StoreSupply::new(store.clone());
    let slices = StoreSlices::new(store, supply.worker().to_owned());
    let limits = Limits {
        runs_at_once: usize::from(args.runs_at_once),
        poll: POLL,
        drain: args.drain.get(),
    };
    Worker::over(Arc::new(supply), performer.clone(), limits)
        .helping(Arc::new(slices), performer)
        .run(stop)
        .await
}
