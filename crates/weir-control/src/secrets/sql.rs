use sqlx::{AnyConnection, FromRow};
use weir_protocol::Result;

use super::StoredSecret;
use super::keys::{Place, Sealed};
use super::rotation::Rotation;
use crate::store::stored_badly;

#[derive(Debug, Clone, FromRow)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) version: i64,
    pub(super) master_key_id: String,
    pub(super) wrapped_key: String,
    pub(super) ciphertext: String,
}

impl Row {
    pub(super) fn place<'a>(&'a self, tenant: &'a str) -> Place<'a> {
        Place {
            tenant,
            id: &self.id,
            name: &self.name,
            version: self.version,
        }
    }
}

const ROWS: &str =
    "SELECT name, id, version, master_key_id, wrapped_key, ciphertext FROM secrets WHERE tenant = $1";

pub(super) async fn get(db: &mut AnyConnection, tenant: &str, name: &str) -> sqlx::Result<Option<Row>> {
    let query = format!("{ROWS} AND name = $2");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(name)
        .fetch_optional(db)
        .await
}

/// Some secrets whose data keys another master key wraps.
pub(super) async fn wrapped_otherwise(
    db: &mut AnyConnection,
    tenant: &str,
    master_key_id: &str,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    let query = format!("{ROWS} AND master_key_id <> $2 ORDER BY name LIMIT $3");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(master_key_id)
        .bind(limit)
        .fetch_all(db)
        .await
}

/// Which master keys a tenant's secrets need.
pub(super) async fn master_keys(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT DISTINCT master_key_id FROM secrets WHERE tenant = $1 ORDER BY master_key_id")
        .bind(tenant)
        .fetch_all(db)
        .await
}

pub(super) async fn tenants(db: &mut AnyConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT DISTINCT tenant FROM secrets ORDER BY tenant")
        .fetch_all(db)
        .await
}

/// Stores a version. The value's age begins anew only where the value is another.
pub(super) async fn put(
    db: &mut AnyConnection,
    place: Place<'_>,
    master_key_id: &str,
    sealed: &Sealed,
    is_other_value: bool,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO secrets (tenant, name, id, version, master_key_id, wrapped_key, ciphertext, created_at_ms, set_at_ms)
         SELECT $1, $2, $3, $4, $5, $6, $7, now_ms, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, name) DO UPDATE
         SET version = excluded.version, master_key_id = excluded.master_key_id, wrapped_key = excluded.wrapped_key,
             ciphertext = excluded.ciphertext,
             set_at_ms = CASE WHEN $8 = 1 THEN excluded.set_at_ms ELSE secrets.set_at_ms END",
    )
    .bind(place.tenant)
    .bind(place.name)
    .bind(place.id)
    .bind(place.version)
    .bind(master_key_id)
    .bind(&sealed.wrapped_key)
    .bind(&sealed.ciphertext)
    .bind(i64::from(is_other_value))
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn rewrapped(
    db: &mut AnyConnection,
    place: Place<'_>,
    master_key_id: &str,
    wrapped_key: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE secrets SET master_key_id = $5, wrapped_key = $6
         WHERE tenant = $1 AND name = $2 AND id = $3 AND version = $4",
    )
    .bind(place.tenant)
    .bind(place.name)
    .bind(place.id)
    .bind(place.version)
    .bind(master_key_id)
    .bind(wrapped_key)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn note_read(db: &mut AnyConnection, tenant: &str, name: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE secrets SET read_at_ms = (SELECT now_ms FROM clock) WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(name)
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn delete(db: &mut AnyConnection, tenant: &str, name: &str) -> sqlx::Result<bool> {
    let gone = sqlx::query("DELETE FROM secrets WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(name)
        .execute(db)
        .await?;
    Ok(gone.rows_affected() == 1)
}

/// What may be told.
const TOLD: &str =
    "SELECT name, version, master_key_id, created_at_ms, set_at_ms, read_at_ms, expires_at_ms FROM secrets
     WHERE tenant = $1 AND name NOT LIKE '%/%'";

pub(super) async fn list(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<StoredSecret>> {
    let query = format!("{TOLD} ORDER BY name");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .fetch_all(db)
        .await
}

pub(super) async fn told(
    db: &mut AnyConnection,
    tenant: &str,
    name: &str,
) -> sqlx::Result<Option<StoredSecret>> {
    let query = format!("{TOLD} AND name = $2");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(name)
        .fetch_optional(db)
        .await
}

/// When a secret's value ends, as somebody says; None: nobody does.
pub(super) async fn expires(
    db: &mut AnyConnection,
    tenant: &str,
    name: &str,
    at_ms: Option<i64>,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE secrets SET expires_at_ms = $3, warned_at_ms = NULL WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(name)
        .bind(at_ms)
        .execute(db)
        .await
        .map(drop)
}

/// Values that end within so long, of which nobody was told yet.
pub(super) async fn ending(
    db: &mut AnyConnection,
    tenant: &str,
    within_ms: i64,
) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "SELECT name, expires_at_ms FROM secrets, clock
         WHERE tenant = $1 AND warned_at_ms IS NULL AND expires_at_ms - $2 <= now_ms ORDER BY name",
    )
    .bind(tenant)
    .bind(within_ms)
    .fetch_all(db)
    .await
}

/// False where somebody else told it.
pub(super) async fn warned(db: &mut AnyConnection, tenant: &str, name: &str) -> sqlx::Result<bool> {
    let told = sqlx::query(
        "UPDATE secrets SET warned_at_ms = (SELECT now_ms FROM clock)
         WHERE tenant = $1 AND name = $2 AND warned_at_ms IS NULL",
    )
    .bind(tenant)
    .bind(name)
    .execute(db)
    .await?;
    Ok(told.rows_affected() == 1)
}

#[derive(Debug, FromRow)]
pub(super) struct RotationRow {
    id: String,
    secret: String,
    connections: String,
    principal: String,
    rotated_at_ms: i64,
    ended_at_ms: Option<i64>,
}

impl RotationRow {
    pub(super) fn shown(self) -> Result<Rotation> {
        let connections = serde_json::from_str(&self.connections)
            .map_err(|error| stored_badly("list of connections", &self.connections, error))?;
        Ok(Rotation {
            id: self.id,
            secret: self.secret,
            connections,
            principal: self.principal,
            rotated_at_ms: self.rotated_at_ms,
            ended_at_ms: self.ended_at_ms,
        })
    }
}

const ROTATIONS: &str =
    "SELECT id, secret, connections, principal, rotated_at_ms, ended_at_ms FROM rotations WHERE tenant = $1";

pub(super) async fn rotation(
    db: &mut AnyConnection,
    tenant: &str,
    id: &str,
) -> sqlx::Result<Option<RotationRow>> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("{ROTATIONS} AND id = $2")))
        .bind(tenant)
        .bind(id)
        .fetch_optional(db)
        .await
}

pub(super) async fn rotations(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<RotationRow>> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("{ROTATIONS} ORDER BY id DESC")))
        .bind(tenant)
        .fetch_all(db)
        .await
}

pub(super) async fn insert_rotation(
    db: &mut AnyConnection,
    (tenant, id, secret): (&str, &str, &str),
    (connections, principal): (&str, &str),
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO rotations (tenant, id, secret, connections, principal, rotated_at_ms)
         SELECT $1, $2, $3, $4, $5, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, id) DO NOTHING",
    )
    .bind(tenant)
    .bind(id)
    .bind(secret)
    .bind(connections)
    .bind(principal)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn end_rotation(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<bool> {
    let ended = sqlx::query(
        "UPDATE rotations SET ended_at_ms = (SELECT now_ms FROM clock)
         WHERE tenant = $1 AND id = $2 AND ended_at_ms IS NULL",
    )
    .bind(tenant)
    .bind(id)
    .execute(db)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// A secret of Supabase Vault, in the same database. Needs the database's own role.
pub(super) async fn supabase(db: &mut AnyConnection, name: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT decrypted_secret::text FROM vault.decrypted_secrets WHERE name = $1")
        .bind(name)
        .fetch_optional(db)
        .await
}
