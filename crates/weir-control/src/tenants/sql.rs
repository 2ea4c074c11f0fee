use sqlx::AnyConnection;

use super::Tenant;

pub(super) async fn insert(db: &mut AnyConnection, name: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO tenants (tenant, created_at_ms) SELECT $1, now_ms FROM clock WHERE true
         ON CONFLICT (tenant) DO NOTHING",
    )
    .bind(name)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn get(db: &mut AnyConnection, name: &str) -> sqlx::Result<Option<Tenant>> {
    sqlx::query_as("SELECT tenant, created_at_ms FROM tenants WHERE tenant = $1")
        .bind(name)
        .fetch_optional(db)
        .await
}

pub(super) async fn list(db: &mut AnyConnection) -> sqlx::Result<Vec<Tenant>> {
    sqlx::query_as("SELECT tenant, created_at_ms FROM tenants ORDER BY tenant")
        .fetch_all(db)
        .await
}
