use sqlx::AnyConnection;

use super::Connection;

pub(crate) async fn register_in(db: &mut AnyConnection, connection: &Connection) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO connections (tenant, name, connector, source, created_at_ms, updated_at_ms)
         SELECT $1, $2, $3, $4, now_ms, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, name) DO UPDATE
         SET connector = excluded.connector, source = excluded.source, updated_at_ms = excluded.updated_at_ms",
    )
    .bind(&connection.tenant)
    .bind(&connection.name)
    .bind(&connection.connector)
    .bind(&connection.source)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn list(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Connection>> {
    sqlx::query_as("SELECT tenant, name, connector, source FROM connections WHERE tenant = $1 ORDER BY name")
        .bind(tenant)
        .fetch_all(db)
        .await
}
