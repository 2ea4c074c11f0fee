use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};

use super::{Identity, KnownWorker, WorkerStatus};
use crate::store::{count, int};

/// Shown at once at most.
const LIST_MAX: i64 = 1000;

impl FromRow<'_, AnyRow> for KnownWorker {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let runs_now = count(row.try_get("runs_now")?);
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            principal: row.try_get("principal")?,
            version: row.try_get("version")?,
            status: WorkerStatus::of(row.try_get("silent_ms")?, runs_now),
            first_heard_at_ms: row.try_get("first_heard_at_ms")?,
            last_heard_at_ms: row.try_get("last_heard_at_ms")?,
            runs_now,
            runs_carried: count(row.try_get("runs_carried")?),
        })
    }
}

/// Gives back whether the worker is new.
pub(super) async fn heard(db: &mut AnyConnection, worker: &Identity) -> sqlx::Result<bool> {
    let known = sqlx::query("UPDATE workers SET last_heard_at_ms = (SELECT now_ms FROM clock) WHERE id = $1")
        .bind(&worker.id)
        .execute(&mut *db)
        .await?;
    if known.rows_affected() == 1 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO workers (id, tenant, name, principal, version, first_heard_at_ms, last_heard_at_ms)
         SELECT $1, $2, $3, $4, $5, now_ms, now_ms FROM clock WHERE true
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&worker.id)
    .bind(&worker.tenant)
    .bind(&worker.name)
    .bind(&worker.principal)
    .bind(&worker.version)
    .execute(db)
    .await?;
    Ok(true)
}

pub(super) async fn forget(db: &mut AnyConnection, tenant: &str, age_ms: i64) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM workers WHERE tenant = $1 AND last_heard_at_ms < (SELECT now_ms FROM clock) - $2",
    )
    .bind(tenant)
    .bind(age_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Counts runs that the worker has taken.
pub(crate) async fn carried(db: &mut AnyConnection, worker: &str, runs: usize) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE workers SET runs_carried = runs_carried + $2, last_heard_at_ms = (SELECT now_ms FROM clock)
         WHERE id = $1",
    )
    .bind(worker)
    .bind(int(u64::try_from(runs).unwrap_or(u64::MAX)))
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn list(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<KnownWorker>> {
    sqlx::query_as(
        "SELECT workers.*, now_ms - last_heard_at_ms AS silent_ms,
             (SELECT count(*) FROM runs WHERE worker = workers.id AND status = 'running') AS runs_now
         FROM workers, clock WHERE tenant = $1
         ORDER BY last_heard_at_ms DESC, id LIMIT $2",
    )
    .bind(tenant)
    .bind(LIST_MAX)
    .fetch_all(db)
    .await
}
