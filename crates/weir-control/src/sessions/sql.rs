use sqlx::{AnyConnection, FromRow};

#[derive(Debug, FromRow)]
pub(super) struct Row {
    pub(super) tenant: String,
    pub(super) principal: String,
    pub(super) hash: String,
    pub(super) roles: String,
    pub(super) last_used_at_ms: i64,
    pub(super) is_over: i64,
    pub(super) now_ms: i64,
}

pub(super) async fn get(db: &mut AnyConnection, id: &str, idle_ms: i64) -> sqlx::Result<Option<Row>> {
    sqlx::query_as(
        "SELECT tenant, principal, hash, roles, last_used_at_ms, now_ms,
             CASE WHEN expires_at_ms <= now_ms OR last_used_at_ms + $2 <= now_ms THEN 1 ELSE 0 END AS is_over
         FROM sessions, clock WHERE id = $1",
    )
    .bind(id)
    .bind(idle_ms)
    .fetch_optional(db)
    .await
}

pub(super) async fn insert(
    db: &mut AnyConnection,
    (tenant, id, principal): (&str, &str, &str),
    (hash, roles): (&str, &str),
    life_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sessions (id, tenant, principal, hash, roles, created_at_ms, last_used_at_ms, expires_at_ms)
         SELECT $1, $2, $3, $4, $5, now_ms, now_ms, now_ms + $6 FROM clock WHERE true
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(id)
    .bind(tenant)
    .bind(principal)
    .bind(hash)
    .bind(roles)
    .bind(life_ms)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn touch(db: &mut AnyConnection, id: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE sessions SET last_used_at_ms = (SELECT now_ms FROM clock) WHERE id = $1")
        .bind(id)
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn remove(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<bool> {
    let gone = sqlx::query("DELETE FROM sessions WHERE tenant = $1 AND id = $2")
        .bind(tenant)
        .bind(id)
        .execute(db)
        .await?;
    Ok(gone.rows_affected() == 1)
}

pub(super) async fn remove_over(db: &mut AnyConnection, tenant: &str, idle_ms: i64) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM sessions WHERE tenant = $1
         AND (expires_at_ms <= (SELECT now_ms FROM clock) OR last_used_at_ms + $2 <= (SELECT now_ms FROM clock))",
    )
    .bind(tenant)
    .bind(idle_ms)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn principal_kind(
    db: &mut AnyConnection,
    tenant: &str,
    name: &str,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT kind FROM principals WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(name)
        .fetch_optional(db)
        .await
}

pub(super) async fn insert_principal(db: &mut AnyConnection, tenant: &str, name: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO principals (tenant, name, kind, created_at_ms)
         SELECT $1, $2, 'user', now_ms FROM clock WHERE true
         ON CONFLICT (tenant, name) DO NOTHING",
    )
    .bind(tenant)
    .bind(name)
    .execute(db)
    .await
    .map(drop)
}
