//! Runs that wait for a worker. Each attempt at one thing is a run of its own, so that a run that has
//! ended stays ended: whoever lost it can say nothing more about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::schedule::Backoff;
use weir_protocol::{Error, ErrorKind, Result};

use super::queue_sql as sql;
use super::{RunStatus, Trigger, WholeRun, no_such_run};
use crate::audit::{self, Record};
use crate::schedules::wait_ms;
use crate::store::{Expected, Outcome, Scope};
use crate::{Store, backfills, connections, workers};

/// A run whose workers died so often is followed by no other attempt: it may be what they die of.
pub(crate) const DEATHS_MAX: u32 = 5;

/// What a run is asked to do. What is left out is as `weir sync` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// Only these streams.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Up to here only, without moving the state: a chunk of a backfill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A run as it is put into the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub tenant: String,
    pub connection: String,
    pub trigger: Trigger,
    pub options: RunOptions,
    /// The moment that a schedule asked for.
    pub due_at_ms: Option<i64>,
    /// Succeeded by then, the promise is kept.
    pub promised_by_ms: Option<i64>,
    pub not_before_ms: i64,
    /// 1 is the first.
    pub attempt: u32,
    /// Grows with each attempt that was none at the source, as when its worker died.
    pub attempts_max: u32,
    pub backoff: Backoff,
    pub backoff_base_ms: i64,
    /// The attempt before it.
    pub retry_of: Option<String>,
    /// What it is a chunk of.
    pub backfill: Option<String>,
}

impl Order {
    pub fn asked(tenant: &str, connection: &str, options: RunOptions) -> Self {
        Self {
            trigger: Trigger::Api,
            options,
            ..Self::scheduled(tenant, connection)
        }
    }

    pub(crate) fn scheduled(tenant: &str, connection: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            connection: connection.to_owned(),
            trigger: Trigger::Schedule,
            options: RunOptions::default(),
            due_at_ms: None,
            promised_by_ms: None,
            not_before_ms: 0,
            attempt: 1,
            attempts_max: 1,
            backoff: Backoff::Exponential,
            backoff_base_ms: 60_000,
            retry_of: None,
            backfill: None,
        }
    }
}

/// A run that a worker has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    pub run: String,
    pub tenant: String,
    pub connection: String,
    pub trigger: Trigger,
    pub options: RunOptions,
    pub attempt: u32,
    pub attempts_max: u32,
}

/// What the store says of a run that a worker believes to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    Yes,
    /// Somebody wants it to stop.
    CancelAsked,
}

/// Puts a run into the queue; gives back its id.
pub async fn put(store: &Store, order: &Order) -> Result<String> {
    let run = &Uuid::now_v7().to_string();
    let record = &noted(order, run);
    let acting = store.acting();
    store
        .write(Scope::Tenant(&order.tenant), "queue the run", |db, _| {
            Box::pin(async move {
                sql::insert(db, run, order).await?;
                audit::append_in(db, acting, record).await
            })
        })
        .await?;
    Ok(run.clone())
}

/// Queues a run that somebody asks for; gives it back.
pub async fn ask(store: &Store, tenant: &str, connection: &str, options: RunOptions) -> Result<super::Run> {
    let known = connections::get(store, tenant, connection).await?;
    if options.streams.iter().any(String::is_empty) || options.from.as_ref().is_some_and(String::is_empty) {
        return Err(Error::spec("a stream's name or `from` is empty")
            .hint("leave it out to read all streams, or from where the last run ended"));
    }
    let id = put(store, &Order::asked(tenant, &known.name, options)).await?;
    super::get(store, tenant, &id).await
}

/// As [`put`], inside a transaction; none where the same moment was asked for before. What is given
/// back is to be audited.
pub(crate) async fn put_in(db: &mut AnyConnection, order: &Order) -> sqlx::Result<Option<Record>> {
    let run = Uuid::now_v7().to_string();
    let is_new = sql::insert(db, &run, order).await? == 1;
    Ok(is_new.then(|| noted(order, &run)))
}

fn noted(order: &Order, run: &str) -> Record {
    let record = Record::new(
        &order.tenant,
        "run.queue",
        format!("connection:{}", order.connection),
    );
    let record = record.of(run).with("started_by", order.trigger.as_str());
    let record = match order.attempt {
        1 => record,
        attempt => record.with("attempt", attempt),
    };
    match order.due_at_ms {
        Some(due_at_ms) => record.with("due_at_ms", due_at_ms),
        None => record,
    }
}

/// Takes the runs that waited longest, `runs_max` at most, one of a connection at a time: those of one
/// tenant, or of all.
pub async fn claim(
    store: &Store,
    worker: &str,
    tenant: Option<&str>,
    runs_max: usize,
) -> Result<Vec<Claimed>> {
    // Whoever claims, for whichever tenant, waits for the others: two runs of a connection would meet.
    store
        .write_alone(Scope::Everyone, "claim", "claim runs", |db, _| {
            Box::pin(async move {
                let mut claimed = Vec::new();
                while claimed.len() < runs_max {
                    let Some(run) = sql::claim(db, worker, tenant).await? else {
                        break;
                    };
                    claimed.push(run);
                }
                if !claimed.is_empty() {
                    workers::carried(db, worker, claimed.len()).await?;
                }
                Ok(claimed)
            })
        })
        .await
}

/// Runs that a worker took without hearing of it: it has not begun them, and does not hold them.
pub(crate) async fn unheard(
    store: &Store,
    tenant: &str,
    worker: &str,
    holding: &[String],
) -> Result<Vec<Claimed>> {
    let mut found = store
        .read(
            Scope::Tenant(tenant),
            "look what the worker has not begun",
            |db, _| Box::pin(async move { Ok(sql::untouched(db, (tenant, worker)).await?) }),
        )
        .await?;
    found.retain(|claimed| !holding.contains(&claimed.run));
    Ok(found)
}

/// Renews a worker's right to the runs that it carries out. What is not in the answer was taken away;
/// what it has without knowing (an answer was lost, a task broke off) expires and is tried again.
pub async fn renew(store: &Store, worker: &str, runs: &[String]) -> Result<Vec<(String, Held)>> {
    store
        .write(Scope::Everyone, "renew the worker's runs", |db, _| {
            Box::pin(async move { Ok(sql::renew(db, worker, runs).await?) })
        })
        .await
}

/// The run, if it is this worker's and its right to it holds.
pub(crate) async fn held_by(store: &Store, tenant: &str, worker: &str, run: &str) -> Result<Claimed> {
    let found = store
        .read(Scope::Tenant(tenant), "look whose the run is", |db, _| {
            Box::pin(async move { Ok(sql::held_by(db, (tenant, worker), run).await?) })
        })
        .await?;
    found.ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            "the run is not this worker's, or not any more",
        )
        .with("run", run)
        .hint("nothing was lost: another attempt goes on; `weir run list` shows it")
    })
}

/// Refuses where the run was never this worker's.
pub(crate) async fn refuse_others(store: &Store, tenant: &str, worker: &str, run: &str) -> Result<()> {
    let is_own = store
        .read(Scope::Tenant(tenant), "look whose the run is", |db, _| {
            Box::pin(async move { Ok(sql::is_of_worker(db, (tenant, worker), run).await?) })
        })
        .await?;
    if is_own {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "the run is another worker's")
        .with("run", run)
        .hint("`weir run show` tells who carried it; a worker writes about its own runs only"))
}

/// Ends a claimed run; one that failed is followed by its next attempt, where one may help.
pub async fn end(store: &Store, claimed: &Claimed, outcome: Result<(), &Error>) -> Result<()> {
    let (status, error) = match outcome {
        Ok(()) => (RunStatus::Succeeded, None),
        Err(error) => (RunStatus::Failed, Some(error)),
    };
    super::finish(store, &claimed.tenant, &claimed.run, status, error).await
}

/// Asks a run to stop. One that waits ends at once; one that runs commits what its state covers first.
pub async fn cancel(store: &Store, tenant: &str, run: &str) -> Result<RunStatus> {
    cancel_if(store, tenant, run, &|_| Ok(())).await
}

/// As [`cancel`], unless `expected` refuses what the run is by then.
pub async fn cancel_if(
    store: &Store,
    tenant: &str,
    run: &str,
    expected: Expected<'_, WholeRun>,
) -> Result<RunStatus> {
    let record = &Record::new(tenant, "run.cancel", format!("run:{run}")).of(run);
    let acting = store.acting();
    store
        .write(Scope::Tenant(tenant), "cancel the run", |db, _| {
            Box::pin(async move {
                if !super::sql::is_of(db, tenant, run).await? {
                    return Err(no_such_run(run).into());
                }
                let status = super::sql::lock_status(db, run).await?;
                let status: RunStatus = status.ok_or_else(|| no_such_run(run))?.parse()?;
                expected(&super::whole_in(db, tenant, run).await?)?;
                match status {
                    RunStatus::Queued => {
                        super::sql::set_status(db, run, RunStatus::Cancelled, None).await?;
                        super::told::ended(db, run, RunStatus::Cancelled, None, false).await?;
                        backfills::follow_in(db, run, RunStatus::Cancelled, None).await?;
                        audit::append_in(db, acting, record).await?;
                        Ok(RunStatus::Cancelled)
                    }
                    RunStatus::Running => {
                        sql::ask_cancel(db, run).await?;
                        audit::append_in(db, acting, record).await?;
                        Ok(RunStatus::Running)
                    }
                    // Asked twice, or the answer to the first time was lost.
                    RunStatus::Cancelled => Ok(RunStatus::Cancelled),
                    ended => Err(
                        Error::new(ErrorKind::Conflict, format!("the run is over: it is {ended}"))
                            .with("run", run)
                            .hint("`weir run show` tells how it ended")
                            .into(),
                    ),
                }
            })
        })
        .await
}

/// Whether somebody wants the run to stop, and the store's clock.
pub(crate) async fn asked_to_stop(store: &Store, tenant: &str, run: &str) -> Result<(bool, i64)> {
    store
        .read(Scope::Tenant(tenant), "look for a wish to stop", |db, _| {
            Box::pin(async move { Ok(sql::asked_to_stop(db, run).await?) })
        })
        .await
}

/// Queues the next attempt of a run that failed or died, where one is left and might go better. What is
/// given back is to be audited.
pub(crate) async fn retry(db: &mut AnyConnection, run: &str, cause: Cause<'_>) -> Outcome<Option<Record>> {
    let Some(order) = sql::order(db, run).await? else {
        return Ok(None);
    };
    let may_help = match cause {
        Cause::Failed(error) => error.is_none_or(|error| trying_again_may_help(error.kind())),
        Cause::Died => sql::deaths(db, run).await? < i64::from(DEATHS_MAX),
        Cause::Stopped => true,
    };
    let is_spent = cause.spends_an_attempt();
    if !may_help || (is_spent && order.attempt >= order.attempts_max) {
        return Ok(None);
    }
    let wait = match cause {
        Cause::Failed(_) => wait_ms(order.backoff, order.backoff_base_ms, order.attempt),
        // The worker was at fault, not the source.
        Cause::Died | Cause::Stopped => 0,
    };
    let now: i64 = sqlx::query_scalar("SELECT now_ms FROM clock")
        .fetch_one(&mut *db)
        .await?;
    let next = Order {
        attempt: order.attempt + 1,
        attempts_max: order.attempts_max + u32::from(!is_spent),
        not_before_ms: now.saturating_add(wait),
        retry_of: Some(run.to_owned()),
        ..order
    };
    Ok(put_in(db, &next)
        .await?
        .map(|record| record.with("retry_of", run)))
}

/// Why a run has to be tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause<'a> {
    Failed(Option<&'a Error>),
    /// Counted by itself, up to [`DEATHS_MAX`].
    Died,
    /// Its worker was asked to stop, not the run.
    Stopped,
}

impl Cause<'_> {
    /// A run whose worker died or was stopped, or that found its stream with another run, was no attempt at the source.
    fn spends_an_attempt(self) -> bool {
        match self {
            Cause::Died | Cause::Stopped => false,
            Cause::Failed(error) => error.is_none_or(|error| error.kind() != ErrorKind::Conflict),
        }
    }
}

/// What a person has to mend is not tried again.
fn trying_again_may_help(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::Usage
            | ErrorKind::Spec
            | ErrorKind::Template
            | ErrorKind::NotFound
            | ErrorKind::Auth
            | ErrorKind::Denied
            | ErrorKind::Schema
            | ErrorKind::Gate
            | ErrorKind::Cancelled
    )
}
