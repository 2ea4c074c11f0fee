use sqlx::{AnyConnection, FromRow};

/// A version of the policies as it is kept.
#[derive(FromRow)]
pub(super) struct Row {
    pub(super) version: String,
    pub(super) files: String,
    pub(super) first_at_ms: i64,
}

/// Whether the version was not known before.
pub(super) async fn insert(
    db: &mut AnyConnection,
    tenant: &str,
    version: &str,
    files: &str,
) -> sqlx::Result<bool> {
    let inserted = sqlx::query(
        "INSERT INTO policy_versions (tenant, version, files, first_at_ms)
         SELECT $1, $2, $3, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, version) DO NOTHING",
    )
    .bind(tenant)
    .bind(version)
    .bind(files)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The newest first.
pub(super) async fn versions(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as(
        "SELECT version, files, first_at_ms FROM policy_versions WHERE tenant = $1
         ORDER BY first_at_ms DESC, version",
    )
    .bind(tenant)
    .fetch_all(db)
    .await
}
