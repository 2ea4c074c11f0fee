//! The time-bounded right to sync one stream of a connection. Every later write names the lease's
//! term; whoever lost it can write nothing.

mod owner;
mod sql;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use weir_protocol::{Error, ErrorKind, Result};

use crate::store::{Outcome, Scope};
use crate::{Connection, Store};

pub use owner::Owner;
#[cfg(test)]
pub(crate) use sql::expire_all;
pub(crate) use sql::{lease_ms, release_run};

/// How long a lease holds without a heartbeat.
pub const LEASE_TIME: Duration = Duration::from_secs(30);
/// How often it is renewed.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// The right to sync one stream, as held by one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub tenant: String,
    pub connection: String,
    pub stream: String,
    pub run: String,
    /// Grows with every holder.
    pub term: i64,
}

impl Lease {
    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope::Tenant(&self.tenant)
    }
}

/// A lease somebody has, as far as another one must know.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) run: String,
    pub(crate) owner: Owner,
    pub(crate) acquired_at_ms: i64,
    pub(crate) expired: bool,
}

impl Held {
    /// Whether another run may take it over.
    pub(crate) fn is_stale(&self) -> bool {
        self.expired || self.owner.is_dead()
    }

    pub(crate) fn refusal(&self, connection: &str, stream: &str) -> Error {
        let since = Timestamp::from_millisecond(self.acquired_at_ms).unwrap_or_default();
        let Owner { host, pid, .. } = &self.owner;
        Error::new(
            ErrorKind::Conflict,
            format!("stream '{stream}' of '{connection}' is held by another run"),
        )
        .with("run", &self.run)
        .with("host", host)
        .with("pid", pid)
        .with("since", format_args!("{since:.0}"))
        .hint(format!(
            "wait for it, or end process {pid} on {host}; a run that died is taken over after {} s",
            LEASE_TIME.as_secs()
        ))
    }
}

/// Who holds the stream now, if anybody does.
pub(crate) async fn held(
    db: &mut AnyConnection,
    connection: &Connection,
    stream: &str,
) -> sqlx::Result<Option<Held>> {
    sql::held(db, connection, stream).await
}

/// Takes the lease, whoever has it. The caller decides, in the same transaction, that it may.
pub(crate) async fn take(
    db: &mut AnyConnection,
    connection: &Connection,
    stream: &str,
    run: &str,
    owner: &Owner,
) -> sqlx::Result<Lease> {
    let term = sql::take(db, connection, stream, run, owner).await?;
    Ok(Lease {
        tenant: connection.tenant.clone(),
        connection: connection.name.clone(),
        stream: stream.to_owned(),
        run: run.to_owned(),
        term,
    })
}

/// Extends the lease; refused once another run has taken it over.
pub async fn renew(store: &Store, lease: &Lease) -> Result<()> {
    if try_renew(store, lease).await? {
        Ok(())
    } else {
        Err(lost(lease))
    }
}

/// Extends the lease; false once another run has taken it over.
pub(crate) async fn try_renew(store: &Store, lease: &Lease) -> Result<bool> {
    store
        .statement(lease.scope(), "renew the lease", |db, _| {
            Box::pin(async move { Ok(sql::renew(db, lease).await?) })
        })
        .await
}

/// Gives the lease back, so that the next run need not wait for its end.
pub async fn release(store: &Store, lease: &Lease) -> Result<()> {
    store
        .statement(lease.scope(), "release the lease", |db, _| {
            Box::pin(async move { Ok(sql::release(db, lease).await?) })
        })
        .await
}

/// Refuses, inside a transaction, writes under a term that is over.
pub(crate) async fn fence(db: &mut AnyConnection, lease: &Lease) -> Outcome<()> {
    if sql::holds(db, lease).await? {
        Ok(())
    } else {
        Err(lost(lease).into())
    }
}

/// Refuses where the lease is not held, or not any more.
pub(crate) async fn refuse_lost(store: &Store, lease: &Lease) -> Result<()> {
    store
        .write(lease.scope(), "look whether the lease is held", |db, _| {
            Box::pin(async move { fence(db, lease).await })
        })
        .await
}

pub(crate) fn lost(lease: &Lease) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "this run lost its lease: another run took the stream over",
    )
    .with("connection", &lease.connection)
    .with("stream", &lease.stream)
    .with("run", &lease.run)
    .with("term", lease.term)
    .hint("nothing was lost: the other run goes on from the last checkpoint; `weir run list` shows it")
}
