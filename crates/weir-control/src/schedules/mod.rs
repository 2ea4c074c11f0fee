//! Which connections are synced by themselves, and when. Any number of servers may look: each moment
//! that is due becomes one run.

mod sql;
#[cfg(test)]
mod tests;
mod timing;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use weir_protocol::schedule::{CatchUp, ScheduleSpec};
use weir_protocol::{Error, Result};

use crate::audit::{self, Record};
use crate::runs::queue::{self, Order};
use crate::store::{Expected, Outcome, Scope};
use crate::{Connection, Store, connections};

pub(crate) use timing::wait_ms;
pub use timing::{Due, Timing};

/// A schedule as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    pub tenant: String,
    pub connection: String,
    pub timing: Timing,
    pub next_due_at_ms: i64,
    /// Since when it is not looked at.
    pub paused_at_ms: Option<i64>,
}

/// How well a connection's schedule was kept, of what was due in a span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Compliance {
    /// Moments that were due and are decided: succeeded, failed for good, or too late already.
    pub due: u64,
    /// Of them, succeeded in time.
    pub kept: u64,
    /// Of them, succeeded at all.
    pub succeeded: u64,
}

impl Compliance {
    /// 1.0 where nothing was due yet.
    pub fn kept_share(&self) -> f64 {
        share(self.kept, self.due)
    }

    pub fn success_share(&self) -> f64 {
        share(self.succeeded, self.due)
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares of counts far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

/// Makes a connection's schedule what its file says. A schedule that did not change keeps its next
/// moment; a changed one begins anew from now. Without one, the connection is no longer synced by itself.
pub async fn put(store: &Store, connection: &Connection, spec: Option<&ScheduleSpec>) -> Result<()> {
    let scope = Scope::Tenant(&connection.tenant);
    let acting = store.acting();
    store
        .write_alone(scope, &connection.name, "set the schedule", |db, _| {
            Box::pin(async move {
                connections::register_in(db, connection).await?;
                let record = put_in(db, connection, spec).await?;
                audit::append_each_in(db, acting, record.into_iter().collect()).await
            })
        })
        .await
}

/// As [`put`], inside a transaction, for a connection that is known. What is given back is to be audited.
pub(crate) async fn put_in(
    db: &mut AnyConnection,
    connection: &Connection,
    spec: Option<&ScheduleSpec>,
) -> Outcome<Option<Record>> {
    let Some(spec) = spec else {
        let is_gone = sql::remove(db, connection).await?;
        let record = || noted(&connection.tenant, &connection.name, "schedule.remove");
        return Ok(is_gone.then(record));
    };
    let timing = Timing::of(spec)?;
    let known = sql::get(db, &connection.tenant, &connection.name).await?;
    if known.is_some_and(|known| known.timing == timing) {
        return Ok(None);
    }
    let now = sql::now_ms(db).await?;
    sql::put(db, connection, &timing, timing.next_after(now)?).await?;
    Ok(Some(noted(&connection.tenant, &connection.name, "schedule.set")))
}

/// Removes the schedules of connections that are no longer there.
pub async fn keep_only(store: &Store, tenant: &str, connections: &[String]) -> Result<()> {
    let names: &Vec<&str> = &connections.iter().map(String::as_str).collect();
    let acting = store.acting();
    store
        .write(Scope::Tenant(tenant), "remove schedules", |db, _| {
            Box::pin(async move {
                let records = keep_only_in(db, tenant, names).await?;
                audit::append_each_in(db, acting, records).await
            })
        })
        .await
}

/// As [`keep_only`], inside a transaction. What is given back is to be audited.
pub(crate) async fn keep_only_in(
    db: &mut AnyConnection,
    tenant: &str,
    connections: &[&str],
) -> Outcome<Vec<Record>> {
    let mut records = Vec::new();
    for schedule in sql::list(db, tenant).await? {
        if connections.contains(&schedule.connection.as_str()) {
            continue;
        }
        tracing::warn!(
            connection = schedule.connection,
            "its file is gone: its schedule is removed"
        );
        let gone = Connection {
            tenant: tenant.to_owned(),
            ..Connection::new(&schedule.connection, "", "")
        };
        if sql::remove(db, &gone).await? {
            records.push(noted(tenant, &schedule.connection, "schedule.remove"));
        }
    }
    Ok(records)
}

/// Stops a schedule, or lets it go on; what was due meanwhile follows its rule for catching up.
pub async fn pause(store: &Store, tenant: &str, connection: &str, paused: bool) -> Result<()> {
    pause_if(store, tenant, connection, paused, &|_| Ok(())).await
}

/// As [`pause`], unless `expected` refuses what the schedule is by then.
pub async fn pause_if(
    store: &Store,
    tenant: &str,
    connection: &str,
    paused: bool,
    expected: Expected<'_, Schedule>,
) -> Result<()> {
    let action = if paused {
        "schedule.pause"
    } else {
        "schedule.resume"
    };
    let record = &noted(tenant, connection, action);
    let acting = store.acting();
    let found = store
        .write_alone(
            Scope::Tenant(tenant),
            connection,
            "pause the schedule",
            |db, _| {
                Box::pin(async move {
                    let Some(known) = sql::get(db, tenant, connection).await? else {
                        return Ok(false);
                    };
                    expected(&known)?;
                    let found = sql::pause(db, tenant, connection, paused).await?;
                    if found {
                        audit::append_in(db, acting, record).await?;
                    }
                    Ok(found)
                })
            },
        )
        .await?;
    if found {
        return Ok(());
    }
    Err(no_schedule(connection))
}

fn noted(tenant: &str, connection: &str, action: &'static str) -> Record {
    Record::new(tenant, action, format!("connection:{connection}"))
}

pub async fn list(store: &Store, tenant: &str) -> Result<Vec<Schedule>> {
    store
        .read(Scope::Tenant(tenant), "list schedules", |db, _| {
            Box::pin(async move { sql::list(db, tenant).await })
        })
        .await
}

pub async fn get(store: &Store, tenant: &str, connection: &str) -> Result<Schedule> {
    let found = store
        .read(Scope::Tenant(tenant), "read the schedule", |db, _| {
            Box::pin(async move { sql::get(db, tenant, connection).await })
        })
        .await?;
    found.ok_or_else(|| no_schedule(connection))
}

fn no_schedule(connection: &str) -> Error {
    Error::not_found(format!("connection '{connection}' has no schedule"))
        .hint("write `schedule: { tier: standard }` into its file and start `weir serve`")
}

/// How the schedules of a tenant's connections were kept since a moment.
pub async fn compliance(store: &Store, tenant: &str, since_ms: i64) -> Result<Vec<(String, Compliance)>> {
    store
        .read(
            Scope::Tenant(tenant),
            "measure how schedules were kept",
            |db, _| Box::pin(async move { Ok(sql::compliance(db, tenant, since_ms).await?) }),
        )
        .await
}

/// How all schedules of all tenants were kept since a moment.
pub async fn overall_compliance(store: &Store, since_ms: i64) -> Result<Compliance> {
    store
        .read(Scope::Everyone, "measure how schedules were kept", |db, _| {
            Box::pin(async move { Ok(sql::overall_compliance(db, since_ms).await?) })
        })
        .await
}

/// Puts every run into the queue that is due now; gives back how many.
pub async fn tick(store: &Store) -> Result<u64> {
    let due = store
        .read(Scope::Everyone, "look at the schedules", |db, _| {
            Box::pin(async move { sql::due(db).await })
        })
        .await?;
    let mut queued = 0;
    for schedule in due {
        // One schedule that cannot be read or carried out keeps no other from its moment.
        let asked = match &schedule {
            Ok(schedule) => ask(store, schedule).await,
            Err(error) => {
                tracing::error!(%error, "a schedule cannot be read");
                continue;
            }
        };
        match asked {
            Ok(count) => queued += count,
            Err(error) => tracing::error!(%error, "cannot queue what a schedule asks for"),
        }
    }
    Ok(queued)
}

async fn ask(store: &Store, schedule: &Schedule) -> Result<u64> {
    let scope = Scope::Tenant(&schedule.tenant);
    let acting = store.acting();
    store
        .write_alone(scope, &schedule.connection, "queue a run that is due", |db, _| {
            Box::pin(async move {
                let now = sql::now_ms(db).await?;
                let due = schedule.timing.due(schedule.next_due_at_ms, now)?;
                // Another server may have been here since.
                if !sql::advance(db, schedule, due.next_ms).await? {
                    return Ok(0);
                }
                // What still waits stands for this moment too, unless every one is wanted.
                if schedule.timing.catch_up != CatchUp::Each && sql::is_waiting(db, schedule).await? {
                    return Ok(0);
                }
                let mut records = Vec::new();
                for due_at_ms in due.times {
                    records.extend(queue::put_in(db, &order(schedule, due_at_ms)).await?);
                }
                audit::append_all_in(db, acting, &records).await?;
                Outcome::Ok(u64::try_from(records.len()).unwrap_or(u64::MAX))
            })
        })
        .await
}

fn order(schedule: &Schedule, due_at_ms: i64) -> Order {
    let timing = &schedule.timing;
    let offset = timing.offset_ms(&schedule.tenant, &schedule.connection);
    Order {
        due_at_ms: Some(due_at_ms),
        promised_by_ms: Some(due_at_ms.saturating_add(timing.latency_ms)),
        not_before_ms: due_at_ms.saturating_add(offset),
        attempts_max: timing.attempts,
        backoff: timing.backoff,
        backoff_base_ms: timing.backoff_base_ms,
        ..Order::scheduled(&schedule.tenant, &schedule.connection)
    }
}
