use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};

use super::{NewWebhook, Webhook};

impl FromRow<'_, AnyRow> for Webhook {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let types: &str = row.try_get("types")?;
        Ok(Self {
            types: types.split_whitespace().map(ToOwned::to_owned).collect(),
            name: row.try_get("name")?,
            url: row.try_get("url")?,
            allow_private: row.try_get::<i64, _>("allow_private")? != 0,
            created_at_ms: row.try_get("created_at_ms")?,
            paused_at_ms: row.try_get("paused_at_ms")?,
            paused_because: row.try_get("paused_because")?,
            old_secret_until_ms: row.try_get("old_secret_until_ms")?,
        })
    }
}

/// False where there is one of that name.
pub(super) async fn insert(db: &mut AnyConnection, tenant: &str, new: &NewWebhook) -> sqlx::Result<bool> {
    let inserted = sqlx::query(
        "INSERT INTO webhooks (tenant, name, url, types, allow_private, created_at_ms)
         SELECT $1, $2, $3, $4, $5, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, name) DO NOTHING",
    )
    .bind(tenant)
    .bind(&new.name)
    .bind(&new.url)
    .bind(format!(" {} ", new.types.join(" ")))
    .bind(i64::from(new.allow_private))
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(crate) async fn list(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Webhook>> {
    sqlx::query_as("SELECT * FROM webhooks WHERE tenant = $1 ORDER BY name")
        .bind(tenant)
        .fetch_all(db)
        .await
}

pub(super) async fn remove(db: &mut AnyConnection, tenant: &str, name: &str) -> sqlx::Result<bool> {
    sqlx::query("DELETE FROM deliveries WHERE tenant = $1 AND target = $2 AND status = 'waiting'")
        .bind(tenant)
        .bind(format!("webhook:{name}"))
        .execute(&mut *db)
        .await?;
    let removed = sqlx::query("DELETE FROM webhooks WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(name)
        .execute(db)
        .await?;
    Ok(removed.rows_affected() == 1)
}

/// Nothing is sent from now on, for this reason; without one, it goes on.
pub(crate) async fn pause(
    db: &mut AnyConnection,
    tenant: &str,
    name: &str,
    because: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE webhooks SET paused_because = $3,
             paused_at_ms = CASE WHEN $4 = 1 THEN coalesce(paused_at_ms, (SELECT now_ms FROM clock)) END
         WHERE tenant = $1 AND name = $2",
    )
    .bind(tenant)
    .bind(name)
    .bind(because)
    .bind(i64::from(because.is_some()))
    .execute(db)
    .await
    .map(drop)
}

/// False where there is none of that name.
pub(super) async fn keep_old_secret(
    db: &mut AnyConnection,
    tenant: &str,
    name: &str,
    for_ms: i64,
) -> sqlx::Result<bool> {
    let kept = sqlx::query(
        "UPDATE webhooks SET old_secret_until_ms = (SELECT now_ms FROM clock) + $3
         WHERE tenant = $1 AND name = $2",
    )
    .bind(tenant)
    .bind(name)
    .bind(for_ms)
    .execute(db)
    .await?;
    Ok(kept.rows_affected() == 1)
}
