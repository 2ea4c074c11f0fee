use sqlx::{AnyConnection, FromRow};

use super::Failure;

/// What events say of a run.
#[derive(FromRow)]
pub(super) struct Facts {
    pub(super) tenant: String,
    pub(super) connection: String,
    pub(super) started_by: String,
    pub(super) attempt: i64,
    pub(super) started_at_ms: Option<i64>,
    pub(super) finished_at_ms: Option<i64>,
    pub(super) read: i64,
    pub(super) landed: i64,
    pub(super) filtered: i64,
    pub(super) deduplicated: i64,
    pub(super) quarantined: i64,
}

pub(super) async fn facts(db: &mut AnyConnection, run: &str) -> sqlx::Result<Option<Facts>> {
    sqlx::query_as(
        "SELECT tenant, connection, started_by, attempt, started_at_ms, finished_at_ms,
             read, landed, filtered, deduplicated, quarantined
         FROM runs, (
             SELECT CAST(coalesce(sum(read), 0) AS BIGINT) AS read,
                 CAST(coalesce(sum(landed), 0) AS BIGINT) AS landed,
                 CAST(coalesce(sum(filtered), 0) AS BIGINT) AS filtered,
                 CAST(coalesce(sum(deduplicated), 0) AS BIGINT) AS deduplicated,
                 CAST(coalesce(sum(quarantined), 0) AS BIGINT) AS quarantined
             FROM run_streams WHERE run = $1
         ) AS books
         WHERE id = $1",
    )
    .bind(run)
    .fetch_optional(db)
    .await
}

/// Streams of which records went into quarantine, with counts and reasons.
pub(super) async fn quarantined(
    db: &mut AnyConnection,
    run: &str,
) -> sqlx::Result<Vec<(String, i64, String)>> {
    sqlx::query_as(
        "SELECT stream, quarantined, quarantine_reasons FROM run_streams
         WHERE run = $1 AND quarantined > 0 ORDER BY position",
    )
    .bind(run)
    .fetch_all(db)
    .await
}

/// Why the first of its streams failed.
pub(super) async fn stream_failure(db: &mut AnyConnection, run: &str) -> sqlx::Result<Option<Failure>> {
    let row: Option<(String, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT error_kind, error_message, error_hint FROM run_streams
         WHERE run = $1 AND status = 'failed' AND error_kind IS NOT NULL ORDER BY position LIMIT 1",
    )
    .bind(run)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(kind, message, hint)| Failure {
        kind,
        message: message.unwrap_or_default(),
        hint,
    }))
}
