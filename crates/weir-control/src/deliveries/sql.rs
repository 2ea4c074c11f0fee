use sqlx::{AnyConnection, FromRow};

use super::rules::IN_LINE_MAX;
use super::{Delivery, DeliveryFilter};

/// A delivery that this process is to make.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Claimed {
    pub(super) event: String,
    pub(super) target: String,
    pub(super) tenant: String,
    pub(super) attempts: i64,
}

pub(super) async fn insert(
    db: &mut AnyConnection,
    tenant: &str,
    event: &str,
    target: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO deliveries (event, target, tenant, status, attempts, not_before_ms)
         SELECT $1, $2, $3, 'waiting', 0, now_ms FROM clock WHERE true
         ON CONFLICT (event, target) DO NOTHING",
    )
    .bind(event)
    .bind(target)
    .bind(tenant)
    .execute(db)
    .await
    .map(drop)
}

/// Whether anything could be claimed.
pub(super) async fn is_waiting(db: &mut AnyConnection) -> sqlx::Result<bool> {
    let waiting: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM deliveries, clock
         WHERE status = 'waiting' AND not_before_ms <= now_ms AND (held_until_ms IS NULL OR held_until_ms <= now_ms)
         LIMIT 1",
    )
    .fetch_optional(db)
    .await?;
    Ok(waiting.is_some())
}

/// Takes what is due, as far as there is room, of each target the oldest: what is newer waits behind it, unless it failed often.
pub(super) async fn claim(
    db: &mut AnyConnection,
    holder: &str,
    (hold_ms, room): (i64, i64),
    only: Option<&str>,
) -> sqlx::Result<Vec<Claimed>> {
    sqlx::query_as(
        "UPDATE deliveries SET holder = $1, held_until_ms = (SELECT now_ms FROM clock) + $2
         WHERE (event, target) IN (
             SELECT event, target FROM deliveries AS first, clock
             WHERE status = 'waiting' AND not_before_ms <= now_ms
               AND (held_until_ms IS NULL OR held_until_ms <= now_ms)
               AND ($5 IS NULL OR event = $5)
               AND NOT EXISTS (
                   SELECT 1 FROM deliveries AS other
                   WHERE other.target = first.target AND other.tenant = first.tenant
                     AND other.status = 'waiting' AND $5 IS NULL
                     AND ((other.event < first.event AND other.attempts < $3) OR other.held_until_ms > now_ms))
             ORDER BY event LIMIT $4)
         RETURNING event, target, tenant, attempts",
    )
    .bind(holder)
    .bind(hold_ms)
    .bind(IN_LINE_MAX)
    .bind(room)
    .bind(only)
    .fetch_all(db)
    .await
}

/// How a try ended.
pub(super) struct Ended<'a> {
    /// `delivered`, `waiting` or `dead`.
    pub(super) status: &'a str,
    pub(super) wait_ms: i64,
    /// Whether it counts as one that failed.
    pub(super) has_failed: bool,
    pub(super) answer: Option<u16>,
    pub(super) error: Option<&'a str>,
}

/// False where another process has it by now.
pub(super) async fn end(
    db: &mut AnyConnection,
    holder: &str,
    claimed: &Claimed,
    ended: &Ended<'_>,
) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        "UPDATE deliveries SET status = $4, attempts = attempts + $5, answer = $6, error = $7,
             not_before_ms = (SELECT now_ms FROM clock) + $8, holder = NULL, held_until_ms = NULL,
             ended_at_ms = CASE WHEN $9 = 1 THEN (SELECT now_ms FROM clock) END
         WHERE event = $1 AND target = $2 AND holder = $3 AND status = 'waiting'",
    )
    .bind(&claimed.event)
    .bind(&claimed.target)
    .bind(holder)
    .bind(ended.status)
    .bind(i64::from(ended.has_failed))
    .bind(ended.answer.map(i64::from))
    .bind(ended.error)
    .bind(ended.wait_ms)
    .bind(i64::from(ended.status != "waiting"))
    .execute(db)
    .await?;
    Ok(changed.rows_affected() == 1)
}

pub(super) async fn replay(
    db: &mut AnyConnection,
    tenant: &str,
    event: &str,
    target: Option<&str>,
) -> sqlx::Result<u64> {
    let changed = sqlx::query(
        "UPDATE deliveries SET status = 'waiting', attempts = 0, not_before_ms = (SELECT now_ms FROM clock),
             answer = NULL, error = NULL, ended_at_ms = NULL
         WHERE tenant = $1 AND event = $2 AND ($3 IS NULL OR target = $3)
           AND (held_until_ms IS NULL OR held_until_ms <= (SELECT now_ms FROM clock))",
    )
    .bind(tenant)
    .bind(event)
    .bind(target)
    .execute(db)
    .await?;
    Ok(changed.rows_affected())
}

pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    filter: &DeliveryFilter,
    limit: u32,
) -> sqlx::Result<Vec<Delivery>> {
    let (event, target) = filter
        .after
        .as_ref()
        .map(|(event, target)| (event, target))
        .unzip();
    sqlx::query_as(
        "SELECT event, target, status, attempts, not_before_ms, answer, error, ended_at_ms FROM deliveries
         WHERE tenant = $1 AND ($2 IS NULL OR event = $2) AND ($3 IS NULL OR target = $3)
           AND ($4 IS NULL OR status = $4) AND ($5 IS NULL OR event < $5 OR (event = $5 AND target > $6))
         ORDER BY event DESC, target LIMIT $7",
    )
    .bind(tenant)
    .bind(&filter.event)
    .bind(&filter.target)
    .bind(&filter.status)
    .bind(event)
    .bind(target)
    .bind(i64::from(limit))
    .fetch_all(db)
    .await
}
