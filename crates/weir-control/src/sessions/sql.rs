use sqlx::{AnyConnection, FromRow};

#[derive(Debug, FromRow)]
pub(super) struct Row {
    pub(super) tenant: String,
    pub(super) principal: String,
    pub(super) hash: String,
    pub(super) roles: String,
    pub(super) member_of: String,
    pub(super) scopes: Option<String>,
    pub(super) last_used_at_ms: i64,
    pub(super) is_over: i64,
    pub(super) now_ms: i64,
}

impl Row {
    /// Whether it is of an access token that opens nothing.
    pub(super) fn is_shut(&self) -> bool {
        self.scopes.is_some() && self.roles == "[]"
    }
}

pub(super) async fn get(db: &mut AnyConnection, id: &str, idle_ms: i64) -> sqlx::Result<Option<Row>> {
    sqlx::query_as(
        "SELECT tenant, principal, hash, roles, member_of, scopes, last_used_at_ms, now_ms,
             CASE WHEN expires_at_ms <= now_ms OR (scopes IS NULL AND last_used_at_ms + $2 <= now_ms)
                 THEN 1 ELSE 0 END AS is_over
         FROM sessions, clock WHERE id = $1",
    )
    .bind(id)
    .bind(idle_ms)
    .fetch_optional(db)
    .await
}

/// What the provider's claims come to; JSON each.
pub(super) struct Vouched<'a> {
    pub(super) roles: &'a str,
    pub(super) groups: &'a str,
    pub(super) role_words: &'a str,
    /// Of an access token.
    pub(super) scopes: Option<&'a str>,
}

/// A session as it is shown and narrowed; sets as JSON.
#[derive(Debug, FromRow)]
pub(super) struct Open {
    pub(super) id: String,
    pub(super) principal: String,
    pub(super) roles: String,
    pub(super) member_of: String,
    pub(super) role_words: Option<String>,
    /// Of an access token.
    pub(super) scopes: Option<String>,
    pub(super) created_at_ms: i64,
    pub(super) last_used_at_ms: i64,
    pub(super) expires_at_ms: i64,
}

/// Those that are not over, newest first; of one principal, or with one id, where they are named.
pub(super) async fn open(
    db: &mut AnyConnection,
    tenant: &str,
    (principal, id): (Option<&str>, Option<&str>),
    idle_ms: i64,
) -> sqlx::Result<Vec<Open>> {
    sqlx::query_as(
        "SELECT id, principal, roles, member_of, role_words, scopes, created_at_ms, last_used_at_ms, expires_at_ms
         FROM sessions, clock
         WHERE tenant = $1 AND ($2 IS NULL OR principal = $2) AND ($3 IS NULL OR id = $3)
           AND expires_at_ms > now_ms AND (scopes IS NOT NULL OR last_used_at_ms + $4 > now_ms)
           AND (scopes IS NULL OR roles <> '[]')
         ORDER BY created_at_ms DESC, id",
    )
    .bind(tenant)
    .bind(principal)
    .bind(id)
    .bind(idle_ms)
    .fetch_all(db)
    .await
}

pub(super) async fn narrow(
    db: &mut AnyConnection,
    (tenant, id): (&str, &str),
    roles: &str,
    groups: &str,
) -> sqlx::Result<()> {
    // One that was revoked meanwhile stays so.
    sqlx::query(
        "UPDATE sessions SET roles = $3, member_of = $4
         WHERE tenant = $1 AND id = $2 AND (scopes IS NULL OR roles <> '[]')",
    )
    .bind(tenant)
    .bind(id)
    .bind(roles)
    .bind(groups)
    .execute(db)
    .await
    .map(drop)
}

/// It ends after its life, and not before the other moment.
pub(super) async fn insert(
    db: &mut AnyConnection,
    (tenant, id, principal): (&str, &str, &str),
    hash: &str,
    vouched: &Vouched<'_>,
    (life_ms, not_before_ms): (i64, i64),
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sessions (id, tenant, principal, hash, roles, created_at_ms, last_used_at_ms, expires_at_ms,
             member_of, role_words, scopes)
         SELECT $1, $2, $3, $4, $5, now_ms, now_ms, CASE WHEN $9 > now_ms + $6 THEN $9 ELSE now_ms + $6 END,
             $7, $8, $10
         FROM clock WHERE true
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(id)
    .bind(tenant)
    .bind(principal)
    .bind(hash)
    .bind(vouched.roles)
    .bind(life_ms)
    .bind(vouched.groups)
    .bind(vouched.role_words)
    .bind(not_before_ms)
    .bind(vouched.scopes)
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

/// A browser's session is forgotten. An access token is shown again, and has to be known as one that opens nothing.
pub(super) async fn remove(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<bool> {
    let shut = sqlx::query(
        "UPDATE sessions SET roles = '[]', member_of = '[]'
         WHERE tenant = $1 AND id = $2 AND scopes IS NOT NULL AND roles <> '[]'",
    )
    .bind(tenant)
    .bind(id)
    .execute(&mut *db)
    .await?;
    let gone = sqlx::query("DELETE FROM sessions WHERE tenant = $1 AND id = $2 AND scopes IS NULL")
        .bind(tenant)
        .bind(id)
        .execute(db)
        .await?;
    Ok(shut.rows_affected() + gone.rows_affected() == 1)
}

pub(super) async fn remove_over(db: &mut AnyConnection, tenant: &str, idle_ms: i64) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM sessions WHERE tenant = $1
         AND (expires_at_ms <= (SELECT now_ms FROM clock)
             OR (scopes IS NULL AND last_used_at_ms + $2 <= (SELECT now_ms FROM clock)))",
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

pub(super) async fn insert_principal(
    db: &mut AnyConnection,
    tenant: &str,
    name: &str,
    kind: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO principals (tenant, name, kind, created_at_ms)
         SELECT $1, $2, $3, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, name) DO NOTHING",
    )
    .bind(tenant)
    .bind(name)
    .bind(kind)
    .execute(db)
    .await
    .map(drop)
}
