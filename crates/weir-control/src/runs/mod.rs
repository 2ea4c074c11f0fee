//! Runs: what was executed, how it ended, and its books.

mod records;
mod rows;
mod rules;
mod sql;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use uuid::Uuid;
use weir_protocol::destination::Committed;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{Error, Receipt, Result, StreamState, SyncMode, name};

use crate::connections;
use crate::leases::{self, Lease, Owner};
use crate::store::stored_badly;
use crate::{Connection, Store, schemas, states};

pub use records::{Failure, Run, RunFilter, RunStatus, StoredNotice, StoredReceipt, StreamRun, Trigger};
pub(crate) use rules::overall;

/// At most so many notices are kept for a stream of a run; one more says that there were others.
const NOTICES_MAX: u32 = 100;
/// At most so many runs are listed at once.
const LIST_MAX: u32 = 500;

/// Begins a sync run: takes the leases of all its streams, or none.
///
/// Runs that died holding one of them become `abandoned`.
pub(crate) async fn start_sync(
    store: &Store,
    connection: &Connection,
    streams: &[(String, SyncMode)],
    trigger: Trigger,
    owner: &Owner,
) -> Result<(String, Vec<Lease>)> {
    let run = Uuid::now_v7().to_string();
    let mut transaction = store.write().await?;
    let db: &mut SqliteConnection = &mut transaction;
    let failed = |error| store.failed("begin the run", error);
    connections::register_in(db, connection).await.map_err(failed)?;
    for (stream, _) in streams {
        let held = leases::held(db, connection, stream).await.map_err(failed)?;
        let Some(held) = held else { continue };
        if !held.is_stale() {
            return Err(held.refusal(&connection.name, stream));
        }
        tracing::warn!(run = held.run, stream, "taking over from a run that died");
        sql::abandon(db, &held.run, stream, held.owner.is_dead())
            .await
            .map_err(failed)?;
    }
    sweep_in(db).await.map_err(failed)??;
    sql::insert(db, &run, connection, trigger).await.map_err(failed)?;
    let mut taken = Vec::with_capacity(streams.len());
    for (stream, mode) in streams {
        let run_name = name::run(&connection.source, stream, *mode);
        sql::insert_stream(db, &run, stream, &run_name, *mode)
            .await
            .map_err(failed)?;
        let lease = leases::take(db, connection, stream, &run, owner).await;
        taken.push(lease.map_err(failed)?);
    }
    step(store, db, &run, RunStatus::Running, None).await?;
    sql::insert_attempt(db, &run, &format!("{}/{}", owner.host, owner.pid))
        .await
        .map_err(failed)?;
    store.commit(transaction).await?;
    Ok((run, taken))
}

/// Ends a run.
pub(crate) async fn finish(store: &Store, run: &str, status: RunStatus, error: Option<&Error>) -> Result<()> {
    let mut transaction = store.write().await?;
    let db: &mut SqliteConnection = &mut transaction;
    step(store, db, run, status, error).await?;
    let failed = |error| store.failed("end the run", error);
    sql::finish_attempt(db, run, error).await.map_err(failed)?;
    leases::release_run(db, run).await.map_err(failed)?;
    store.commit(transaction).await
}

async fn step(
    store: &Store,
    db: &mut SqliteConnection,
    run: &str,
    to: RunStatus,
    error: Option<&Error>,
) -> Result<()> {
    let failed = |error| store.failed("change the run's status", error);
    let from = sql::status(db, run).await.map_err(failed)?;
    let from: RunStatus = from.ok_or_else(|| no_such_run(run))?.parse()?;
    // Whoever swept meanwhile may have said it already.
    if from != to || !to.is_final() {
        rules::step(run, from, to)?;
    }
    sql::set_status(db, run, to, error).await.map_err(failed)
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
    let failed = |error| store.failed("change the stream's status", error);
    let run_name = name::run(source, &lease.stream, mode);
    // One statement, for it is asked twice of every stream; what stood in its way is looked for after.
    let is_done = sql::set_stream_status(store.writer(), lease, &run_name, mode, to, error)
        .await
        .map_err(failed)?;
    if is_done {
        return Ok(());
    }
    let mut transaction = store.write().await?;
    let db: &mut SqliteConnection = &mut transaction;
    leases::fence(db, lease).await.map_err(failed)??;
    let from = sql::stream_status(db, &lease.run, &lease.stream)
        .await
        .map_err(failed)?;
    let from: RunStatus = from.ok_or_else(|| no_such_run(&lease.run))?.parse()?;
    rules::step(&lease.run, from, to)
}

/// What one checkpoint left behind.
#[derive(Debug)]
pub(crate) struct Checkpoint<'a> {
    pub(crate) receipt: &'a Receipt,
    pub(crate) state: &'a StreamState,
    pub(crate) mode: SyncMode,
    pub(crate) progress: Progress,
}

/// Stores receipt, state and books of a checkpoint together, under the lease's term.
pub(crate) async fn store_checkpoint(
    store: &Store,
    lease: &Lease,
    checkpoint: &Checkpoint<'_>,
) -> Result<()> {
    let mut transaction = store.write().await?;
    let db: &mut SqliteConnection = &mut transaction;
    let failed = |error| store.failed("store the checkpoint", error);
    leases::fence(db, lease).await.map_err(failed)??;
    let receipt = checkpoint.receipt;
    let known = sql::insert_receipt(db, lease, receipt).await.map_err(failed)?;
    sql::set_stream_books(db, lease, receipt, checkpoint.progress, known)
        .await
        .map_err(failed)?;
    states::advance(
        store,
        db,
        lease,
        receipt.sequence,
        checkpoint.mode,
        checkpoint.state,
    )
    .await?;
    schemas::record(db, lease, receipt).await.map_err(failed)?;
    store.commit(transaction).await
}

/// Stores the books of a read that the lake refused to publish. The state stays where it was.
pub(crate) async fn store_refused(
    store: &Store,
    lease: &Lease,
    receipt: &Receipt,
    progress: Progress,
) -> Result<()> {
    let mut transaction = store.write().await?;
    let db: &mut SqliteConnection = &mut transaction;
    let failed = |error| store.failed("store the books", error);
    leases::fence(db, lease).await.map_err(failed)??;
    let known = sql::insert_receipt(db, lease, receipt).await.map_err(failed)?;
    sql::set_stream_books(db, lease, receipt, progress, known)
        .await
        .map_err(failed)?;
    store.commit(transaction).await
}

/// Brings the store to where the lake stands: ahead, where a run died before it could say what it
/// committed, or back, where the lake no longer has what the store knew.
pub(crate) async fn store_recovered(
    store: &Store,
    lease: &Lease,
    committed: Option<&Committed>,
) -> Result<()> {
    let mut transaction = store.write().await?;
    let db: &mut SqliteConnection = &mut transaction;
    let failed = |error| store.failed("repair the state", error);
    leases::fence(db, lease).await.map_err(failed)??;
    let mode = match committed {
        Some(committed) => sql::stream_mode(db, &committed.run, &lease.stream)
            .await
            .map_err(failed)?,
        None => None,
    };
    if let (Some(committed), Some(_)) = (committed, &mode) {
        sql::insert_recovered(db, &lease.stream, committed)
            .await
            .map_err(failed)?;
    }
    states::recover(store, db, lease, committed, mode.as_deref()).await?;
    store.commit(transaction).await
}

/// The mode in which a run read a stream, where the store knows it.
pub(crate) async fn mode_of(store: &Store, run: &str, stream: &str) -> Result<Option<SyncMode>> {
    let mut db = store
        .readers()
        .acquire()
        .await
        .map_err(|error| store.failed("read the run", error))?;
    let mode = sql::stream_mode(&mut db, run, stream)
        .await
        .map_err(|error| store.failed("read the run", error))?;
    mode.map(|mode| {
        mode.parse()
            .map_err(|error| stored_badly("sync mode", &mode, error))
    })
    .transpose()
}

/// Keeps a notice with its run. Past the limit, only that there were more.
pub(crate) async fn note(store: &Store, lease: &Lease, notice: &Notice) -> Result<()> {
    sql::insert_notice(store.writer(), lease, notice, NOTICES_MAX)
        .await
        .map_err(|error| store.failed("store a notice", error))
}

/// Marks running runs that hold no living lease as abandoned; gives back how many.
pub async fn sweep(store: &Store) -> Result<u64> {
    let mut transaction = store.write().await?;
    let failed = |error| store.failed("look for runs that died", error);
    let dead = sweep_in(&mut transaction).await.map_err(failed)??;
    store.commit(transaction).await?;
    Ok(dead)
}

/// A run of which every stream has ended, and whose own end is not stored yet, ends as they did: it may
/// be alive and about to say the same.
async fn sweep_in(db: &mut SqliteConnection) -> sqlx::Result<Result<u64>> {
    let mut dead = 0;
    for run in sql::unfinished(db).await? {
        let holders = sql::living_holders(db, &run).await?;
        if !holders.iter().all(Owner::is_dead) {
            continue;
        }
        let streams = sql::stream_statuses(db, &run).await?;
        let streams: Result<Vec<RunStatus>> = streams.iter().map(|status| status.parse()).collect();
        let streams = match streams {
            Ok(streams) => streams,
            Err(error) => return Ok(Err(error)),
        };
        if rules::has_ended(&streams) {
            sql::set_status(db, &run, overall(streams), None).await?;
            sql::finish_attempt(db, &run, None).await?;
        } else {
            sql::abandon_run(db, &run).await?;
            dead += 1;
        }
    }
    Ok(Ok(dead))
}

/// Runs, newest first.
pub async fn list(store: &Store, tenant: &str, filter: &RunFilter) -> Result<Vec<Run>> {
    let mut runs = sql::list(store.readers(), tenant, filter, filter.limit.min(LIST_MAX))
        .await
        .map_err(|error| store.failed("list runs", error))?;
    for run in &mut runs {
        run.streams = sql::streams(store.readers(), &run.id)
            .await
            .map_err(|error| store.failed("read the run's streams", error))?;
    }
    Ok(runs)
}

/// One run. The start of an id is enough where it is the only one.
pub async fn get(store: &Store, tenant: &str, id: &str) -> Result<Run> {
    let found = sql::by_prefix(store.readers(), tenant, id)
        .await
        .map_err(|error| store.failed("read the run", error))?;
    let mut run = match <[Run; 1]>::try_from(found) {
        Ok([run]) => run,
        Err(found) if found.is_empty() => return Err(no_such_run(id)),
        Err(_) => {
            return Err(Error::usage(format!("several runs begin with '{id}'")).hint("write more of the id"));
        }
    };
    run.streams = sql::streams(store.readers(), &run.id)
        .await
        .map_err(|error| store.failed("read the run's streams", error))?;
    Ok(run)
}

/// A run's receipts, oldest first.
pub async fn receipts(store: &Store, run: &str) -> Result<Vec<StoredReceipt>> {
    sql::receipts(store.readers(), run)
        .await
        .map_err(|error| store.failed("read the run's receipts", error))
}

/// A run's notices, oldest first.
pub async fn notices(store: &Store, run: &str) -> Result<Vec<StoredNotice>> {
    sql::notices(store.readers(), run)
        .await
        .map_err(|error| store.failed("read the run's notices", error))
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
