use serde_json::json;
use sqlx::{AnyConnection, FromRow};
use weir_protocol::tools::SeenTool;

use super::{Tool, rules};
use crate::store::{Outcome, stored_badly};

#[derive(FromRow)]
struct Row {
    connection: String,
    tool: String,
    seen: Option<String>,
    seen_at_ms: i64,
    accepted: Option<String>,
    accepted_by: Option<String>,
    accepted_at_ms: Option<i64>,
}

impl Row {
    fn read(self) -> Outcome<Tool> {
        let (seen, accepted) = (parse(self.seen.as_deref())?, parse(self.accepted.as_deref())?);
        Ok(Tool {
            state: rules::state(seen.as_ref(), accepted.as_ref()),
            connection: self.connection,
            tool: self.tool,
            seen,
            seen_at_ms: self.seen_at_ms,
            accepted,
            accepted_by: self.accepted_by,
            accepted_at_ms: self.accepted_at_ms,
        })
    }
}

fn parse(text: Option<&str>) -> Outcome<Option<SeenTool>> {
    let read = text.map(|text| {
        serde_json::from_str(text).map_err(|error| stored_badly("tool of a server", text, error))
    });
    Ok(read.transpose()?)
}

pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    connection: Option<&str>,
) -> Outcome<Vec<Tool>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT connection, tool, seen, seen_at_ms, accepted, accepted_by, accepted_at_ms FROM upstream_tools
         WHERE tenant = $1 AND ($2 IS NULL OR connection = $2) ORDER BY connection, tool",
    )
    .bind(tenant)
    .bind(connection)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// What the server has of a tool now.
pub(super) async fn see(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    tool: &str,
    seen: Option<&SeenTool>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO upstream_tools (tenant, connection, tool, seen, seen_digest, seen_at_ms)
         SELECT $1, $2, $3, $4, $5, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, connection, tool) DO UPDATE
         SET seen = excluded.seen, seen_digest = excluded.seen_digest, seen_at_ms = excluded.seen_at_ms",
    )
    .bind(tenant)
    .bind(connection)
    .bind(tool)
    .bind(seen.map(|seen| json!(seen).to_string()))
    .bind(seen.map(|seen| seen.digest.as_str()))
    .execute(db)
    .await
    .map(drop)
}

/// What the server has now is right.
pub(super) async fn accept(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    tool: &str,
    by: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE upstream_tools SET accepted = seen, accepted_digest = seen_digest, accepted_by = $4,
             accepted_at_ms = (SELECT now_ms FROM clock)
         WHERE tenant = $1 AND connection = $2 AND tool = $3",
    )
    .bind(tenant)
    .bind(connection)
    .bind(tool)
    .bind(by)
    .execute(db)
    .await
    .map(drop)
}

/// Removes what neither is there nor was accepted.
pub(super) async fn forget(db: &mut AnyConnection, (tenant, connection): (&str, &str)) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM upstream_tools WHERE tenant = $1 AND connection = $2 AND seen IS NULL AND accepted IS NULL",
    )
    .bind(tenant)
    .bind(connection)
    .execute(db)
    .await
    .map(drop)
}
