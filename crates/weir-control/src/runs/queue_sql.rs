use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use weir_protocol::Error;
use weir_protocol::schedule::Backoff;

use super::queue::{Claimed, Held, Order};
use super::{Trigger, sql::json};
use crate::leases::lease_ms;

fn decoded<T>(value: weir_protocol::Result<T>) -> sqlx::Result<T> {
    value.map_err(|error: Error| sqlx::Error::Decode(Box::new(error)))
}

fn options<T: serde::de::DeserializeOwned>(row: &AnyRow) -> sqlx::Result<T> {
    let text: &str = row.try_get("options")?;
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn number(row: &AnyRow, column: &str) -> sqlx::Result<u32> {
    row.try_get::<i64, _>(column)
        .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

impl FromRow<'_, AnyRow> for Claimed {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            run: row.try_get("id")?,
            tenant: row.try_get("tenant")?,
            connection: row.try_get("connection")?,
            trigger: decoded(row.try_get::<&str, _>("started_by")?.parse::<Trigger>())?,
            options: options(row)?,
            attempt: number(row, "attempt")?,
            attempts_max: number(row, "attempts_max")?,
        })
    }
}

impl FromRow<'_, AnyRow> for Order {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            tenant: row.try_get("tenant")?,
            connection: row.try_get("connection")?,
            trigger: decoded(row.try_get::<&str, _>("started_by")?.parse::<Trigger>())?,
            options: options(row)?,
            due_at_ms: row.try_get("due_at_ms")?,
            promised_by_ms: row.try_get("promised_by_ms")?,
            not_before_ms: row.try_get("not_before_ms")?,
            attempt: number(row, "attempt")?,
            attempts_max: number(row, "attempts_max")?,
            backoff: match row.try_get::<&str, _>("backoff")? {
                "linear" => Backoff::Linear,
                _ => Backoff::Exponential,
            },
            backoff_base_ms: row.try_get("backoff_base_ms")?,
            retry_of: row.try_get("retry_of")?,
            backfill: row.try_get("backfill")?,
        })
    }
}

/// 0 where the same moment was asked for before.
pub(super) async fn insert(db: &mut AnyConnection, run: &str, order: &Order) -> sqlx::Result<u64> {
    let inserted = sqlx::query(
        "INSERT INTO runs (id, tenant, connection, kind, started_by, status, created_at_ms, options, due_at_ms,
                           promised_by_ms, not_before_ms, attempt, attempts_max, backoff, backoff_base_ms, retry_of,
                           backfill)
         SELECT $1, $2, $3, $15, $4, 'queued', now_ms, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
         FROM clock WHERE true
         ON CONFLICT DO NOTHING",
    )
    .bind(run)
    .bind(&order.tenant)
    .bind(&order.connection)
    .bind(order.trigger.as_str())
    .bind(json(&order.options)?)
    .bind(order.due_at_ms)
    .bind(order.promised_by_ms)
    .bind(order.not_before_ms)
    .bind(i64::from(order.attempt))
    .bind(i64::from(order.attempts_max))
    .bind(match order.backoff {
        Backoff::Exponential => "exponential",
        Backoff::Linear => "linear",
    })
    .bind(order.backoff_base_ms)
    .bind(&order.retry_of)
    .bind(&order.backfill)
    .bind(if order.backfill.is_some() { "backfill" } else { "sync" })
    .execute(db)
    .await?;
    Ok(inserted.rows_affected())
}

/// The run that waited longest and whose connection no worker has.
pub(super) async fn claim(
    db: &mut AnyConnection,
    worker: &str,
    tenant: Option<&str>,
) -> sqlx::Result<Option<Claimed>> {
    sqlx::query_as(
        "UPDATE runs SET status = 'running', worker = $1,
             started_at_ms = (SELECT now_ms FROM clock), expires_at_ms = (SELECT now_ms FROM clock) + $2
         WHERE id = (
             SELECT id FROM runs AS waiting
             WHERE status = 'queued' AND not_before_ms <= (SELECT now_ms FROM clock)
               AND ($3 IS NULL OR tenant = $3)
               AND NOT EXISTS (SELECT 1 FROM runs AS busy
                               WHERE busy.tenant = waiting.tenant AND busy.connection = waiting.connection
                                 AND busy.status = 'running' AND busy.worker IS NOT NULL)
             ORDER BY not_before_ms, id LIMIT 1)
           -- It may have been cancelled while this statement waited for its row.
           AND status = 'queued'
         RETURNING id, tenant, connection, started_by, options, attempt, attempts_max",
    )
    .bind(worker)
    .bind(lease_ms())
    .bind(tenant)
    .fetch_optional(db)
    .await
}

pub(super) async fn held_by(
    db: &mut AnyConnection,
    (tenant, worker): (&str, &str),
    run: &str,
) -> sqlx::Result<Option<Claimed>> {
    sqlx::query_as(
        "SELECT id, tenant, connection, started_by, options, attempt, attempts_max FROM runs, clock
         WHERE id = $1 AND tenant = $2 AND worker = $3 AND status = 'running' AND expires_at_ms > now_ms",
    )
    .bind(run)
    .bind(tenant)
    .bind(worker)
    .fetch_optional(db)
    .await
}

/// What a worker has without having begun it.
pub(super) async fn untouched(
    db: &mut AnyConnection,
    (tenant, worker): (&str, &str),
) -> sqlx::Result<Vec<Claimed>> {
    sqlx::query_as(
        "SELECT id, tenant, connection, started_by, options, attempt, attempts_max FROM runs, clock
         WHERE tenant = $1 AND worker = $2 AND status = 'running' AND expires_at_ms > now_ms
           AND NOT EXISTS (SELECT 1 FROM run_streams WHERE run = runs.id)
         ORDER BY id",
    )
    .bind(tenant)
    .bind(worker)
    .fetch_all(db)
    .await
}

pub(super) async fn is_of_worker(
    db: &mut AnyConnection,
    (tenant, worker): (&str, &str),
    run: &str,
) -> sqlx::Result<bool> {
    let found: i64 =
        sqlx::query_scalar("SELECT count(*) FROM runs WHERE id = $1 AND tenant = $2 AND worker = $3")
            .bind(run)
            .bind(tenant)
            .bind(worker)
            .fetch_one(db)
            .await?;
    Ok(found > 0)
}

pub(super) async fn renew(
    db: &mut AnyConnection,
    worker: &str,
    runs: &[String],
) -> sqlx::Result<Vec<(String, Held)>> {
    // Between spaces, as the statement looks for it: a list that both databases read.
    let runs: String = runs.iter().map(|run| format!(" {run} ")).collect();
    let rows: Vec<(String, Option<i64>)> = sqlx::query_as(
        "UPDATE runs SET expires_at_ms = (SELECT now_ms FROM clock) + $2
         WHERE worker = $1 AND status = 'running' AND $3 LIKE '% ' || id || ' %'
         RETURNING id, cancel_asked_at_ms",
    )
    .bind(worker)
    .bind(lease_ms())
    .bind(runs)
    .fetch_all(db)
    .await?;
    let held = |asked: Option<i64>| asked.map_or(Held::Yes, |_| Held::CancelAsked);
    Ok(rows.into_iter().map(|(run, asked)| (run, held(asked))).collect())
}

pub(super) async fn ask_cancel(db: &mut AnyConnection, run: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE runs SET cancel_asked_at_ms = coalesce(cancel_asked_at_ms, (SELECT now_ms FROM clock))
         WHERE id = $1",
    )
    .bind(run)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn asked_to_stop(db: &mut AnyConnection, run: &str) -> sqlx::Result<(bool, i64)> {
    let (asked, now_ms): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM runs WHERE id = $1 AND cancel_asked_at_ms IS NOT NULL), now_ms FROM clock",
    )
    .bind(run)
    .fetch_one(db)
    .await?;
    Ok((asked > 0, now_ms))
}

/// What a worker's run was asked to do, unless it is to stop. A run without a worker has nobody who
/// would try again.
pub(super) async fn order(db: &mut AnyConnection, run: &str) -> sqlx::Result<Option<Order>> {
    sqlx::query_as(
        "SELECT tenant, connection, started_by, options, due_at_ms, promised_by_ms, not_before_ms, attempt,
             attempts_max, backoff, backoff_base_ms, retry_of, backfill
         FROM runs WHERE id = $1 AND worker IS NOT NULL AND cancel_asked_at_ms IS NULL",
    )
    .bind(run)
    .fetch_optional(db)
    .await
}

/// How often workers died of the thing that this run is an attempt at, this time included.
pub(super) async fn deaths(db: &mut AnyConnection, run: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "WITH RECURSIVE tried (retry_of, status) AS (
             SELECT retry_of, status FROM runs WHERE id = $1
             UNION ALL
             SELECT runs.retry_of, runs.status FROM runs JOIN tried ON runs.id = tried.retry_of)
         SELECT count(*) FROM tried WHERE status = 'abandoned'",
    )
    .bind(run)
    .fetch_one(db)
    .await
}
