use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};

use super::{LastError, Record};
use crate::store::count;

impl FromRow<'_, AnyRow> for Record {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let run: Option<String> = row.try_get("error_run")?;
        let last_error = match run {
            None => None,
            Some(run) => Some(LastError {
                run,
                at_ms: row.try_get("error_at_ms")?,
                kind: row
                    .try_get::<Option<String>, _>("error_kind")?
                    .unwrap_or_else(|| "abandoned".to_owned()),
                message: row
                    .try_get::<Option<String>, _>("error_message")?
                    .unwrap_or_else(|| "its process died, or it lost its lease".to_owned()),
                hint: row.try_get("error_hint")?,
            }),
        };
        Ok(Self {
            connection: row.try_get("connection")?,
            connector: row.try_get("connector")?,
            last_attempt_at_ms: row.try_get("last_attempt_at_ms")?,
            last_success_at_ms: row.try_get("last_success_at_ms")?,
            failures: count(row.try_get("failures")?),
            last_error,
        })
    }
}

/// Ids of runs sort by the time of creation: the newest is the largest.
pub(super) async fn records(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Record>> {
    sqlx::query_as(
        "SELECT ends.connection, ends.connector, ends.last_attempt_at_ms,
             success.finished_at_ms AS last_success_at_ms,
             (SELECT count(*) FROM runs WHERE tenant = $1 AND runs.connection = ends.connection
                  AND kind = 'sync' AND status IN ('failed', 'abandoned') AND id > coalesce(ends.success, '')) AS failures,
             failure.id AS error_run, failure.finished_at_ms AS error_at_ms, failure.error_kind,
             failure.error_message, failure.error_hint
         FROM (
             SELECT connections.name AS connection, connections.connector,
                 (SELECT started_at_ms FROM runs WHERE tenant = $1 AND runs.connection = connections.name
                      AND kind = 'sync' AND started_at_ms IS NOT NULL ORDER BY id DESC LIMIT 1) AS last_attempt_at_ms,
                 (SELECT id FROM runs WHERE tenant = $1 AND runs.connection = connections.name
                      AND kind = 'sync' AND status = 'succeeded' ORDER BY id DESC LIMIT 1) AS success,
                 (SELECT id FROM runs WHERE tenant = $1 AND runs.connection = connections.name
                      AND kind = 'sync' AND status IN ('failed', 'abandoned') ORDER BY id DESC LIMIT 1) AS failure
             FROM connections WHERE connections.tenant = $1
         ) AS ends
         LEFT JOIN runs AS success ON success.id = ends.success
         LEFT JOIN runs AS failure ON failure.id = ends.failure
         ORDER BY ends.connection",
    )
    .bind(tenant)
    .fetch_all(db)
    .await
}
