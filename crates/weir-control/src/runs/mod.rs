//! Runs: what was executed, how it ended, and its books.

mod figures;
mod maintenance;
pub mod queue;
mod queue_sql;
mod reached;
mod records;
mod rows;
mod rules;
mod sql;
mod streams_sql;
mod sweep;
#[cfg(test)]
mod tests;
mod told;
mod told_sql;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::destination::Committed;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{Error, ErrorKind, Receipt, Result, SyncMode, name};

use crate::audit::{self, Record};
use crate::leases::{self, Lease, Owner};
use crate::ledger::Checkpoint;
use crate::store::{Outcome, Scope, stored_badly};
use crate::{Connection, Store, schemas, states};
use crate::{backfills, connections};

pub use figures::{Figures, figures};
pub(crate) use maintenance::start_maintenance;
pub use reached::reached;
pub use records::{Failure, Run, RunFilter, RunStatus, StoredNotice, StoredReceipt, StreamRun, Trigger};
pub(crate) use rules::overall;
pub use sweep::sweep;
use sweep::sweep_in;

/// At most so many notices are kept for a stream of a run; one more says that there were others.
const NOTICES_MAX: u32 = 100;
/// At most so many runs are listed at once.
const LIST_MAX: u32 = 500;

/// How a sync run comes to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    Anew(Trigger),
    /// A worker took this run from the queue.
    Claimed(String),
}

/// Begins a sync run: takes the leases of all its streams, or none.
///
/// Runs that died holding one of them become `abandoned`.
pub(crate) async fn start_sync(
    store: &Store,
    connection: &Connection,
    streams: &[(String, SyncMode)],
    begin: &Begin,
    owner: &Owner,
) -> Result<(String, Vec<Lease>)> {
    let run = &match begin {
        Begin::Anew(_) => Uuid::now_v7().to_string(),
        Begin::Claimed(run) => run.clone(),
    };
    let scope = Scope::Tenant(&connection.tenant);
    let record = &noted(connection, streams, run, begin);
    let acting = store.acting();
    let taken = store
        .write_alone(scope, &connection.name, "begin the run", |db, _| {
            Box::pin(async move {
                connections::register_in(db, connection).await?;
                let mut records = Vec::new();
                for (stream, _) in streams {
                    records.extend(take_over(db, connection, stream, run).await?);
                }
                records.extend(sweep_in(db).await?.records);
                if let Begin::Anew(trigger) = begin {
                    sql::insert(db, run, connection, "sync", *trigger).await?;
                }
                let mut taken = Vec::with_capacity(streams.len());
                for (stream, mode) in streams {
                    let run_name = name::run(&connection.source, stream, *mode);
                    sql::insert_stream(db, run, stream, &run_name, *mode).await?;
                    taken.push(leases::take(db, connection, stream, run, owner).await?);
                }
                match begin {
                    // Running already where this is the second time: the answer to the first was lost.
                    Begin::Anew(_) if is_running(db, run).await? => {}
                    Begin::Anew(_) => step(db, run, RunStatus::Running, None).await.map(drop)?,
                    // Its worker may have lost it since.
                    Begin::Claimed(_) => still_running(db, run).await?,
                }
                sql::insert_attempt(db, run, &format!("{}/{}", owner.host, owner.pid)).await?;
                told::started(db, run, streams).await?;
                records.extend(record.clone());
                audit::append_each_in(db, acting, records).await?;
                Ok(taken)
            })
        })
        .await?;
    Ok((run.clone(), taken))
}

async fn is_running(db: &mut AnyConnection, run: &str) -> Outcome<bool> {
    let status = sql::lock_status(db, run).await?;
    Ok(status.as_deref() == Some(RunStatus::Running.as_str()))
}

/// A run of the queue was noted when it was put there.
fn noted(
    connection: &Connection,
    streams: &[(String, SyncMode)],
    run: &str,
    begin: &Begin,
) -> Option<Record> {
    let Begin::Anew(trigger) = begin else { return None };
    let subject = format!("connection:{}", connection.name);
    let streams: Vec<&str> = streams.iter().map(|(stream, _)| stream.as_str()).collect();
    let record = Record::new(&connection.tenant, "run.start", subject).of(run);
    Some(
        record
            .with("started_by", trigger.as_str())
            .with("streams", streams),
    )
}

async fn still_running(db: &mut AnyConnection, run: &str) -> Outcome<()> {
    let status = sql::lock_status(db, run).await?;
    match status.ok_or_else(|| no_such_run(run))?.parse()? {
        RunStatus::Running => Ok(()),
        status => Err(rules::taken_away(run, status).into()),
    }
}

/// Frees a stream that a run which died still holds; refused while its run lives. What is given back is to be audited.
async fn take_over(
    db: &mut AnyConnection,
    connection: &Connection,
    stream: &str,
    run: &str,
) -> Outcome<Option<Record>> {
    let held = leases::held(db, connection, stream).await?;
    // Its own: begun before, by a commit whose answer was lost.
    let Some(held) = held.filter(|held| held.run != run) else {
        return Ok(None);
    };
    if !held.is_stale() {
        return Err(held.refusal(&connection.name, stream).into());
    }
    tracing::warn!(run = held.run, stream, "taking over from a run that died");
    if sql::abandon(db, &held.run, stream, held.owner.is_dead()).await? {
        told::stale(db, &held.run).await?;
        return follow_dead(db, &held.run).await;
    }
    Ok(None)
}

/// Whoever takes a stream over reads on; a range that was to be read beside it is left to the dead run's next attempt.
async fn follow_dead(db: &mut AnyConnection, run: &str) -> Outcome<Option<Record>> {
    if !backfills::is_chunk(db, run).await? {
        return Ok(None);
    }
    match queue::retry(db, run, queue::Cause::Died).await? {
        None => backfills::follow_in(db, run, RunStatus::Abandoned, None).await,
        retried => Ok(retried),
    }
}

/// Ends a run.
pub(crate) async fn finish(
    store: &Store,
    tenant: &str,
    run: &str,
    status: RunStatus,
    error: Option<&Error>,
) -> Result<()> {
    let acting = store.acting();
    store
        .write(Scope::Tenant(tenant), "end the run", |db, _| {
            Box::pin(async move {
                let before = step(db, run, status, error).await?;
                sql::finish_attempt(db, run, error).await?;
                leases::release_run(db, run).await?;
                let cause = match status {
                    RunStatus::Failed => Some(queue::Cause::Failed(error)),
                    RunStatus::Cancelled => Some(queue::Cause::Stopped),
                    _ => None,
                };
                if before.is_final() {
                    return Ok(());
                }
                let follows = match cause {
                    Some(cause) => queue::retry(db, run, cause).await?,
                    None => None,
                };
                told::ended(db, run, status, error, follows.is_some()).await?;
                let follows = match follows {
                    None => backfills::follow_in(db, run, status, error).await?,
                    retried => retried,
                };
                audit::append_each_in(db, acting, follows.into_iter().collect()).await
            })
        })
        .await
}

/// Gives back what the status was before.
async fn step(db: &mut AnyConnection, run: &str, to: RunStatus, error: Option<&Error>) -> Outcome<RunStatus> {
    let from = sql::lock_status(db, run).await?;
    let from: RunStatus = from.ok_or_else(|| no_such_run(run))?.parse()?;
    // Whoever swept meanwhile may have said it already.
    if from != to || !to.is_final() {
        rules::step(run, from, to)?;
    }
    sql::set_status(db, run, to, error).await?;
    Ok(from)
}

/// Moves one stream of a run to another state, under its lease.
pub(crate) async fn stream_step(
    store: &Store,
    lease: &Lease,
    mode: SyncMode,
    source: &str,
    to: RunStatus,
    error: Option<&Error>,
) -> Result<()> {
    let doing = "change the stream's status";
    let run_name = &name::run(source, &lease.stream, mode);
    // One statement, for it is asked twice of every stream; what stood in its way is looked for after.
    let is_done = store
        .statement(lease.scope(), doing, |db, _| {
            Box::pin(async move { Ok(sql::set_stream_status(db, lease, run_name, mode, to, error).await?) })
        })
        .await?;
    if is_done {
        return Ok(());
    }
    store
        .write(lease.scope(), doing, |db, _| {
            Box::pin(async move {
                leases::fence(db, lease).await?;
                let from = streams_sql::stream_status(db, &lease.run, &lease.stream).await?;
                let from: RunStatus = from.ok_or_else(|| no_such_run(&lease.run))?.parse()?;
                Ok(rules::step(&lease.run, from, to)?)
            })
        })
        .await
}

/// Stores receipt, state and books of a checkpoint together, under the lease's term.
pub(crate) async fn store_checkpoint(store: &Store, lease: &Lease, checkpoint: &Checkpoint) -> Result<()> {
    let Checkpoint {
        receipt,
        state,
        mode,
        progress,
    } = checkpoint;
    store
        .write(lease.scope(), "store the checkpoint", |db, _| {
            Box::pin(async move {
                leases::fence(db, lease).await?;
                let is_new = sql::insert_receipt(db, lease, receipt).await?;
                // A copy that comes late must not put back what a later checkpoint said.
                if !is_new && states::is_beyond(db, lease, receipt.sequence).await? {
                    return Ok(());
                }
                sql::set_stream_books(db, lease, receipt, *progress, is_new).await?;
                states::advance(db, lease, receipt.sequence, *mode, state).await?;
                schemas::record(db, lease, receipt).await?;
                Ok(())
            })
        })
        .await
}

/// Stores the books of a read that the lake refused to publish, and tells of it. The state stays where it was.
pub(crate) async fn store_refused(
    store: &Store,
    lease: &Lease,
    receipt: &Receipt,
    progress: Progress,
) -> Result<()> {
    store
        .write(lease.scope(), "store the books", |db, _| {
            Box::pin(async move {
                leases::fence(db, lease).await?;
                let known = sql::insert_receipt(db, lease, receipt).await?;
                sql::set_stream_books(db, lease, receipt, progress, known).await?;
                told::refused(db, lease, receipt).await
            })
        })
        .await
}

/// Brings the store to where the lake stands: ahead, where a run died before it could say what it
/// committed, or back, where the lake no longer has what the store knew.
pub(crate) async fn store_recovered(
    store: &Store,
    lease: &Lease,
    committed: Option<&Committed>,
) -> Result<()> {
    store
        .write(lease.scope(), "repair the state", |db, _| {
            Box::pin(async move {
                leases::fence(db, lease).await?;
                let mode = match committed {
                    Some(committed) => streams_sql::stream_mode(db, lease, &committed.run).await?,
                    None => None,
                };
                if let (Some(committed), Some(_)) = (committed, &mode) {
                    sql::insert_recovered(db, &lease.stream, committed).await?;
                }
                states::recover(db, lease, committed, mode.as_deref()).await
            })
        })
        .await
}

/// The mode in which a run of the lease's connection read its stream, where the store knows it.
pub(crate) async fn mode_of(store: &Store, lease: &Lease, run: &str) -> Result<Option<SyncMode>> {
    let mode = store
        .read(lease.scope(), "read the run", |db, _| {
            Box::pin(async move { Ok(streams_sql::stream_mode(db, lease, run).await?) })
        })
        .await?;
    mode.map(|mode| {
        mode.parse()
            .map_err(|error| stored_badly("sync mode", &mode, error))
    })
    .transpose()
}

/// Keeps a notice with its run. Past the limit, only that there were more.
pub(crate) async fn note(store: &Store, lease: &Lease, notice: &Notice) -> Result<()> {
    store
        .write(lease.scope(), "store a notice", |db, _| {
            Box::pin(async move {
                leases::fence(db, lease).await?;
                Ok(sql::insert_notice(db, lease, notice, NOTICES_MAX).await?)
            })
        })
        .await
}

/// Runs, newest first.
pub async fn list(store: &Store, tenant: &str, filter: &RunFilter) -> Result<Vec<Run>> {
    store
        .read(Scope::Tenant(tenant), "list runs", |db, _| {
            Box::pin(async move {
                let mut runs = sql::list(db, tenant, filter, filter.limit.min(LIST_MAX)).await?;
                for run in &mut runs {
                    run.streams = sql::streams(db, &run.id).await?;
                }
                Ok(runs)
            })
        })
        .await
}

/// One run. The start of an id is enough where it is the only one.
pub async fn get(store: &Store, tenant: &str, id: &str) -> Result<Run> {
    let found = store
        .read(Scope::Tenant(tenant), "read the run", |db, _| {
            Box::pin(async move {
                let mut found = sql::by_prefix(db, tenant, id).await?;
                for run in &mut found {
                    run.streams = sql::streams(db, &run.id).await?;
                }
                Ok(found)
            })
        })
        .await?;
    match <[Run; 1]>::try_from(found) {
        Ok([run]) => Ok(run),
        Err(found) if found.is_empty() => Err(no_such_run(id)),
        Err(_) => Err(Error::usage(format!("several runs begin with '{id}'")).hint("write more of the id")),
    }
}

/// A run with all that was kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeRun {
    pub run: Run,
    /// Oldest first, as the notices.
    pub receipts: Vec<StoredReceipt>,
    pub notices: Vec<StoredNotice>,
}

/// One run by its whole id, with receipts and notices.
pub async fn whole(store: &Store, tenant: &str, run: &str) -> Result<WholeRun> {
    store
        .read(Scope::Tenant(tenant), "read the run", |db, _| {
            Box::pin(async move { whole_in(db, tenant, run).await })
        })
        .await
}

async fn whole_in(db: &mut AnyConnection, tenant: &str, run: &str) -> Outcome<WholeRun> {
    let found = sql::by_prefix(db, tenant, run).await?;
    let found = found.into_iter().find(|found| found.id == run);
    let mut found = found.ok_or_else(|| no_such_run(run))?;
    found.streams = sql::streams(db, run).await?;
    Ok(WholeRun {
        receipts: sql::receipts(db, tenant, run).await?,
        notices: sql::notices(db, tenant, run).await?,
        run: found,
    })
}

/// A run's receipts, oldest first.
pub async fn receipts(store: &Store, tenant: &str, run: &str) -> Result<Vec<StoredReceipt>> {
    store
        .read(Scope::Tenant(tenant), "read the run's receipts", |db, _| {
            Box::pin(async move { Ok(sql::receipts(db, tenant, run).await?) })
        })
        .await
}

/// A run's notices, oldest first.
pub async fn notices(store: &Store, tenant: &str, run: &str) -> Result<Vec<StoredNotice>> {
    store
        .read(Scope::Tenant(tenant), "read the run's notices", |db, _| {
            Box::pin(async move { Ok(sql::notices(db, tenant, run).await?) })
        })
        .await
}

/// What was kept, as an error again. Its kind still decides whether trying again may help.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let kind = serde_json::from_value(failure.kind.into()).unwrap_or(ErrorKind::Internal);
        let error = Self::new(kind, failure.message);
        match failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Why something failed, as it is kept.
impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind().to_string(),
            message: error.to_string(),
            hint: error.next_step().map(ToOwned::to_owned),
        }
    }
}

fn no_such_run(id: &str) -> Error {
    Error::not_found(format!("there is no run '{id}'")).hint("`weir run list` shows the runs there are")
}

/// Numbers of records and calls a run's streams add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    pub books: weir_protocol::Books,
    pub source_bytes: u64,
    pub requests: u64,
}

impl Run {
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for stream in &self.streams {
            totals.books += stream.books;
            totals.source_bytes += stream.source_bytes;
            totals.requests += stream.requests;
        }
        totals
    }
}
