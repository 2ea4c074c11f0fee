use sqlx::AnyConnection;

pub(super) struct Question {
    pub(super) hash: String,
    pub(super) tenant: String,
    pub(super) principal: String,
    pub(super) about: String,
    pub(super) kept: String,
}

pub(super) async fn forget_old(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM questions WHERE tenant = $1 AND expires_at_ms < (SELECT now_ms FROM clock)")
        .bind(tenant)
        .execute(db)
        .await
        .map(drop)
}

/// Again by a write whose answer was lost: it is there.
pub(super) async fn insert(db: &mut AnyConnection, new: &Question, life_ms: i64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO questions (hash, tenant, principal, about, kept, expires_at_ms)
         SELECT $1, $2, $3, $4, $5, now_ms + $6 FROM clock WHERE true
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(&new.hash)
    .bind(&new.tenant)
    .bind(&new.principal)
    .bind(&new.about)
    .bind(&new.kept)
    .bind(life_ms)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn get(
    db: &mut AnyConnection,
    (tenant, principal): (&str, &str),
    (hash, about): (&str, &str),
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT kept FROM questions, clock
         WHERE hash = $1 AND tenant = $2 AND principal = $3 AND about = $4 AND expires_at_ms >= now_ms",
    )
    .bind(hash)
    .bind(tenant)
    .bind(principal)
    .bind(about)
    .fetch_optional(db)
    .await
}

pub(super) async fn remove(db: &mut AnyConnection, tenant: &str, hash: &str) -> sqlx::Result<bool> {
    let removed = sqlx::query("DELETE FROM questions WHERE hash = $1 AND tenant = $2")
        .bind(hash)
        .bind(tenant)
        .execute(db)
        .await?;
    Ok(removed.rows_affected() > 0)
}
