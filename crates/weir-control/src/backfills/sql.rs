use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use weir_protocol::Error;

use super::{Backfill, Status};
use crate::store::{count, int};

fn decoded<T: DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn json(texts: &[String]) -> sqlx::Result<String> {
    serde_json::to_string(texts).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

impl FromRow<'_, AnyRow> for Backfill {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let status: &str = row.try_get("status")?;
        let edges: Vec<String> = decoded(row, "edges")?;
        Ok(Self {
            id: row.try_get("id")?,
            tenant: row.try_get("tenant")?,
            connection: row.try_get("connection")?,
            streams: decoded(row, "streams")?,
            from: edges.first().cloned().unwrap_or_default(),
            to: edges.last().cloned().unwrap_or_default(),
            chunks: edges.len().saturating_sub(1) as u64,
            done: count(row.try_get("done")?),
            status: status
                .parse()
                .map_err(|error: Error| sqlx::Error::Decode(Box::new(error)))?,
            created_at_ms: row.try_get("created_at_ms")?,
            created_by: row.try_get("created_by")?,
            updated_at_ms: row.try_get("updated_at_ms")?,
            error: row.try_get("error")?,
            edges,
        })
    }
}

const BACKFILLS: &str =
    "SELECT id, tenant, connection, streams, edges, done, status, created_at_ms, created_by,
     updated_at_ms, error FROM backfills";

pub(super) async fn insert(db: &mut AnyConnection, new: &Backfill) -> sqlx::Result<bool> {
    let inserted = sqlx::query(
        "INSERT INTO backfills (id, tenant, connection, streams, edges, done, status, created_at_ms, created_by,
                                updated_at_ms)
         SELECT $1, $2, $3, $4, $5, 0, 'running', now_ms, $6, now_ms FROM clock WHERE true
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&new.id)
    .bind(&new.tenant)
    .bind(&new.connection)
    .bind(json(&new.streams)?)
    .bind(json(&new.edges)?)
    .bind(&new.created_by)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Newest first.
pub(super) async fn list(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Backfill>> {
    let query = format!("{BACKFILLS} WHERE tenant = $1 ORDER BY id DESC");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .fetch_all(db)
        .await
}

pub(super) async fn get(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<Option<Backfill>> {
    let query = format!("{BACKFILLS} WHERE tenant = $1 AND id = $2");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(id)
        .fetch_optional(db)
        .await
}

/// The backfill that a run is a chunk of; nobody else changes it until this transaction ends.
pub(super) async fn of_run(db: &mut AnyConnection, run: &str) -> sqlx::Result<Option<Backfill>> {
    let id: Option<String> = sqlx::query_scalar(
        "UPDATE backfills SET done = done WHERE id = (SELECT backfill FROM runs WHERE id = $1) RETURNING id",
    )
    .bind(run)
    .fetch_optional(&mut *db)
    .await?;
    let Some(id) = id else { return Ok(None) };
    let query = format!("{BACKFILLS} WHERE id = $1");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(id)
        .fetch_optional(db)
        .await
}

pub(super) async fn set(
    db: &mut AnyConnection,
    id: &str,
    (done, status): (u64, Status),
    error: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE backfills SET done = $2, status = $3, error = $4, updated_at_ms = (SELECT now_ms FROM clock)
         WHERE id = $1",
    )
    .bind(id)
    .bind(int(done))
    .bind(status.as_str())
    .bind(error)
    .execute(db)
    .await
    .map(drop)
}

/// Its run that is not over.
pub(super) async fn open_run(db: &mut AnyConnection, id: &str) -> sqlx::Result<Option<(String, String)>> {
    sqlx::query_as(
        "SELECT id, status FROM runs WHERE backfill = $1 AND status IN ('queued', 'running') ORDER BY id LIMIT 1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

pub(super) async fn stop_run(db: &mut AnyConnection, run: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE runs SET cancel_asked_at_ms = coalesce(cancel_asked_at_ms, (SELECT now_ms FROM clock)),
             finished_at_ms = CASE WHEN status = 'queued' THEN (SELECT now_ms FROM clock) ELSE finished_at_ms END,
             status = CASE WHEN status = 'queued' THEN 'cancelled' ELSE status END
         WHERE id = $1",
    )
    .bind(run)
    .execute(db)
    .await
    .map(drop)
}
