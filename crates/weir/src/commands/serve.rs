use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;
use weir_control::connectors::Prober;
use weir_control::worker::{Limits, Worker, schedule};
use weir_control::{Acting, Store, principals};
use weir_protocol::Result;
use weir_protocol::units::{ByteSize, Span};
use weir_server::{DEFAULT_ADDRESS, REQUESTS_PER_MINUTE_DEFAULT, ServerState, Settings};

use super::Context;
use super::sync::memory;
use crate::audit_trail;
use crate::board::{ProjectConnections, catalog};
use crate::interrupt;
use crate::output::line;
use crate::performer::{ProjectPerformer, take_schedules};
use crate::wiring::Wiring;

/// How often the queue and the schedules are looked at.
const POLL: Duration = Duration::from_secs(1);

/// Serve the API, sync connections by their schedules, and work through the queue, until Ctrl-C
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Connections say when they are synced: `schedule: { tier: critical }`. Several servers may share a\nPostgreSQL store (WEIR_DATABASE_URL); each run is carried out by one of them.\n\nEvery request to the API needs a token. Where the store has none yet, one that may do everything is made and\nprinted, this once; `weir token create` makes others.\n\nExample:\n  weir serve --listen 127.0.0.1:7373 --runs-at-once 8"
)]
pub(crate) struct ServeArgs {
    /// Address and port; other machines can reach it only if you name one of theirs to reach
    #[arg(long, default_value_t = DEFAULT_ADDRESS)]
    listen: SocketAddr,
    /// Runs that are carried out at once; 0: serve only, others work
    #[arg(long, default_value_t = 4, value_name = "N")]
    runs_at_once: u16,
    /// Memory that each run may hold, 16MiB at least
    #[arg(long, default_value = "256MiB", value_name = "SIZE", value_parser = memory)]
    memory: ByteSize,
    /// When asked to stop, let runs go on for so long before they stop at their next checkpoint
    #[arg(long, default_value = "30s", value_name = "TIME")]
    drain: Span,
    /// Requests that each token may make
    #[arg(long, value_name = "N", default_value_t = REQUESTS_PER_MINUTE_DEFAULT)]
    requests_per_minute: NonZeroU32,
}

pub(crate) async fn run(args: &ServeArgs, context: &Arc<Context>) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?.acting_as(Acting::default());
    let wiring = Arc::new(wiring.over(store.clone()));
    let listener = weir_server::bind(args.listen).await?;
    let stop = interrupt::token();
    let scheduled = take_schedules(&wiring, &store).await?;
    line(format!("http://{}", listener.local_addr().unwrap_or(args.listen)));
    if let Some(first) = principals::bootstrap(&store).await? {
        line(format!("admin token, shown this once: {}", first.text.expose()));
    }
    tracing::info!(scheduled, store = %store.place(), "serving");
    let sealing = tokio::spawn(audit_trail::keep_sealed(
        store.clone(),
        wiring.audit_key()?,
        stop.clone(),
    ));
    let scheduling = tokio::spawn(schedule(store.clone(), POLL, stop.clone()));
    let working = tokio::spawn(work(args.clone(), context.clone(), store.clone(), stop.clone()));
    let settings = Settings {
        catalog: catalog(&wiring.catalog),
        prober: Some(Prober::new(Arc::new(ProjectConnections(wiring)))),
        requests_per_minute: args.requests_per_minute,
    };
    let state = ServerState::new(store, settings);
    let served = weir_server::serve(listener, state, stop.clone().cancelled_owned()).await;
    // Also where the server itself broke off.
    stop.cancel();
    for task in [scheduling, working, sealing] {
        if let Err(panic) = task.await {
            tracing::error!(%panic, "a part of the server broke off");
        }
    }
    served
}

async fn work(args: ServeArgs, context: Arc<Context>, store: Store, stop: CancellationToken) {
    if args.runs_at_once == 0 {
        return stop.cancelled().await;
    }
    let performer = ProjectPerformer::new(context, store.clone(), args.memory.bytes());
    let limits = Limits {
        runs_at_once: usize::from(args.runs_at_once),
        poll: POLL,
        drain: args.drain.get(),
    };
    Worker::new(store, Arc::new(performer), limits).run(stop).await;
}
