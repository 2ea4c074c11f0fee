use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use weir_protocol::{Error, ErrorKind};

use super::{Kept, Link, Run, RunFilter, Status, Step, rules};
use crate::Owner;
use crate::calls;
use crate::store::Outcome;

fn decode<T, E: std::error::Error + Send + Sync + 'static>(value: Result<T, E>) -> sqlx::Result<T> {
    value.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn parsed<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<Option<T>> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| decode(serde_json::from_str(text))).transpose()
}

fn needed<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    decode(serde_json::from_str(row.try_get(column)?))
}

/// A word of an enum, as JSON has it.
fn word<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    decode(serde_json::from_value(Value::from(
        row.try_get::<&str, _>(column)?,
    )))
}

fn json(value: &impl serde::Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn some_json<T: serde::Serialize>(value: Option<&T>) -> sqlx::Result<Option<String>> {
    value.map(json).transpose()
}

impl FromRow<'_, AnyRow> for Run {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let parked: Option<&str> = row.try_get("parked_for")?;
        let parked = parked.map(|word| decode(serde_json::from_value(Value::from(word))));
        let owner: Option<&str> = row.try_get("owner")?;
        Ok(Self {
            id: row.try_get("id")?,
            tenant: row.try_get("tenant")?,
            bundle: row.try_get("bundle")?,
            effect: word(row, "effect")?,
            principal: row.try_get("principal")?,
            idempotency_key: row.try_get("idempotency_key")?,
            input: needed(row, "input")?,
            status: word(row, "status")?,
            parked_for: parked.transpose()?,
            parked_step: row.try_get("parked_step")?,
            parked_error: parsed(row, "parked_error")?,
            waits_for: row.try_get("waits_for")?,
            cancelled_by: row.try_get("cancelled_by")?,
            steps: Vec::new(),
            output: parsed(row, "output")?,
            error: parsed(row, "error")?,
            created_at_ms: row.try_get("created_at_ms")?,
            finished_at_ms: row.try_get("finished_at_ms")?,
            erased_at_ms: row.try_get("erased_at_ms")?,
            kept: Kept {
                asked_digest: row.try_get("asked_digest")?,
                description: needed(row, "description")?,
                caller: needed(row, "caller")?,
                via: row.try_get("via")?,
                is_back: row.try_get::<i64, _>("is_back")? == 1,
                may_leave: row.try_get::<i64, _>("may_leave")? == 1,
                term: row.try_get("term")?,
                is_held: owner.is_some(),
                retried_by: parsed(row, "retried_by")?,
                calls: BTreeMap::new(),
            },
        })
    }
}

impl FromRow<'_, AnyRow> for Step {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let count =
            |column: &str| -> sqlx::Result<u32> { decode(u32::try_from(row.try_get::<i64, _>(column)?)) };
        Ok(Self {
            name: row.try_get("step")?,
            connection: row.try_get("connection")?,
            action: row.try_get("action")?,
            effect: word(row, "effect")?,
            status: word(row, "status")?,
            call: row.try_get("call")?,
            attempt: count("attempt")?,
            compensation: parsed(row, "compensation")?,
            compensation_call: row.try_get("undo_call")?,
            compensation_attempt: count("undo_attempt")?,
            error: parsed(row, "error")?,
            settled_by: row.try_get("settled_by")?,
            settled_reason: row.try_get("settled_reason")?,
            input: parsed(row, "input")?,
        })
    }
}

/// With its steps and their calls.
pub(super) async fn get(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<Option<Run>> {
    let run: Option<Run> = sqlx::query_as("SELECT * FROM bundle_runs WHERE tenant = $1 AND id = $2")
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut *db)
        .await?;
    let Some(mut run) = run else { return Ok(None) };
    run.steps = sqlx::query_as("SELECT * FROM bundle_steps WHERE tenant = $1 AND run = $2 ORDER BY place")
        .bind(tenant)
        .bind(id)
        .fetch_all(&mut *db)
        .await?;
    let calls = calls::sql::of_run(db, tenant, id).await?;
    run.kept.calls = calls.into_iter().map(|call| (call.id.clone(), call)).collect();
    Ok(Some(run))
}

pub(super) async fn by_key(
    db: &mut AnyConnection,
    (tenant, principal): (&str, &str),
    key: &str,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT id FROM bundle_runs WHERE tenant = $1 AND principal = $2 AND idempotency_key = $3",
    )
    .bind(tenant)
    .bind(principal)
    .bind(key)
    .fetch_optional(db)
    .await
}

/// A new run with its steps, held by who asks for it.
pub(super) async fn insert(db: &mut AnyConnection, new: &Run, owner: &Owner) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO bundle_runs (id, tenant, bundle, description, effect, principal, caller, via, idempotency_key,
             asked_digest, input, status, is_back, may_leave, term, owner, lease_until_ms, created_at_ms)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'running', 0, 0, 1, $12, now_ms + $13, now_ms
         FROM clock",
    )
    .bind(&new.id)
    .bind(&new.tenant)
    .bind(&new.bundle)
    .bind(json(&new.kept.description)?)
    .bind(new.effect.as_str())
    .bind(&new.principal)
    .bind(json(&new.kept.caller)?)
    .bind(&new.kept.via)
    .bind(&new.idempotency_key)
    .bind(&new.kept.asked_digest)
    .bind(json(&new.input)?)
    .bind(json(owner)?)
    .bind(rules::LEASE_MS)
    .execute(&mut *db)
    .await?;
    for (place, step) in (0_i64..).zip(&new.steps) {
        sqlx::query(
            "INSERT INTO bundle_steps (run, tenant, place, step, connection, action, effect, status, attempt, undo_attempt)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'planned', 0, 0)",
        )
        .bind(&new.id)
        .bind(&new.tenant)
        .bind(place)
        .bind(&step.name)
        .bind(&step.connection)
        .bind(&step.action)
        .bind(step.effect.as_str())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// Takes the run, if it still is as it was seen, and nobody ended it.
pub(super) async fn take(db: &mut AnyConnection, run: &Run, owner: &Owner) -> sqlx::Result<bool> {
    let taken = sqlx::query(
        "UPDATE bundle_runs SET term = term + 1, owner = $4, lease_until_ms = (SELECT now_ms FROM clock) + $5,
             status = CASE WHEN is_back = 1 THEN 'compensating' ELSE 'running' END,
             parked_for = NULL, parked_step = NULL, parked_error = NULL, waits_for = NULL, look_at_ms = NULL
         WHERE tenant = $1 AND id = $2 AND term = $3 AND finished_at_ms IS NULL",
    )
    .bind(&run.tenant)
    .bind(&run.id)
    .bind(run.kept.term)
    .bind(json(owner)?)
    .bind(rules::LEASE_MS)
    .execute(db)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Who has the run, and whether their time is over.
pub(super) async fn holder(
    db: &mut AnyConnection,
    tenant: &str,
    id: &str,
) -> sqlx::Result<Option<(Owner, bool)>> {
    let row: Option<(Option<String>, i64)> = sqlx::query_as(
        "SELECT owner, CASE WHEN lease_until_ms < now_ms THEN 1 ELSE 0 END FROM bundle_runs, clock
         WHERE tenant = $1 AND id = $2 AND finished_at_ms IS NULL",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(db)
    .await?;
    let Some((Some(owner), expired)) = row else {
        return Ok(None);
    };
    Ok(Some((decode(serde_json::from_str(&owner))?, expired == 1)))
}

/// How a run is left by a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grip {
    /// Its process goes on with it.
    Hold,
    /// Nobody has it, and nobody looks at it before so many milliseconds are over.
    Release(Option<i64>),
}

/// Stores a run as its process has changed it. False where another process has it by now.
pub(super) async fn store(db: &mut AnyConnection, run: &Run, grip: Grip) -> sqlx::Result<bool> {
    let (is_held, look_in_ms) = match grip {
        Grip::Hold => (1, None),
        Grip::Release(look) => (0, look),
    };
    let stored = sqlx::query(
        "UPDATE bundle_runs SET status = $4, is_back = $5, parked_for = $6, parked_step = $7, parked_error = $16,
             waits_for = $8, output = $9, error = $10, idempotency_key = $11,
             look_at_ms = (SELECT now_ms FROM clock) + $12,
             cancelled_by = CASE WHEN $17 = 1 THEN NULL ELSE cancelled_by END,
             owner = CASE WHEN $13 = 1 THEN owner END,
             lease_until_ms = CASE WHEN $13 = 1 THEN (SELECT now_ms FROM clock) + $14 END,
             finished_at_ms = CASE WHEN $15 = 1 THEN (SELECT now_ms FROM clock) END
         WHERE tenant = $1 AND id = $2 AND term = $3 AND finished_at_ms IS NULL",
    )
    .bind(&run.tenant)
    .bind(&run.id)
    .bind(run.kept.term)
    .bind(run.status.as_str())
    .bind(i64::from(run.kept.is_back))
    .bind(run.parked_for.map(super::Parked::as_str))
    .bind(&run.parked_step)
    .bind(&run.waits_for)
    .bind(some_json(run.output.as_ref())?)
    .bind(some_json(run.error.as_ref())?)
    .bind(&run.idempotency_key)
    .bind(look_in_ms)
    .bind(i64::from(is_held))
    .bind(rules::LEASE_MS)
    .bind(i64::from(run.status.is_over()))
    .bind(some_json(run.parked_error.as_ref())?)
    // Behind the pivot nobody cancels: a wish that came while it was under way is void.
    .bind(i64::from(!run.kept.is_back && rules::pivot_passed(run).is_some()))
    .execute(db)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// Stores a step as its run's process has changed it. False where its calls are not those that were `seen`.
pub(super) async fn store_step(
    db: &mut AnyConnection,
    run: &Run,
    step: &Step,
    seen: (&Option<String>, &Option<String>),
) -> sqlx::Result<bool> {
    let stored = sqlx::query(
        "UPDATE bundle_steps SET status = $4, input = $5, call = $6, attempt = $7, compensation = $8, undo_call = $9,
             undo_attempt = $10, error = $11, settled_by = $12, settled_reason = $13
         WHERE tenant = $1 AND run = $2 AND step = $3 AND coalesce(call, '') = $14 AND coalesce(undo_call, '') = $15",
    )
    .bind(&run.tenant)
    .bind(&run.id)
    .bind(&step.name)
    .bind(step.status.as_str())
    .bind(some_json(step.input.as_ref())?)
    .bind(&step.call)
    .bind(i64::from(step.attempt))
    .bind(some_json(step.compensation.as_ref())?)
    .bind(&step.compensation_call)
    .bind(i64::from(step.compensation_attempt))
    .bind(some_json(step.error.as_ref())?)
    .bind(&step.settled_by)
    .bind(&step.settled_reason)
    .bind(seen.0.as_deref().unwrap_or_default())
    .bind(seen.1.as_deref().unwrap_or_default())
    .execute(db)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// Lets a step know its call, in the transaction in which the call is written down. Fails where another process has
/// the run: the call is not made then.
pub(crate) async fn link_in(
    db: &mut AnyConnection,
    link: &Link,
    (call, lease_ms): (&str, i64),
) -> Outcome<()> {
    // The run's row first: whoever takes the run over waits here, or was faster.
    let held = sqlx::query(
        "UPDATE bundle_runs SET lease_until_ms = (SELECT now_ms FROM clock) + $4
         WHERE tenant = $1 AND id = $2 AND term = $3 AND finished_at_ms IS NULL AND owner IS NOT NULL",
    )
    .bind(&link.tenant)
    .bind(&link.run)
    .bind(link.term)
    .bind(lease_ms.max(rules::LEASE_MS))
    .execute(&mut *db)
    .await?;
    let sql = if link.takes_back {
        "UPDATE bundle_steps SET undo_call = $4
         WHERE tenant = $1 AND run = $2 AND step = $3 AND status = 'done' AND undo_call IS NULL"
    } else {
        "UPDATE bundle_steps SET call = $4, status = 'sent'
         WHERE tenant = $1 AND run = $2 AND step = $3 AND status = 'registered' AND call IS NULL"
    };
    let linked = sqlx::query(sql)
        .bind(&link.tenant)
        .bind(&link.run)
        .bind(&link.step)
        .bind(call)
        .execute(db)
        .await?;
    if held.rows_affected() == 1 && linked.rows_affected() == 1 {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::Conflict, "another process has the bundle's run")
            .with("run", &link.run)
            .with("step", &link.step)
            .hint("read the run: it is gone on with there")
            .into(),
    )
}

/// Ids, newest first.
pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    filter: &RunFilter,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT id FROM bundle_runs
         WHERE tenant = $1 AND ($2 IS NULL OR principal = $2) AND ($3 IS NULL OR bundle = $3)
           AND ($4 IS NULL OR status = $4) AND ($5 IS NULL OR id < $5)
         ORDER BY id DESC LIMIT $6",
    )
    .bind(tenant)
    .bind(&filter.principal)
    .bind(&filter.bundle)
    .bind(filter.status.map(Status::as_str))
    .bind(&filter.before)
    .bind(i64::from(filter.limit))
    .fetch_all(db)
    .await
}

/// Runs that somebody has to go on with: those whose time has come or whose call is over, those a process may have
/// left, and parked ones whose uncertain call is settled.
pub(super) async fn due(
    db: &mut AnyConnection,
    tenant: &str,
    owner: &Owner,
    limit: i64,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT id FROM bundle_runs r, clock
         WHERE r.tenant = $1 AND r.finished_at_ms IS NULL AND (
           (r.status <> 'parked' AND r.owner IS NULL AND (r.look_at_ms IS NULL OR r.look_at_ms <= now_ms)
             AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.id = r.waits_for
               AND (c.status = 'running' OR (c.status IN ('waiting', 'ready') AND (r.cancelled_by IS NULL OR r.is_back = 1))
                    OR (c.status = 'uncertain' AND c.look_at_ms IS NOT NULL))))
           OR (r.status <> 'parked' AND r.owner IS NOT NULL AND (r.owner <> $2 OR r.lease_until_ms < now_ms))
           OR (r.status = 'parked' AND r.parked_for = 'uncertain'
             AND EXISTS (SELECT 1 FROM calls c WHERE c.id = r.waits_for AND c.status IN ('done', 'failed'))))
         ORDER BY r.id LIMIT $3",
    )
    .bind(tenant)
    .bind(json(owner)?)
    .bind(limit)
    .fetch_all(db)
    .await
}

pub(super) async fn cancel(db: &mut AnyConnection, run: &Run, by: &str) -> sqlx::Result<bool> {
    let cancelled = sqlx::query(
        "UPDATE bundle_runs SET cancelled_by = $3
         WHERE tenant = $1 AND id = $2 AND finished_at_ms IS NULL AND cancelled_by IS NULL",
    )
    .bind(&run.tenant)
    .bind(&run.id)
    .bind(by)
    .execute(db)
    .await?;
    Ok(cancelled.rows_affected() == 1)
}

/// Lets a parked run go on. False where it is not parked as it was seen.
pub(super) async fn unpark(db: &mut AnyConnection, run: &Run) -> sqlx::Result<bool> {
    let let_go = sqlx::query(
        "UPDATE bundle_runs SET term = term + 1, status = $4, is_back = $5, may_leave = $6, retried_by = $7, error = $8,
             parked_for = NULL, parked_step = NULL, parked_error = NULL, waits_for = NULL, look_at_ms = NULL
         WHERE tenant = $1 AND id = $2 AND term = $3 AND status = 'parked'",
    )
    .bind(&run.tenant)
    .bind(&run.id)
    .bind(run.kept.term)
    .bind(run.status.as_str())
    .bind(i64::from(run.kept.is_back))
    .bind(i64::from(run.kept.may_leave))
    .bind(some_json(run.kept.retried_by.as_ref())?)
    .bind(some_json(run.error.as_ref())?)
    .execute(db)
    .await?;
    Ok(let_go.rows_affected() == 1)
}

/// Leaves of ended runs what says that they were made, and nothing of what they said. Gives back how many.
pub(super) async fn erase(
    db: &mut AnyConnection,
    tenant: &str,
    before_ms: i64,
    limit: i64,
) -> sqlx::Result<u64> {
    let ids: Vec<String> = sqlx::query_scalar(
        "UPDATE bundle_runs SET input = '{}', output = NULL, idempotency_key = NULL,
             erased_at_ms = (SELECT now_ms FROM clock)
         WHERE id IN (SELECT id FROM bundle_runs
             WHERE tenant = $1 AND erased_at_ms IS NULL AND finished_at_ms < $2 ORDER BY id LIMIT $3)
         RETURNING id",
    )
    .bind(tenant)
    .bind(before_ms)
    .bind(limit)
    .fetch_all(&mut *db)
    .await?;
    for id in &ids {
        sqlx::query("UPDATE bundle_steps SET input = NULL WHERE tenant = $1 AND run = $2")
            .bind(tenant)
            .bind(id)
            .execute(&mut *db)
            .await?;
    }
    Ok(u64::try_from(ids.len()).unwrap_or(u64::MAX))
}

/// Tenants with runs that ended before and still have their inputs.
pub(super) async fn tenants_to_erase(db: &mut AnyConnection, before_ms: i64) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT DISTINCT tenant FROM bundle_runs WHERE erased_at_ms IS NULL AND finished_at_ms < $1 ORDER BY tenant",
    )
    .bind(before_ms)
    .fetch_all(db)
    .await
}
