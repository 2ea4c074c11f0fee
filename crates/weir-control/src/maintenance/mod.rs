//! Work on a stream's table that is no sync: it holds the stream's lease, so that no sync comes between,
//! and is a run that can be looked at afterwards.

#[cfg(test)]
mod tests;

use std::future::Future;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;
use weir_protocol::{Error, ErrorKind, Result};

use crate::leases::{self, HEARTBEAT, LEASE_TIME, Lease, Owner};
use crate::runs::{self, RunStatus};
use crate::{Connection, Store};

/// What is done, as the run's kind says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rows are made anew from Bronze.
    Rebuild,
    Maintenance,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Maintenance => "maintenance",
        }
    }
}

/// Does `work` while it holds the stream. Refused while a run that lives holds it; given up where the
/// lease is lost meanwhile, as by a machine that slept.
pub async fn hold<T>(
    store: &Store,
    connection: &Connection,
    stream: &str,
    kind: Kind,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let run = Uuid::now_v7().to_string();
    hold_as(
        store,
        connection,
        stream,
        (kind, &run, &Owner::this_process()),
        work,
    )
    .await
}

/// As [`hold`], by a run and an owner that are named.
pub async fn hold_as<T>(
    store: &Store,
    connection: &Connection,
    stream: &str,
    (kind, run, owner): (Kind, &str, &Owner),
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let lease = runs::start_maintenance(store, connection, stream, kind, run, owner).await?;
    // In a task of its own: work that leaves its thread to nobody for long must not cost the lease.
    let mut keeping = AbortOnDropHandle::new(tokio::spawn(keep(store.clone(), lease.clone())));
    let done = tokio::select! {
        done = work => done,
        lost = &mut keeping => Err(lost.unwrap_or_else(|error| {
            Error::internal("the lease's heartbeat broke off").caused_by(error).hint("run it again")
        })),
    };
    drop(keeping);
    let (status, error) = match &done {
        Ok(_) => (RunStatus::Succeeded, None),
        Err(error) if error.kind() == ErrorKind::Cancelled => (RunStatus::Cancelled, Some(error)),
        Err(error) => (RunStatus::Failed, Some(error)),
    };
    let ended = runs::finish(store, &lease.tenant, run, status, error).await;
    match (done, ended) {
        (Ok(value), Ok(())) => Ok(value),
        // What was done is done; whoever took the stream over has ended the run.
        (Ok(value), Err(error)) => {
            tracing::warn!(run, %error, "the end of the run could not be stored");
            Ok(value)
        }
        (Err(error), _) => Err(error),
    }
}

/// Renews the lease until it is lost, and says so then.
async fn keep(store: Store, lease: Lease) -> Error {
    let mut ticks = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed_at = Instant::now();
    loop {
        ticks.tick().await;
        let asked_at = Instant::now();
        match leases::renew(&store, &lease).await {
            Ok(()) => renewed_at = asked_at,
            Err(error) if error.kind() == ErrorKind::Conflict => return error,
            // A store that is busy for a moment costs nothing as long as the lease holds.
            Err(error) if renewed_at.elapsed() + HEARTBEAT < LEASE_TIME => {
                tracing::warn!(run = lease.run, stream = lease.stream, %error, "heartbeat failed");
            }
            Err(error) => return error,
        }
    }
}
