use sqlx::{AnyConnection, FromRow};

use weir_protocol::Result;

use super::{Compliance, Schedule, Timing};
use crate::Connection;
use crate::store::{Outcome, count, stored_badly};

/// So many schedules are looked at in one go; the rest follow at once.
const DUE_MAX: i64 = 1000;

#[derive(FromRow)]
struct Row {
    tenant: String,
    connection: String,
    timing: String,
    next_due_at_ms: i64,
    paused_at_ms: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Schedule> {
        let timing = serde_json::from_str(&self.timing);
        Ok(Schedule {
            timing: timing.map_err(|error| stored_badly("schedule", &self.timing, error))?,
            tenant: self.tenant,
            connection: self.connection,
            next_due_at_ms: self.next_due_at_ms,
            paused_at_ms: self.paused_at_ms,
        })
    }
}

pub(super) async fn now_ms(db: &mut AnyConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT now_ms FROM clock").fetch_one(db).await
}

pub(super) async fn put(
    db: &mut AnyConnection,
    connection: &Connection,
    timing: &Timing,
    next_due_at_ms: i64,
) -> sqlx::Result<()> {
    let timing = serde_json::to_string(timing).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    sqlx::query(
        "INSERT INTO schedules (tenant, connection, timing, next_due_at_ms, updated_at_ms)
         SELECT $1, $2, $3, $4, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, connection) DO UPDATE
         SET timing = excluded.timing, next_due_at_ms = excluded.next_due_at_ms,
             updated_at_ms = excluded.updated_at_ms",
    )
    .bind(&connection.tenant)
    .bind(&connection.name)
    .bind(timing)
    .bind(next_due_at_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Whether there was one.
pub(super) async fn remove(db: &mut AnyConnection, connection: &Connection) -> sqlx::Result<bool> {
    let removed = sqlx::query("DELETE FROM schedules WHERE tenant = $1 AND connection = $2")
        .bind(&connection.tenant)
        .bind(&connection.name)
        .execute(db)
        .await?;
    Ok(removed.rows_affected() == 1)
}

pub(super) async fn pause(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
    paused: bool,
) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        "UPDATE schedules SET paused_at_ms = CASE WHEN $3 = 1
             THEN coalesce(paused_at_ms, (SELECT now_ms FROM clock)) END
         WHERE tenant = $1 AND connection = $2",
    )
    .bind(tenant)
    .bind(connection)
    .bind(i64::from(paused))
    .execute(db)
    .await?;
    Ok(changed.rows_affected() == 1)
}

const COLUMNS: &str = "SELECT tenant, connection, timing, next_due_at_ms, paused_at_ms FROM schedules";

pub(super) async fn get(db: &mut AnyConnection, tenant: &str, connection: &str) -> Outcome<Option<Schedule>> {
    let query = format!("{COLUMNS} WHERE tenant = $1 AND connection = $2");
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(connection)
        .fetch_optional(db)
        .await?;
    Ok(row.map(Row::read).transpose()?)
}

pub(super) async fn list(db: &mut AnyConnection, tenant: &str) -> Outcome<Vec<Schedule>> {
    let query = format!("{COLUMNS} WHERE tenant = $1 ORDER BY connection");
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(Row::read).collect::<Result<_>>()?)
}

pub(super) async fn due(db: &mut AnyConnection) -> Outcome<Vec<Result<Schedule>>> {
    let query = format!(
        "{COLUMNS} WHERE paused_at_ms IS NULL AND next_due_at_ms <= (SELECT now_ms FROM clock)
         ORDER BY next_due_at_ms LIMIT $1"
    );
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(DUE_MAX)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(Row::read).collect())
}

/// Moves on to the next moment; false where somebody else did, or paused or changed it.
pub(super) async fn advance(
    db: &mut AnyConnection,
    schedule: &Schedule,
    next_due_at_ms: i64,
) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        "UPDATE schedules SET next_due_at_ms = $4
         WHERE tenant = $1 AND connection = $2 AND next_due_at_ms = $3 AND paused_at_ms IS NULL",
    )
    .bind(&schedule.tenant)
    .bind(&schedule.connection)
    .bind(schedule.next_due_at_ms)
    .bind(next_due_at_ms)
    .execute(db)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Whether a run of the schedule waits already.
pub(super) async fn is_waiting(db: &mut AnyConnection, schedule: &Schedule) -> sqlx::Result<bool> {
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM runs
         WHERE tenant = $1 AND connection = $2 AND status = 'queued' AND due_at_ms IS NOT NULL",
    )
    .bind(&schedule.tenant)
    .bind(&schedule.connection)
    .fetch_one(db)
    .await?;
    Ok(waiting > 0)
}

/// A moment is decided when one of its attempts succeeded, when the promise is broken by now, or when
/// no attempt is left.
pub(super) async fn compliance(
    db: &mut AnyConnection,
    tenant: &str,
    since_ms: i64,
) -> sqlx::Result<Vec<(String, Compliance)>> {
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT connection, count(*), CAST(sum(kept) AS BIGINT), CAST(sum(done) AS BIGINT) FROM (
             SELECT connection,
                 max(CASE WHEN status = 'succeeded' AND finished_at_ms <= promised_by_ms THEN 1 ELSE 0 END) AS kept,
                 max(CASE WHEN status = 'succeeded' THEN 1 ELSE 0 END) AS done,
                 max(CASE WHEN status IN ('queued', 'running') THEN 1 ELSE 0 END) AS is_open,
                 max(promised_by_ms) AS promised_by_ms
             FROM runs WHERE tenant = $1 AND due_at_ms >= $2
             GROUP BY connection, due_at_ms
         ) AS moments, clock
         WHERE done = 1 OR is_open = 0 OR promised_by_ms < now_ms
         GROUP BY connection ORDER BY connection",
    )
    .bind(tenant)
    .bind(since_ms)
    .fetch_all(db)
    .await?;
    let read = |(connection, due, kept, succeeded)| {
        (
            connection,
            Compliance {
                due: count(due),
                kept: count(kept),
                succeeded: count(succeeded),
            },
        )
    };
    Ok(rows.into_iter().map(read).collect())
}

pub(super) async fn overall_compliance(db: &mut AnyConnection, since_ms: i64) -> sqlx::Result<Compliance> {
    let (due, kept, succeeded): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), CAST(coalesce(sum(kept), 0) AS BIGINT), CAST(coalesce(sum(done), 0) AS BIGINT) FROM (
             SELECT
                 max(CASE WHEN status = 'succeeded' AND finished_at_ms <= promised_by_ms THEN 1 ELSE 0 END) AS kept,
                 max(CASE WHEN status = 'succeeded' THEN 1 ELSE 0 END) AS done,
                 max(CASE WHEN status IN ('queued', 'running') THEN 1 ELSE 0 END) AS is_open,
                 max(promised_by_ms) AS promised_by_ms
             FROM runs WHERE due_at_ms >= $1
             GROUP BY tenant, connection, due_at_ms
         ) AS moments, clock
         WHERE done = 1 OR is_open = 0 OR promised_by_ms < now_ms",
    )
    .bind(since_ms)
    .fetch_one(db)
    .await?;
    Ok(Compliance {
        due: count(due),
        kept: count(kept),
        succeeded: count(succeeded),
    })
}
