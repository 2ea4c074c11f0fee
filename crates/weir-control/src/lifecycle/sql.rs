use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use weir_protocol::Error;

use super::{NewVersion, Stage, Staged, Version};

fn json(value: &impl Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn decoded<T: DeserializeOwned>(text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

impl FromRow<'_, AnyRow> for Version {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let stage: &str = row.try_get("stage")?;
        let staged: Option<String> = row.try_get("staged")?;
        Ok(Self {
            connector: row.try_get("connector")?,
            version: row.try_get("version")?,
            digest: row.try_get("digest")?,
            stage: stage
                .parse()
                .map_err(|error: Error| sqlx::Error::Decode(Box::new(error)))?,
            created_at_ms: row.try_get("created_at_ms")?,
            moved_at_ms: row.try_get("moved_at_ms")?,
            moved_by: row.try_get("moved_by")?,
            staged: staged.as_deref().map(decoded).transpose()?,
            replaced: row.try_get("replaced")?,
            files: decoded(row.try_get("files")?)?,
            spec: decoded(row.try_get("spec")?)?,
        })
    }
}

const VERSIONS: &str =
    "SELECT connector, version, digest, files, spec, stage, created_at_ms, moved_at_ms, moved_by,
     staged, replaced FROM connector_versions WHERE tenant = $1";

pub(super) async fn all(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Version>> {
    let query = format!("{VERSIONS} ORDER BY connector, created_at_ms");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .fetch_all(db)
        .await
}

/// The oldest first.
pub(super) async fn of(db: &mut AnyConnection, tenant: &str, connector: &str) -> sqlx::Result<Vec<Version>> {
    let query = format!("{VERSIONS} AND connector = $2 ORDER BY created_at_ms");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(connector)
        .fetch_all(db)
        .await
}

/// Makes a draft, or replaces what a draft of this version was.
pub(super) async fn put_draft(
    db: &mut AnyConnection,
    tenant: &str,
    new: &NewVersion,
    by: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO connector_versions (tenant, connector, version, digest, files, spec, stage, created_at_ms,
                                         moved_at_ms, moved_by)
         SELECT $1, $2, $3, $4, $5, $6, 'draft', now_ms, now_ms, $7 FROM clock WHERE true
         ON CONFLICT (tenant, connector, version) DO UPDATE SET digest = excluded.digest, files = excluded.files,
             spec = excluded.spec, moved_at_ms = excluded.moved_at_ms, moved_by = excluded.moved_by
         WHERE connector_versions.stage = 'draft'",
    )
    .bind(tenant)
    .bind(&new.spec.connector)
    .bind(&new.spec.version)
    .bind(&new.digest)
    .bind(json(&new.files)?)
    .bind(json(&new.spec)?)
    .bind(by)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn set_stage(
    db: &mut AnyConnection,
    (tenant, connector, version): (&str, &str, &str),
    stage: Stage,
    replaced: Option<&str>,
    by: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE connector_versions SET stage = $4, replaced = coalesce($5, replaced), moved_by = $6,
             moved_at_ms = (SELECT now_ms FROM clock)
         WHERE tenant = $1 AND connector = $2 AND version = $3",
    )
    .bind(tenant)
    .bind(connector)
    .bind(version)
    .bind(stage.as_str())
    .bind(replaced)
    .bind(by)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn set_staged(
    db: &mut AnyConnection,
    (tenant, connector, version): (&str, &str, &str),
    staged: &Staged,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE connector_versions SET staged = $4 WHERE tenant = $1 AND connector = $2 AND version = $3",
    )
    .bind(tenant)
    .bind(connector)
    .bind(version)
    .bind(json(staged)?)
    .execute(db)
    .await
    .map(drop)
}
