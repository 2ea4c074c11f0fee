//! The pump: moves a connection's streams from a source into a destination, with a checkpoint each
//! time enough was accepted, and keeps the books. It knows no connector and no table format.

mod backfill;
mod heartbeat;
mod observer;
mod outdated;
mod plan;
mod pulse;
mod pump;
mod rules;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use weir_protocol::source::Progress;
use weir_protocol::{Books, Error, Result, SyncMode, name};

use crate::failpoint;
use crate::leases::Lease;
use crate::ledger::{Beginning, Begun, Ended, Ledger, SharedLedger, failure};
use crate::runs::{self, RunStatus};
use crate::{Connection, Store};

pub use observer::{Observer, Silent};
pub use plan::{Bounds, HUNG_AFTER, StreamOutcome, SyncOptions, SyncOutcome, SyncPlan};
use pulse::Pulse;
pub use rules::{doubles, wanted_mode, would_double};
use stream::StreamJob;

/// Syncs the plan's streams and says what came of each.
///
/// An error is returned only where no run could begin or end; what went wrong within a stream is
/// part of the outcome and does not stop the others.
pub async fn sync(store: &Store, plan: SyncPlan) -> Result<SyncOutcome> {
    let principal = store.acting().principal.as_str();
    let span = tracing::error_span!("sync", principal);
    let done = sync_over(Arc::new(store.clone()), plan);
    Box::pin(done.instrument(span)).await
}

/// As [`sync`], over a ledger that may be elsewhere.
pub async fn sync_over(ledger: SharedLedger, plan: SyncPlan) -> Result<SyncOutcome> {
    if plan.streams.is_empty() {
        return Err(Error::usage("there is no stream to sync")
            .with("connection", &plan.connection.name)
            .hint("choose streams in the connection's file, or name one with --stream"));
    }
    let streams: Vec<(String, SyncMode)> = plan
        .streams
        .iter()
        .map(|stream| (stream.name.clone(), wanted_mode(stream, &plan.options)))
        .collect();
    let beginning = Beginning {
        connection: plan.connection.clone(),
        streams: streams.clone(),
        begin: plan.begin.clone(),
        owner: plan.owner.clone(),
    };
    let Begun { run, leases } = ledger.begin(&beginning).await?;
    failpoint::reach(failpoint::AFTER_START)?;
    let Connection { tenant, name, .. } = &plan.connection;
    // On every line of the run, whatever is logged: a span that is not of the least level is not there.
    let span = tracing::error_span!("run", tenant, run, connection = name);
    Box::pin(carry_out(ledger, plan, (run, leases), streams).instrument(span)).await
}

async fn carry_out(
    ledger: SharedLedger,
    plan: SyncPlan,
    (run, leases): (String, Vec<Lease>),
    streams: Vec<(String, SyncMode)>,
) -> Result<SyncOutcome> {
    tracing::info!(streams = streams.len(), "sync begins");

    let plan = Arc::new(plan);
    let (at_once, memory_bytes) = rules::shares(&plan.options, streams.len());
    let turns = Arc::new(Semaphore::new(at_once));
    let tasks: Vec<_> = leases
        .into_iter()
        .zip(&streams)
        .enumerate()
        .map(|(index, (lease, (_, mode)))| {
            let job = StreamJob {
                ledger: ledger.clone(),
                plan: plan.clone(),
                index,
                lease,
                mode: *mode,
                memory_bytes,
                pulse: Pulse::new(),
            };
            let span = tracing::error_span!("stream", stream = job.lease.stream);
            AbortOnDropHandle::new(tokio::spawn(job.run(turns.clone()).instrument(span)))
        })
        .collect();
    let mut outcomes = Vec::with_capacity(tasks.len());
    for (task, (stream, mode)) in tasks.into_iter().zip(streams) {
        let outcome = task
            .await
            .unwrap_or_else(|panic| broken(&plan, stream, mode, &panic));
        outcomes.push(outcome);
    }
    end(&*ledger, &plan.connection.tenant, run, outcomes).await
}

async fn end(
    ledger: &dyn Ledger,
    tenant: &str,
    run: String,
    streams: Vec<StreamOutcome>,
) -> Result<SyncOutcome> {
    let status = runs::overall(streams.iter().map(|stream| stream.status));
    let outcome = SyncOutcome { run, status, streams };
    failpoint::reach(failpoint::BEFORE_END)?;
    let ended = Ended {
        tenant: tenant.to_owned(),
        run: outcome.run.clone(),
        status,
        error: failure(outcome.first_error()),
    };
    match ledger.end(&ended).await {
        Ok(()) => {}
        // What made the streams fail says more than that the run's end could not be stored.
        Err(error) if outcome.first_error().is_some() => {
            tracing::error!(run = outcome.run, %error, "the run's end could not be stored");
        }
        Err(error) => return Err(error),
    }
    tracing::info!(run = outcome.run, %status, "sync ends");
    Ok(outcome)
}

/// A stream whose task panicked: a bug, but the other streams' outcomes stand.
fn broken(plan: &SyncPlan, stream: String, mode: SyncMode, panic: &tokio::task::JoinError) -> StreamOutcome {
    let error = Error::internal(format!("the sync of stream '{stream}' broke off: {panic}"))
        .hint("what was committed stays; run again, and report this if it comes back");
    StreamOutcome {
        name: name::run(&plan.connection.source, &stream, mode),
        stream,
        mode,
        status: RunStatus::Failed,
        books: Books::default(),
        progress: Progress::default(),
        receipt: None,
        error: Some(error),
        duration: Duration::ZERO,
    }
}
