use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use weir_protocol::Error;

use super::tokens::{NewToken, Token, TokenStatus};
use super::{Access, Kind, Principal};

fn words<T: DeserializeOwned + Ord>(row: &AnyRow, column: &str) -> sqlx::Result<BTreeSet<T>> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn json(value: &impl Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn kind(row: &AnyRow) -> sqlx::Result<Kind> {
    let kind: &str = row.try_get("kind")?;
    kind.parse()
        .map_err(|error: Error| sqlx::Error::Decode(Box::new(error)))
}

impl FromRow<'_, AnyRow> for Principal {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            tenant: row.try_get("tenant")?,
            name: row.try_get("name")?,
            kind: kind(row)?,
            created_at_ms: row.try_get("created_at_ms")?,
        })
    }
}

impl FromRow<'_, AnyRow> for Token {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let now_ms: i64 = row.try_get("now_ms")?;
        let expires_at_ms: i64 = row.try_get("expires_at_ms")?;
        let revoked_at_ms: Option<i64> = row.try_get("revoked_at_ms")?;
        let status = match revoked_at_ms {
            Some(_) => TokenStatus::Revoked,
            None if expires_at_ms <= now_ms => TokenStatus::Expired,
            None => TokenStatus::Active,
        };
        Ok(Self {
            id: row.try_get("id")?,
            tenant: row.try_get("tenant")?,
            principal: row.try_get("principal")?,
            kind: kind(row)?,
            roles: words(row, "roles")?,
            scopes: words(row, "scopes")?,
            groups: words(row, "member_of")?,
            status,
            created_at_ms: row.try_get("created_at_ms")?,
            created_by: row.try_get("created_by")?,
            expires_at_ms,
            revoked_at_ms,
            last_used_at_ms: row.try_get("last_used_at_ms")?,
        })
    }
}

const TOKENS: &str = "SELECT tokens.id, tokens.tenant, tokens.principal, tokens.hash, tokens.roles, tokens.scopes, tokens.member_of,
     tokens.created_at_ms, tokens.created_by, tokens.expires_at_ms, tokens.revoked_at_ms, tokens.last_used_at_ms,
     principals.kind, clock.now_ms
 FROM tokens JOIN principals ON principals.tenant = tokens.tenant AND principals.name = tokens.principal, clock";

pub(super) async fn principal(
    db: &mut AnyConnection,
    tenant: &str,
    name: &str,
) -> sqlx::Result<Option<Principal>> {
    sqlx::query_as("SELECT tenant, name, kind, created_at_ms FROM principals WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(name)
        .fetch_optional(db)
        .await
}

pub(super) async fn principals(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Principal>> {
    sqlx::query_as("SELECT tenant, name, kind, created_at_ms FROM principals WHERE tenant = $1 ORDER BY name")
        .bind(tenant)
        .fetch_all(db)
        .await
}

/// Whether it is new.
pub(super) async fn insert_principal(
    db: &mut AnyConnection,
    tenant: &str,
    name: &str,
    kind: Kind,
) -> sqlx::Result<bool> {
    let inserted = sqlx::query(
        "INSERT INTO principals (tenant, name, kind, created_at_ms)
         SELECT $1, $2, $3, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, name) DO NOTHING",
    )
    .bind(tenant)
    .bind(name)
    .bind(kind.as_str())
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(super) async fn insert_token(
    db: &mut AnyConnection,
    access: &Access,
    new: &NewToken,
    (id, hash): (&str, &str),
    life_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO tokens (id, tenant, principal, hash, roles, scopes, created_at_ms, created_by, expires_at_ms,
             member_of)
         SELECT $1, $2, $3, $4, $5, $6, now_ms, $7, now_ms + $8, $9 FROM clock WHERE true
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(id)
    .bind(&access.tenant)
    .bind(&new.principal)
    .bind(hash)
    .bind(json(&new.roles)?)
    .bind(json(&new.scopes)?)
    .bind(&access.principal)
    .bind(life_ms)
    .bind(json(&new.groups)?)
    .execute(db)
    .await
    .map(drop)
}

/// Whether a principal made a token, or one of those who made it, by any of their tokens.
pub(super) async fn is_made_by(
    db: &mut AnyConnection,
    tenant: &str,
    id: &str,
    maker: &str,
) -> sqlx::Result<bool> {
    let found: i64 = sqlx::query_scalar(
        "WITH RECURSIVE makers (name) AS (
             SELECT created_by FROM tokens WHERE tenant = $1 AND id = $2
             UNION SELECT t.created_by FROM tokens AS t, makers WHERE t.tenant = $1 AND t.principal = makers.name)
         SELECT count(*) FROM makers WHERE name = $3",
    )
    .bind(tenant)
    .bind(id)
    .bind(maker)
    .fetch_one(db)
    .await?;
    Ok(found > 0)
}

/// Whether the store has a token besides this one.
pub(super) async fn others_exist(db: &mut AnyConnection, id: &str) -> sqlx::Result<bool> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT CAST(1 AS BIGINT) FROM tokens WHERE id <> $1 LIMIT 1")
            .bind(id)
            .fetch_optional(db)
            .await?;
    Ok(found.is_some())
}

/// Token, hash of its secret, and the time.
pub(super) async fn by_id(db: &mut AnyConnection, id: &str) -> sqlx::Result<Option<(Token, String, i64)>> {
    let query = format!("{TOKENS} WHERE tokens.id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(id)
        .fetch_optional(db)
        .await?;
    row.map(|row| {
        Ok((
            Token::from_row(&row)?,
            row.try_get("hash")?,
            row.try_get("now_ms")?,
        ))
    })
    .transpose()
}

pub(super) async fn token(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<Option<Token>> {
    let query = format!("{TOKENS} WHERE tokens.tenant = $1 AND tokens.id = $2");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(id)
        .fetch_optional(db)
        .await
}

pub(super) async fn tokens(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Token>> {
    let query = format!("{TOKENS} WHERE tokens.tenant = $1 ORDER BY tokens.created_at_ms DESC, tokens.id");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .fetch_all(db)
        .await
}

pub(super) async fn touch(db: &mut AnyConnection, id: &str, now_ms: i64) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE tokens SET last_used_at_ms = $2
         WHERE id = $1 AND (last_used_at_ms IS NULL OR last_used_at_ms < $2)",
    )
    .bind(id)
    .bind(now_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Whether it was not revoked before.
pub(super) async fn revoke(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<bool> {
    let revoked = sqlx::query(
        "UPDATE tokens SET revoked_at_ms = (SELECT now_ms FROM clock)
         WHERE tenant = $1 AND id = $2 AND revoked_at_ms IS NULL",
    )
    .bind(tenant)
    .bind(id)
    .execute(db)
    .await?;
    Ok(revoked.rows_affected() == 1)
}
