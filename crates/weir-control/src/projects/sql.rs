use sqlx::{AnyConnection, FromRow};

use super::Applied;
use super::rules::Files;

#[derive(FromRow)]
struct Head {
    version: i64,
    digest: String,
    applied_at_ms: i64,
    applied_by: String,
}

pub(super) async fn current(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Applied> {
    let head: Option<Head> =
        sqlx::query_as("SELECT version, digest, applied_at_ms, applied_by FROM projects WHERE tenant = $1")
            .bind(tenant)
            .fetch_optional(&mut *db)
            .await?;
    let Some(head) = head else {
        return Ok(Applied::default());
    };
    let files: Vec<(String, String)> =
        sqlx::query_as("SELECT path, text FROM project_files WHERE tenant = $1 ORDER BY path")
            .bind(tenant)
            .fetch_all(db)
            .await?;
    Ok(Applied {
        version: head.version,
        digest: head.digest,
        applied_at_ms: Some(head.applied_at_ms),
        applied_by: Some(head.applied_by),
        files: files.into_iter().collect(),
    })
}

/// 0 where nothing was applied.
pub(super) async fn version(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<i64> {
    let version: Option<i64> = sqlx::query_scalar("SELECT version FROM projects WHERE tenant = $1")
        .bind(tenant)
        .fetch_optional(db)
        .await?;
    Ok(version.unwrap_or(0))
}

pub(super) async fn put(
    db: &mut AnyConnection,
    tenant: &str,
    (version, digest, by): (i64, &str, &str),
    (before, after): (&Files, &Files),
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO projects (tenant, version, digest, applied_at_ms, applied_by)
         SELECT $1, $2, $3, now_ms, $4 FROM clock WHERE true
         ON CONFLICT (tenant) DO UPDATE SET version = excluded.version, digest = excluded.digest,
             applied_at_ms = excluded.applied_at_ms, applied_by = excluded.applied_by",
    )
    .bind(tenant)
    .bind(version)
    .bind(digest)
    .bind(by)
    .execute(&mut *db)
    .await?;
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        sqlx::query("DELETE FROM project_files WHERE tenant = $1 AND path = $2")
            .bind(tenant)
            .bind(path)
            .execute(&mut *db)
            .await?;
    }
    for (path, text) in after
        .iter()
        .filter(|(path, text)| before.get(*path) != Some(text))
    {
        sqlx::query(
            "INSERT INTO project_files (tenant, path, text) VALUES ($1, $2, $3)
             ON CONFLICT (tenant, path) DO UPDATE SET text = excluded.text",
        )
        .bind(tenant)
        .bind(path)
        .bind(text)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// Streams of a connection whose state is known, and runs of it that are not over.
pub(super) async fn held(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
) -> sqlx::Result<(Vec<String>, i64)> {
    let streams: Vec<String> =
        sqlx::query_scalar("SELECT stream FROM states WHERE tenant = $1 AND connection = $2 ORDER BY stream")
            .bind(tenant)
            .bind(connection)
            .fetch_all(&mut *db)
            .await?;
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM runs WHERE tenant = $1 AND connection = $2 AND status IN ('queued', 'running')",
    )
    .bind(tenant)
    .bind(connection)
    .fetch_one(db)
    .await?;
    Ok((streams, open))
}

/// Whether a provider takes tokens that it granted to the connection.
pub(super) async fn has_live_grant(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
) -> sqlx::Result<bool> {
    let found: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM grants WHERE tenant = $1 AND connection = $2 AND state = 'connected'",
    )
    .bind(tenant)
    .bind(connection)
    .fetch_one(db)
    .await?;
    Ok(found > 0)
}

/// Connector and source of a connection that is known.
pub(super) async fn known(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
) -> sqlx::Result<Option<(String, String)>> {
    sqlx::query_as("SELECT connector, source FROM connections WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(connection)
        .fetch_optional(db)
        .await
}

/// Whether the store keeps a secret of this name.
pub(super) async fn has_secret(db: &mut AnyConnection, tenant: &str, name: &str) -> sqlx::Result<bool> {
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM secrets WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(name)
        .fetch_one(db)
        .await?;
    Ok(found > 0)
}
