//! Where each stream of a connection is read on: a copy of what the lake holds, and a person's wish
//! to read on from elsewhere.

mod desk;
mod sql;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use weir_protocol::destination::Committed;
use weir_protocol::{Error, Result, StreamState, SyncMode};

use crate::audit::{self, Record};
use crate::leases::Lease;
use crate::store::{Expected, Outcome, Scope, stored_badly};
use crate::{Connection, Store, connections, leases};

pub use desk::{Asked, Desk, Streams};

/// A stream's state as the store knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoredState {
    pub stream: String,
    /// Checkpoint that it belongs to; 0 before the first.
    pub sequence: u64,
    /// Run that wrote it.
    pub run: Option<String>,
    pub mode: Option<String>,
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub state: StreamState,
    /// What the next run is to read on from instead.
    pub wish: Option<Wish>,
    pub updated_at_ms: i64,
}

/// Where a person wants the next run to begin. Over as soon as a checkpoint after it exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// At the beginning.
    Reset,
    From(#[schemars(with = "serde_json::Map<String, serde_json::Value>")] StreamState),
    /// At the beginning, in full, whatever the stream's mode: `--full` was asked for, and no
    /// checkpoint came of it yet.
    Full,
}

pub async fn list(store: &Store, tenant: &str, connection: &str) -> Result<Vec<StoredState>> {
    let rows = store
        .read(Scope::Tenant(tenant), "read states", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant, connection).await?) })
        })
        .await?;
    rows.into_iter().map(sql::StateRow::read).collect()
}

pub async fn get(store: &Store, tenant: &str, connection: &str, stream: &str) -> Result<Option<StoredState>> {
    let row = store
        .read(Scope::Tenant(tenant), "read the state", |db, _| {
            Box::pin(async move { Ok(sql::get(db, tenant, connection, stream).await?) })
        })
        .await?;
    row.map(sql::StateRow::read).transpose()
}

/// Makes the next run of a stream read on from elsewhere. Refused while a run has the stream.
pub async fn set(store: &Store, connection: &Connection, stream: &str, wish: &Wish) -> Result<()> {
    set_if(store, connection, stream, wish, &|_| Ok(())).await
}

/// As [`set`], unless `expected` refuses what the state is by then; None: there is none yet.
pub async fn set_if(
    store: &Store,
    connection: &Connection,
    stream: &str,
    wish: &Wish,
    expected: Expected<'_, Option<StoredState>>,
) -> Result<()> {
    let text = &match wish {
        Wish::Reset => sql::RESET.to_owned(),
        Wish::Full => sql::FULL.to_owned(),
        Wish::From(state) => write(state)?,
    };
    let scope = Scope::Tenant(&connection.tenant);
    let action = match wish {
        Wish::Reset => "state.reset",
        Wish::From(_) | Wish::Full => "state.set",
    };
    let subject = format!("stream:{}.{stream}", connection.name);
    let record = &Record::new(&connection.tenant, action, subject);
    let acting = store.acting();
    store
        .write_alone(scope, &connection.name, "set the state", |db, _| {
            Box::pin(async move {
                connections::register_in(db, connection).await?;
                if let Some(held) = leases::held(db, connection, stream).await?
                    && !held.is_stale()
                {
                    return Err(held.refusal(&connection.name, stream).into());
                }
                let (tenant, name) = (connection.tenant.as_str(), connection.name.as_str());
                let known = sql::get(db, tenant, name, stream).await?;
                expected(&known.map(sql::StateRow::read).transpose()?)?;
                sql::set_wish(db, (tenant, name), stream, text).await?;
                audit::append_in(db, acting, record).await
            })
        })
        .await
}

/// Notes the wish for a full read that the lease's run begins to carry out.
pub(crate) async fn ask_full(store: &Store, lease: &Lease) -> Result<()> {
    let connection = (lease.tenant.as_str(), lease.connection.as_str());
    store
        .write(lease.scope(), "note the full read", |db, _| {
            Box::pin(async move {
                leases::fence(db, lease).await?;
                Ok(sql::set_wish(db, connection, &lease.stream, sql::FULL).await?)
            })
        })
        .await
}

/// Ends the wish for a full read: one was read to its end.
pub(crate) async fn full_is_done(store: &Store, lease: &Lease) -> Result<()> {
    store
        .write(lease.scope(), "note the end of the full read", |db, _| {
            Box::pin(async move {
                leases::fence(db, lease).await?;
                Ok(sql::end_full(db, lease).await?)
            })
        })
        .await
}

/// The state of a new checkpoint, inside its transaction. It ends a wish that it fulfilled.
pub(crate) async fn advance(
    db: &mut AnyConnection,
    lease: &Lease,
    sequence: u64,
    mode: SyncMode,
    state: &StreamState,
) -> Outcome<()> {
    let text = write(state)?;
    sql::advance(
        db,
        lease,
        sequence,
        (Some(&lease.run), true),
        Some(mode.as_str()),
        &text,
    )
    .await?;
    Ok(())
}

/// What the lake holds replaces what the store thought.
/// Whether the stream stands behind that checkpoint already.
pub(crate) async fn is_beyond(db: &mut AnyConnection, lease: &Lease, sequence: u64) -> sqlx::Result<bool> {
    sql::is_beyond(db, lease, sequence).await
}

pub(crate) async fn recover(
    db: &mut AnyConnection,
    lease: &Lease,
    committed: Option<&Committed>,
    mode: Option<&str>,
) -> Outcome<()> {
    let text = write(&committed.map_or_else(StreamState::default, |found| found.state.clone()))?;
    let sequence = committed.map_or(0, |found| found.sequence);
    let run = committed.map(|found| found.run.as_str());
    sql::advance(db, lease, sequence, (run, false), mode, &text).await?;
    Ok(())
}

fn write(state: &StreamState) -> Result<String> {
    serde_json::to_string(state).map_err(|error| {
        Error::internal("cannot write a state")
            .caused_by(error)
            .hint("report it")
    })
}

fn read(text: &str) -> Result<StreamState> {
    serde_json::from_str(text).map_err(|error| stored_badly("state", text, error))
}

impl StoredState {
    /// The wish, as long as nothing was committed since it was made.
    pub(crate) fn open_wish(&self, committed: u64) -> Option<&Wish> {
        self.wish.as_ref().filter(|_| committed <= self.sequence)
    }
}
