use serde_json::Value;
use sqlx::AnyConnection;
use weir_protocol::Result;

use super::{EventSchema, Mode};
use crate::store::{Outcome, stored_badly};

/// Of one family where it is named; versions in order.
pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    family: Option<&str>,
) -> Outcome<Vec<EventSchema>> {
    let rows: Vec<(String, i64, String, String)> = sqlx::query_as(
        "SELECT s.family, s.version, f.compatibility, s.body FROM event_schemas AS s
         JOIN event_families AS f ON f.tenant = s.tenant AND f.family = s.family
         WHERE s.tenant = $1 AND ($2 IS NULL OR s.family = $2) ORDER BY s.family, s.version",
    )
    .bind(tenant)
    .bind(family)
    .fetch_all(db)
    .await?;
    let read = |(family, version, mode, body): (String, i64, String, String)| -> Result<EventSchema> {
        let schema = serde_json::from_str(&body);
        Ok(EventSchema {
            schema: schema.map_err(|error| stored_badly("event schema", &family, error))?,
            version: u32::try_from(version).unwrap_or(u32::MAX),
            compatibility: mode.parse()?,
            origin: "project".to_owned(),
            family,
        })
    };
    Ok(rows.into_iter().map(read).collect::<Result<_>>()?)
}

pub(super) async fn put_family(
    db: &mut AnyConnection,
    tenant: &str,
    family: &str,
    mode: Mode,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO event_families (tenant, family, compatibility) VALUES ($1, $2, $3)
         ON CONFLICT (tenant, family) DO UPDATE SET compatibility = excluded.compatibility",
    )
    .bind(tenant)
    .bind(family)
    .bind(mode.as_str())
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn insert(
    db: &mut AnyConnection,
    tenant: &str,
    family: &str,
    version: u32,
    schema: &Value,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO event_schemas (tenant, family, version, body, registered_at_ms)
         SELECT $1, $2, $3, $4, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, family, version) DO NOTHING",
    )
    .bind(tenant)
    .bind(family)
    .bind(i64::from(version))
    .bind(schema.to_string())
    .execute(db)
    .await
    .map(drop)
}
