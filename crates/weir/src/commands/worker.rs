use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;
use weir_control::Owner;
use weir_control::rpc::{CALL_BYTES_MAX, Greeting, Remote, Sender};
use weir_control::worker::{Limits, Worker};
use weir_engine::control::ControlClient;
use weir_protocol::units::{ByteSize, Span};
use weir_protocol::{Error, ErrorKind, Result, Secret};

use super::Context;
use super::sync::memory;
use crate::errors;
use crate::interrupt;
use crate::output::line;
use crate::remote::{HttpCarrier, RemotePerformer};

/// How often the server is asked for work.
const POLL: Duration = Duration::from_secs(1);
/// Wait between two tries to reach a server that is away when the worker starts.
const GREETING_WAIT: Duration = Duration::from_secs(2);

/// Carry out runs for a server elsewhere, until Ctrl-C
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "The worker has no database password, no master key and no project folder: what a run is made of comes from the\nserver, which lends it the connection's credential for the run's time. It writes to the lake itself: a lake in an\nobject store needs AWS_ACCESS_KEY_ID and the like in the worker's environment, one in a folder the same folder.\n\nThe token is one with the role `worker`: `weir token create NAME --role worker`. Revoked, it ends the worker.\n\nExample:\n  WEIR_TOKEN=weir_… weir worker --control https://weir.example.com:7373 --name north --concurrency 8"
)]
pub(crate) struct WorkerArgs {
    /// Address of the server; plain http to this machine only
    #[arg(long, value_name = "URL")]
    control: String,
    /// Token with the role `worker`; better in WEIR_TOKEN, where other users of the machine do not see it
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// What the worker is called; this machine's name if left out
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Runs that are carried out at once
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// File with the authority that signed the server's certificate, PEM; no other is trusted then
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Memory that each run may hold, 16MiB at least
    #[arg(long, default_value = "256MiB", value_name = "SIZE", value_parser = memory)]
    memory: ByteSize,
    /// A stream without a page or a checkpoint for so long has hung: it is ended, and tried again where attempts are left
    #[arg(long, default_value = "1h", value_name = "TIME")]
    hung_after: Span,
    /// When asked to stop, let runs go on for so long before they stop at their next checkpoint
    #[arg(long, default_value = "30s", value_name = "TIME")]
    drain: Span,
}

pub(crate) async fn run(args: &WorkerArgs, context: &Context) -> Result<()> {
    let token = match &args.token {
        Some(token) => Secret::new(token.as_str()),
        None => context.settings.token.clone().ok_or_else(|| {
            Error::usage("the worker has no token").hint(
                "set WEIR_TOKEN, or name one with --token; `weir token create NAME --role worker` makes one",
            )
        })?,
    };
    let ca = args.ca.as_deref().map(read).transpose()?;
    let client = ControlClient::new(&args.control, token, ca.as_deref(), CALL_BYTES_MAX)?;
    let name = args.name.clone().unwrap_or_else(|| Owner::this_process().host);
    let remote = Arc::new(Remote::new(Arc::new(HttpCarrier(client)), Sender::new(&name)?));
    let stop = interrupt::token();
    let Some(greeting) = greet(&remote, &stop).await? else {
        return Ok(());
    };
    if let Some(error) = greeting.clock.and_then(|clock| clock.problem("the server's")) {
        let next = error.next_step().unwrap_or_default();
        tracing::warn!(%error, next, "clocks differ");
    }
    let Greeting { version, tenant, .. } = greeting;
    tracing::info!(control = args.control, version, tenant, name, "working");
    line(format!(
        "worker {name} carries runs of tenant {tenant} for {}",
        args.control
    ));
    let performer = RemotePerformer::new(remote.clone(), args.memory.bytes(), args.hung_after.get());
    let limits = Limits {
        runs_at_once: usize::from(args.concurrency),
        poll: POLL,
        drain: args.drain.get(),
    };
    let performer = Arc::new(performer);
    Worker::over(remote.clone(), performer.clone(), limits)
        .helping(remote, performer)
        .run(stop)
        .await
}

/// Waits for a server that is not up yet; what it refuses is told at once. None: asked to stop.
async fn greet(remote: &Remote, stop: &CancellationToken) -> Result<Option<Greeting>> {
    loop {
        let greeted = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            greeted = remote.greet() => greeted,
        };
        match greeted {
            Ok(welcome) => return Ok(Some(welcome)),
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                let next = error.next_step().unwrap_or_default();
                tracing::warn!(%error, next, "waiting for the server");
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(GREETING_WAIT) => {}
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| errors::file("read", file, error))
}
