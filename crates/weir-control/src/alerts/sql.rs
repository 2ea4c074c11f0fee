use serde_json::{Map, Value};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use weir_protocol::Error;

use super::{Alert, AlertFilter, Rule, Severity, Silence};

fn decoded<T>(value: Result<T, Error>) -> sqlx::Result<T> {
    value.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

impl FromRow<'_, AnyRow> for Alert {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let facts: &str = row.try_get("facts")?;
        Ok(Self {
            id: row.try_get("id")?,
            fingerprint: row.try_get("fingerprint")?,
            rule: decoded(row.try_get::<&str, _>("rule")?.parse())?,
            severity: decoded(row.try_get::<&str, _>("severity")?.parse())?,
            cause: row.try_get("cause")?,
            facts: serde_json::from_str(facts).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            subject: row.try_get("subject")?,
            connection: row.try_get("connection")?,
            raised_at_ms: row.try_get("raised_at_ms")?,
            seen_at_ms: row.try_get("seen_at_ms")?,
            seen: row.try_get("seen")?,
            told_at_ms: row.try_get("told_at_ms")?,
            told: row.try_get("told")?,
            resolved_at_ms: row.try_get("resolved_at_ms")?,
            resolved_because: row.try_get("resolved_because")?,
        })
    }
}

impl FromRow<'_, AnyRow> for Silence {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let rule: Option<&str> = row.try_get("rule")?;
        Ok(Self {
            id: row.try_get("id")?,
            rule: rule.map(|rule| decoded(rule.parse::<Rule>())).transpose()?,
            connection: row.try_get("connection")?,
            reason: row.try_get("reason")?,
            created_by: row.try_get("created_by")?,
            created_at_ms: row.try_get("created_at_ms")?,
            ends_at_ms: row.try_get("ends_at_ms")?,
        })
    }
}

fn json(facts: &Map<String, Value>) -> sqlx::Result<String> {
    serde_json::to_string(facts).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

pub(super) async fn insert(db: &mut AnyConnection, tenant: &str, alert: &Alert) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO alerts (id, tenant, fingerprint, rule, severity, cause, facts, subject, connection,
                             raised_at_ms, seen_at_ms, seen, told)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0)",
    )
    .bind(&alert.id)
    .bind(tenant)
    .bind(&alert.fingerprint)
    .bind(alert.rule.as_str())
    .bind(alert.severity.as_str())
    .bind(&alert.cause)
    .bind(json(&alert.facts)?)
    .bind(&alert.subject)
    .bind(&alert.connection)
    .bind(alert.raised_at_ms)
    .bind(alert.seen_at_ms)
    .bind(alert.seen)
    .execute(db)
    .await
    .map(drop)
}

/// One more event is behind it.
pub(super) async fn seen(
    db: &mut AnyConnection,
    id: &str,
    severity: Severity,
    facts: &Map<String, Value>,
    at_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE alerts SET seen = seen + 1, severity = $2, facts = $3,
             seen_at_ms = CASE WHEN seen_at_ms > $4 THEN seen_at_ms ELSE $4 END
         WHERE id = $1",
    )
    .bind(id)
    .bind(severity.as_str())
    .bind(json(facts)?)
    .bind(at_ms)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn told(db: &mut AnyConnection, id: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE alerts SET told = told + 1, told_at_ms = (SELECT now_ms FROM clock) WHERE id = $1")
        .bind(id)
        .execute(db)
        .await
        .map(drop)
}

/// Whether it was open.
pub(super) async fn resolve(db: &mut AnyConnection, id: &str, reason: &str) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        "UPDATE alerts SET resolved_at_ms = (SELECT now_ms FROM clock), resolved_because = $2
         WHERE id = $1 AND resolved_at_ms IS NULL",
    )
    .bind(id)
    .bind(reason)
    .execute(db)
    .await?;
    Ok(changed.rows_affected() == 1)
}

pub(super) async fn get(db: &mut AnyConnection, id: &str) -> sqlx::Result<Option<Alert>> {
    sqlx::query_as("SELECT * FROM alerts WHERE id = $1")
        .bind(id)
        .fetch_optional(db)
        .await
}

pub(super) async fn open(
    db: &mut AnyConnection,
    tenant: &str,
    fingerprint: &str,
) -> sqlx::Result<Option<Alert>> {
    sqlx::query_as("SELECT * FROM alerts WHERE tenant = $1 AND fingerprint = $2 AND resolved_at_ms IS NULL")
        .bind(tenant)
        .bind(fingerprint)
        .fetch_optional(db)
        .await
}

pub(super) async fn open_of(
    db: &mut AnyConnection,
    tenant: &str,
    rule: Rule,
    subject: &str,
) -> sqlx::Result<Vec<Alert>> {
    sqlx::query_as(
        "SELECT * FROM alerts WHERE tenant = $1 AND rule = $2 AND subject = $3 AND resolved_at_ms IS NULL",
    )
    .bind(tenant)
    .bind(rule.as_str())
    .bind(subject)
    .fetch_all(db)
    .await
}

/// With their tenants.
pub(super) async fn all_open(db: &mut AnyConnection) -> sqlx::Result<Vec<(String, Alert)>> {
    let rows: Vec<AnyRow> = sqlx::query("SELECT * FROM alerts WHERE resolved_at_ms IS NULL ORDER BY id")
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("tenant")?, Alert::from_row(row)?)))
        .collect()
}

pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    filter: &AlertFilter,
    limit: u32,
) -> sqlx::Result<Vec<Alert>> {
    sqlx::query_as(
        "SELECT * FROM alerts
         WHERE tenant = $1 AND ($2 = 1 OR resolved_at_ms IS NULL) AND ($3 IS NULL OR connection = $3)
           AND ($4 IS NULL OR id < $4)
         ORDER BY id DESC LIMIT $5",
    )
    .bind(tenant)
    .bind(i64::from(filter.all))
    .bind(&filter.connection)
    .bind(&filter.before)
    .bind(i64::from(limit))
    .fetch_all(db)
    .await
}

/// At most two, which is enough to know that the prefix is not the only one.
pub(super) async fn by_prefix(
    db: &mut AnyConnection,
    tenant: &str,
    prefix: &str,
) -> sqlx::Result<Vec<Alert>> {
    sqlx::query_as(
        "SELECT * FROM alerts WHERE tenant = $1 AND substr(id, 1, length($2)) = $2 AND length($2) > 0
         ORDER BY id LIMIT 2",
    )
    .bind(tenant)
    .bind(prefix)
    .fetch_all(db)
    .await
}

pub(super) async fn insert_silence(
    db: &mut AnyConnection,
    tenant: &str,
    silence: &Silence,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO silences (id, tenant, rule, connection, reason, created_by, created_at_ms, ends_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
    )
    .bind(&silence.id)
    .bind(tenant)
    .bind(silence.rule.map(Rule::as_str))
    .bind(&silence.connection)
    .bind(&silence.reason)
    .bind(&silence.created_by)
    .bind(silence.created_at_ms)
    .bind(silence.ends_at_ms)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn prune(db: &mut AnyConnection, before_ms: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM alerts WHERE resolved_at_ms IS NOT NULL AND resolved_at_ms < $1")
        .bind(before_ms)
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM silences WHERE ends_at_ms < $1")
        .bind(before_ms)
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn silences(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Silence>> {
    sqlx::query_as(
        "SELECT silences.* FROM silences, clock WHERE tenant = $1 AND ends_at_ms > now_ms ORDER BY id",
    )
    .bind(tenant)
    .fetch_all(db)
    .await
}

pub(super) async fn end_silence(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE silences SET ends_at_ms = (SELECT now_ms FROM clock)
         WHERE tenant = $1 AND id = $2 AND ends_at_ms > (SELECT now_ms FROM clock)",
    )
    .bind(tenant)
    .bind(id)
    .execute(db)
    .await
    .map(drop)
}

/// Names the moment in the event that tells of it.
pub(super) fn missed_occasion(connection: &str, due_at_ms: i64) -> String {
    format!("{connection}/{due_at_ms}")
}

/// Scheduled moments promised since `since_ms` and by now, without a success in time, that nobody was
/// told of: tenant, connection, when it was due, and by when it was promised.
pub(super) async fn missed(
    db: &mut AnyConnection,
    since_ms: i64,
    limit: i64,
) -> sqlx::Result<Vec<(String, String, i64, i64)>> {
    sqlx::query_as(
        "SELECT tenant, connection, due_at_ms, promised FROM (
             SELECT tenant, connection, due_at_ms, max(promised_by_ms) AS promised,
                 max(CASE WHEN status = 'succeeded' AND finished_at_ms <= promised_by_ms THEN 1 ELSE 0 END) AS kept
             FROM runs WHERE due_at_ms IS NOT NULL AND promised_by_ms > $1
             GROUP BY tenant, connection, due_at_ms
         ) AS moments, clock
         WHERE promised < now_ms AND kept = 0
           AND NOT EXISTS (SELECT 1 FROM events WHERE events.tenant = moments.tenant
               AND occasion = 'sla.missed/' || moments.connection || '/' || CAST(moments.due_at_ms AS TEXT))
         ORDER BY promised LIMIT $2",
    )
    .bind(since_ms)
    .bind(limit)
    .fetch_all(db)
    .await
}
