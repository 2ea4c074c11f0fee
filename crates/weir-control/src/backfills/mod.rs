//! Backfills: a range of a stream's cursor that is read again beside its incremental runs, chunk by
//! chunk. A chunk is a run; the next one is queued when it is done, so that scheduled runs of the same
//! connection take turns with it, and pausing is not queueing the next.

mod rules;
mod sql;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::{Error, ErrorKind, Result};

use crate::audit::{self, Record};
use crate::runs::queue::{self, Order, RunOptions};
use crate::runs::{Failure, RunStatus};
use crate::store::{Expected, Outcome, Scope, stored_badly};
use crate::{Store, connections};

/// Tries of one chunk, the first one included.
const ATTEMPTS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Running,
    /// The chunk under way ends; no other follows.
    Paused,
    Succeeded,
    /// A chunk failed for good; `resume` tries it again.
    Failed,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| stored_badly("status of a backfill", text, "unknown word"))
    }
}

/// A backfill as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Backfill {
    pub id: String,
    pub tenant: String,
    pub connection: String,
    pub streams: Vec<String>,
    pub from: String,
    pub to: String,
    pub chunks: u64,
    /// Chunks that are read, from the beginning on.
    pub done: u64,
    pub status: Status,
    pub created_at_ms: i64,
    pub created_by: String,
    pub updated_at_ms: i64,
    pub error: Option<String>,
    #[serde(skip)]
    edges: Vec<String>,
}

/// A backfill that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    #[schemars(length(min = 1))]
    pub connection: String,
    /// Streams that are read on by a cursor and have a key.
    #[schemars(length(min = 1))]
    pub streams: Vec<String>,
    /// Cursor value, inclusive: a date, a time, or a whole number.
    pub from: String,
    /// Cursor value, inclusive.
    pub to: String,
    /// What each run reads: `7d`, `12h`, or a number where the range is one of numbers. All at once if
    /// left out.
    #[serde(default)]
    pub chunk: Option<String>,
}

impl Backfill {
    /// The run of the next chunk; none where all are read.
    fn next(&self) -> Option<Order> {
        let at = usize::try_from(self.done).ok()?;
        let (from, to) = (self.edges.get(at)?, self.edges.get(at + 1)?);
        let options = RunOptions {
            streams: self.streams.clone(),
            from: Some(from.clone()),
            to: Some(to.clone()),
            ..RunOptions::default()
        };
        Some(Order {
            backfill: Some(self.id.clone()),
            attempts_max: ATTEMPTS,
            ..Order::asked(&self.tenant, &self.connection, options)
        })
    }
}

/// Cuts the range, and queues its first chunk.
pub async fn create(store: &Store, tenant: &str, wanted: &Wanted) -> Result<Backfill> {
    let known = connections::get(store, tenant, &wanted.connection).await?;
    if wanted.streams.is_empty() || wanted.streams.iter().any(String::is_empty) {
        return Err(Error::usage("a backfill names its streams").hint("name at least one stream"));
    }
    let edges = rules::edges(&wanted.from, &wanted.to, wanted.chunk.as_deref())?;
    let acting = store.acting();
    let new = &Backfill {
        id: Uuid::now_v7().to_string(),
        tenant: tenant.to_owned(),
        connection: known.name,
        streams: wanted.streams.clone(),
        from: wanted.from.clone(),
        to: wanted.to.clone(),
        chunks: edges.len().saturating_sub(1) as u64,
        done: 0,
        status: Status::Running,
        created_at_ms: 0,
        created_by: acting.principal.clone(),
        updated_at_ms: 0,
        error: None,
        edges,
    };
    let record = &noted(new, "backfill.create")
        .with("streams", new.streams.clone())
        .with("from", new.from.as_str())
        .with("to", new.to.as_str())
        .with("chunks", new.chunks);
    store
        .write_alone(
            Scope::Tenant(tenant),
            &new.connection,
            "begin the backfill",
            |db, _| {
                Box::pin(async move {
                    let mut records = vec![record.clone()];
                    if sql::insert(db, new).await?
                        && let Some(order) = new.next()
                    {
                        records.extend(queue::put_in(db, &order).await?);
                    }
                    audit::append_all_in(db, acting, &records).await?;
                    found(sql::get(db, tenant, &new.id).await?, &new.id)
                })
            },
        )
        .await
}

fn noted(backfill: &Backfill, action: &'static str) -> Record {
    let subject = format!("connection:{}", backfill.connection);
    Record::new(&backfill.tenant, action, subject)
        .of(&backfill.id)
        .with("backfill", backfill.id.as_str())
}

fn found(backfill: Option<Backfill>, id: &str) -> Outcome<Backfill> {
    Ok(backfill.ok_or_else(|| {
        Error::not_found(format!("there is no backfill '{id}'"))
            .hint("`weir backfill list` shows those there are")
    })?)
}

/// Newest first.
pub async fn list(store: &Store, tenant: &str) -> Result<Vec<Backfill>> {
    store
        .read(Scope::Tenant(tenant), "list backfills", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant).await?) })
        })
        .await
}

pub async fn get(store: &Store, tenant: &str, id: &str) -> Result<Backfill> {
    store
        .read(Scope::Tenant(tenant), "read the backfill", |db, _| {
            Box::pin(async move { found(sql::get(db, tenant, id).await?, id) })
        })
        .await
}

/// What becomes of a backfill by a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Lets no further chunk follow the one under way.
    Pause,
    /// Goes on with the next chunk that is not read.
    Resume,
    /// Ends it; the chunk under way stops at its next checkpoint. What was read stays.
    Cancel,
}

impl Change {
    fn parts(self) -> (&'static str, Status) {
        match self {
            Self::Pause => ("backfill.pause", Status::Paused),
            Self::Resume => ("backfill.resume", Status::Running),
            Self::Cancel => ("backfill.cancel", Status::Cancelled),
        }
    }
}

/// Lets no further chunk follow the one under way.
pub async fn pause(store: &Store, tenant: &str, id: &str) -> Result<Backfill> {
    change_if(store, tenant, id, Change::Pause, &|_| Ok(())).await
}

/// Goes on with the next chunk that is not read.
pub async fn resume(store: &Store, tenant: &str, id: &str) -> Result<Backfill> {
    change_if(store, tenant, id, Change::Resume, &|_| Ok(())).await
}

/// Ends it; the chunk under way stops at its next checkpoint. What was read stays.
pub async fn cancel(store: &Store, tenant: &str, id: &str) -> Result<Backfill> {
    change_if(store, tenant, id, Change::Cancel, &|_| Ok(())).await
}

/// Changes it, unless `expected` refuses what it is by then.
pub async fn change_if(
    store: &Store,
    tenant: &str,
    id: &str,
    change: Change,
    expected: Expected<'_, Backfill>,
) -> Result<Backfill> {
    let (action, to) = change.parts();
    let seen = get(store, tenant, id).await?;
    let record = &noted(&seen, action);
    let acting = store.acting();
    store
        .write_alone(
            Scope::Tenant(tenant),
            &seen.connection,
            "change the backfill",
            |db, _| {
                Box::pin(async move {
                    let now = found(sql::get(db, tenant, id).await?, id)?;
                    expected(&now)?;
                    if now.status == to {
                        return Ok(now);
                    }
                    if matches!(now.status, Status::Succeeded | Status::Cancelled)
                        || (to == Status::Paused && now.status != Status::Running)
                    {
                        return Err(Error::new(
                            ErrorKind::Conflict,
                            format!("the backfill is {} and cannot become {to}", now.status),
                        )
                        .hint("begin a new one for the same range")
                        .into());
                    }
                    sql::set(db, id, (now.done, to), None).await?;
                    let mut records = vec![record.clone()];
                    match (to, sql::open_run(db, id).await?) {
                        (Status::Running, None) => {
                            if let Some(order) = now.next() {
                                records.extend(queue::put_in(db, &order).await?);
                            }
                        }
                        (Status::Cancelled, Some((run, _))) => sql::stop_run(db, &run).await?,
                        _ => {}
                    }
                    audit::append_all_in(db, acting, &records).await?;
                    found(sql::get(db, tenant, id).await?, id)
                })
            },
        )
        .await
}

/// Whether a run is a chunk of a backfill.
pub(crate) async fn is_chunk(db: &mut AnyConnection, run: &str) -> Outcome<bool> {
    Ok(sql::of_run(db, run).await?.is_some())
}

/// What follows the end of a run that is a chunk, inside the transaction of that end. What is given back
/// is to be audited.
pub(crate) async fn follow_in(
    db: &mut AnyConnection,
    run: &str,
    status: RunStatus,
    error: Option<&Error>,
) -> Outcome<Option<Record>> {
    let Some(mut backfill) = sql::of_run(db, run).await? else {
        return Ok(None);
    };
    if status == RunStatus::Succeeded {
        backfill.done += 1;
        let is_over = backfill.done >= backfill.chunks;
        let next = match backfill.status {
            _ if is_over => Status::Succeeded,
            // The chunk ended well all the same: there is nothing left to mend in it.
            Status::Failed => Status::Running,
            other => other,
        };
        sql::set(db, &backfill.id, (backfill.done, next), None).await?;
        if next != Status::Running {
            return Ok(None);
        }
        return Ok(match backfill.next() {
            Some(order) => queue::put_in(db, &order).await?,
            None => None,
        });
    }
    if backfill.status == Status::Running {
        let (next, said) = match status {
            RunStatus::Cancelled => (Status::Paused, "its run was cancelled".to_owned()),
            _ => {
                let failure = error.map(Failure::from);
                let said = failure.map_or_else(|| "its run died".to_owned(), |failure| failure.message);
                (Status::Failed, said)
            }
        };
        sql::set(db, &backfill.id, (backfill.done, next), Some(&said)).await?;
    }
    Ok(None)
}
