use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use weir_protocol::slices::SliceTask;

use super::{At, ClaimedSlice, HeldSlice, Offered, SliceEnd};
use crate::leases::{Lease, lease_ms};
use crate::runs::queue::Claimed;
use crate::store::{count, int};

/// Whether a slice `s` waits: nobody has it, or whoever had it let it expire.
const WAITS: &str = "(s.status = 'queued' OR (s.status = 'claimed' AND s.expires_at_ms <= now_ms))";

/// Whether the run that offers `s` holds its stream still.
const IS_HELD: &str =
    "EXISTS (SELECT 1 FROM leases l WHERE l.tenant = s.tenant AND l.connection = s.connection
    AND l.stream = s.stream AND l.run = s.run AND l.term = s.term AND l.expires_at_ms > now_ms)";

/// Which slices a worker ($1) may take: of a tenant ($2) or any, of a run ($3) or of one that it neither
/// has nor helps, where there is room for one more helper.
fn may_claim() -> String {
    format!(
        "{WAITS} AND {IS_HELD} AND ($2 IS NULL OR s.tenant = $2) AND ($3 IS NULL OR s.run = $3)
         AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = s.run
                         AND (r.worker = $1 OR r.cancel_asked_at_ms IS NOT NULL OR r.status <> 'running'))
         AND ($3 IS NOT NULL OR NOT EXISTS (
                 SELECT 1 FROM slices o WHERE o.run = s.run AND o.worker = $1
                 AND o.status = 'claimed' AND o.expires_at_ms > now_ms))
         AND (SELECT count(DISTINCT o.worker) FROM slices o WHERE o.run = s.run AND o.worker <> $1
              AND o.status = 'claimed' AND o.expires_at_ms > now_ms) < s.helpers_max"
    )
}

impl FromRow<'_, AnyRow> for Offered {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let at = match row.try_get::<&str, _>("status")? {
            "done" => At::Done,
            "failed" => At::Failed,
            _ if row.try_get::<i64, _>("waits")? != 0 => At::Queued,
            _ => At::Claimed,
        };
        Ok(Self {
            id: row.try_get("id")?,
            at,
            attempt: row.try_get("attempt")?,
            pages: count(row.try_get("pages")?),
        })
    }
}

pub(super) async fn offered(db: &mut AnyConnection, lease: &Lease) -> sqlx::Result<Vec<Offered>> {
    let look = format!(
        "SELECT s.id, s.status, s.attempt, s.pages, CASE WHEN {WAITS} THEN 1 ELSE 0 END AS waits
         FROM slices s, clock
         WHERE s.tenant = $1 AND s.connection = $2 AND s.stream = $3 AND s.run = $4 AND s.term = $5"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(look))
        .bind(&lease.tenant)
        .bind(&lease.connection)
        .bind(&lease.stream)
        .bind(&lease.run)
        .bind(lease.term)
        .fetch_all(db)
        .await
}

pub(super) async fn offer(
    db: &mut AnyConnection,
    lease: &Lease,
    id: &str,
    task: &SliceTask,
    helpers_max: u32,
) -> sqlx::Result<()> {
    let task = serde_json::to_string(task).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    sqlx::query(
        "INSERT INTO slices (id, tenant, connection, stream, run, term, task, helpers_max)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
    )
    .bind(id)
    .bind(&lease.tenant)
    .bind(&lease.connection)
    .bind(&lease.stream)
    .bind(&lease.run)
    .bind(lease.term)
    .bind(task)
    .bind(i64::from(helpers_max))
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn take_back(db: &mut AnyConnection, lease: &Lease, id: &str) -> sqlx::Result<bool> {
    let take = "DELETE FROM slices WHERE id = $1 AND run = $2 AND term = $3
         AND (status = 'queued' OR (status = 'claimed' AND expires_at_ms <= (SELECT now_ms FROM clock)))";
    remove(db, take, lease, id).await
}

pub(super) async fn forget(db: &mut AnyConnection, lease: &Lease, id: &str) -> sqlx::Result<bool> {
    let forget = "DELETE FROM slices WHERE id = $1 AND run = $2 AND term = $3";
    remove(db, forget, lease, id).await
}

async fn remove(
    db: &mut AnyConnection,
    statement: &'static str,
    lease: &Lease,
    id: &str,
) -> sqlx::Result<bool> {
    let removed = sqlx::query(statement)
        .bind(id)
        .bind(&lease.run)
        .bind(lease.term)
        .execute(db)
        .await?;
    Ok(removed.rows_affected() == 1)
}

pub(super) async fn clear(db: &mut AnyConnection, lease: &Lease) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM slices WHERE tenant = $1 AND connection = $2 AND stream = $3")
        .bind(&lease.tenant)
        .bind(&lease.connection)
        .bind(&lease.stream)
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn is_waiting(
    db: &mut AnyConnection,
    worker: &str,
    tenant: Option<&str>,
    run: Option<&str>,
) -> sqlx::Result<bool> {
    let look = format!("SELECT s.id FROM slices s, clock WHERE {} LIMIT 1", may_claim());
    let found: Option<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(look))
        .bind(worker)
        .bind(tenant)
        .bind(run)
        .fetch_optional(db)
        .await?;
    Ok(found.is_some())
}

struct Taken {
    id: String,
    run: String,
    stream: String,
    term: i64,
    attempt: i64,
    task: SliceTask,
}

impl FromRow<'_, AnyRow> for Taken {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let task = serde_json::from_str(row.try_get("task")?);
        Ok(Self {
            id: row.try_get("id")?,
            run: row.try_get("run")?,
            stream: row.try_get("stream")?,
            term: row.try_get("term")?,
            attempt: row.try_get("attempt")?,
            task: task.map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        })
    }
}

/// Those offered last first: the run's own worker begins at the other end.
pub(super) async fn claim(
    db: &mut AnyConnection,
    worker: &str,
    tenant: Option<&str>,
    run: Option<&str>,
    slices_max: usize,
) -> sqlx::Result<Vec<ClaimedSlice>> {
    let take = format!(
        "UPDATE slices SET status = 'claimed', worker = $1, attempt = attempt + 1, pages = 0,
             expires_at_ms = (SELECT now_ms FROM clock) + $4
         WHERE id IN (SELECT s.id FROM slices s, clock WHERE {} ORDER BY s.id DESC LIMIT $5)
           -- It may have been taken back while this statement waited for its row.
           AND (status = 'queued' OR (status = 'claimed' AND expires_at_ms <= (SELECT now_ms FROM clock)))
         RETURNING id, run, stream, term, attempt, task",
        may_claim()
    );
    let taken: Vec<Taken> = sqlx::query_as(sqlx::AssertSqlSafe(take))
        .bind(worker)
        .bind(tenant)
        .bind(run)
        .bind(lease_ms())
        .bind(int(slices_max as u64))
        .fetch_all(&mut *db)
        .await?;
    let mut claimed = Vec::with_capacity(taken.len());
    for taken in taken {
        let Taken {
            id,
            stream,
            term,
            attempt,
            task,
            ..
        } = taken;
        let run: Claimed = sqlx::query_as(
            "SELECT id, tenant, connection, started_by, options, attempt, attempts_max FROM runs WHERE id = $1",
        )
        .bind(&taken.run)
        .fetch_one(&mut *db)
        .await?;
        claimed.push(ClaimedSlice {
            id,
            run,
            stream,
            term,
            attempt,
            task,
        });
    }
    Ok(claimed)
}

pub(super) async fn renew(db: &mut AnyConnection, worker: &str, held: &HeldSlice) -> sqlx::Result<bool> {
    let renew = format!(
        "UPDATE slices SET expires_at_ms = (SELECT now_ms FROM clock) + $1, pages = $2
         WHERE id = $3 AND worker = $4 AND attempt = $5 AND status = 'claimed'
           AND id IN (SELECT s.id FROM slices s, clock WHERE s.id = $3 AND {IS_HELD})"
    );
    let renewed = sqlx::query(sqlx::AssertSqlSafe(renew))
        .bind(lease_ms())
        .bind(int(held.pages))
        .bind(&held.id)
        .bind(worker)
        .bind(held.attempt)
        .execute(db)
        .await?;
    Ok(renewed.rows_affected() == 1)
}

pub(super) async fn report(
    db: &mut AnyConnection,
    worker: &str,
    (id, attempt): (&str, i64),
    end: &SliceEnd,
) -> sqlx::Result<()> {
    let (status, error) = match end {
        SliceEnd::Done => ("done", None),
        SliceEnd::GivenBack => ("queued", None),
        SliceEnd::Failed(error) => ("failed", Some(error.as_str())),
    };
    sqlx::query(
        "UPDATE slices SET status = $1, error = $2
         WHERE id = $3 AND worker = $4 AND attempt = $5 AND status = 'claimed'",
    )
    .bind(status)
    .bind(error)
    .bind(id)
    .bind(worker)
    .bind(attempt)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn helped(
    db: &mut AnyConnection,
    (tenant, worker): (&str, &str),
    run: &str,
) -> sqlx::Result<Option<Claimed>> {
    sqlx::query_as(
        "SELECT id, tenant, connection, started_by, options, attempt, attempts_max FROM runs
         WHERE id = $1 AND tenant = $2 AND status = 'running' AND EXISTS (
             SELECT 1 FROM slices s, clock WHERE s.run = runs.id AND s.worker = $3
                 AND s.status = 'claimed' AND s.expires_at_ms > now_ms)",
    )
    .bind(run)
    .bind(tenant)
    .bind(worker)
    .fetch_optional(db)
    .await
}
