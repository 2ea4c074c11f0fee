use sqlx::{AnyConnection, FromRow};
use weir_protocol::Result;

use super::{Event, EventFilter, StoredEvent};
use crate::store::{Outcome, stored_badly};

#[derive(FromRow)]
struct Row {
    id: String,
    tenant: String,
    family: String,
    version: i64,
    subject: String,
    happened_at_ms: i64,
    correlation_id: Option<String>,
    data: String,
}

impl Row {
    fn read(self) -> Result<StoredEvent> {
        let data = serde_json::from_str(&self.data);
        Ok(StoredEvent {
            data: data.map_err(|error| stored_badly("event", &self.id, error))?,
            id: self.id,
            tenant: self.tenant,
            family: self.family,
            version: u32::try_from(self.version).unwrap_or(u32::MAX),
            subject: self.subject,
            happened_at_ms: self.happened_at_ms,
            correlation_id: self.correlation_id,
        })
    }
}

const COLUMNS: &str =
    "SELECT id, tenant, family, version, subject, happened_at_ms, correlation_id, data FROM events";

pub(super) async fn insert(db: &mut AnyConnection, event: &Event) -> sqlx::Result<bool> {
    let data = serde_json::to_string(&event.data).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let inserted = sqlx::query(
        "INSERT INTO events (id, tenant, family, version, subject, happened_at_ms, data, correlation_id, occasion)
         SELECT $1, $2, $3, $4, $5, now_ms, $6, $7, $8 FROM clock WHERE true
         ON CONFLICT DO NOTHING",
    )
    .bind(&event.id)
    .bind(&event.tenant)
    .bind(event.family.as_str())
    .bind(i64::from(event.family.version()))
    .bind(&event.subject)
    .bind(data)
    .bind(&event.correlation_id)
    .bind(&event.occasion)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    filter: &EventFilter,
    limit: u32,
) -> Outcome<Vec<StoredEvent>> {
    // `run.*` is every family that begins with `run.`.
    let beginning = filter
        .family
        .as_deref()
        .and_then(|family| family.strip_suffix('*'));
    let family = filter.family.as_deref().filter(|_| beginning.is_none());
    let query = format!(
        "{COLUMNS} WHERE tenant = $1 AND ($2 IS NULL OR family = $2)
           AND ($3 IS NULL OR substr(family, 1, length($3)) = $3)
           AND ($4 IS NULL OR subject = $4) AND ($5 IS NULL OR id < $5)
         ORDER BY id DESC LIMIT $6"
    );
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(family)
        .bind(beginning)
        .bind(&filter.subject)
        .bind(&filter.before)
        .bind(i64::from(limit))
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(Row::read).collect::<Result<_>>()?)
}

pub(super) async fn get(db: &mut AnyConnection, tenant: &str, id: &str) -> Outcome<Option<StoredEvent>> {
    let query = format!("{COLUMNS} WHERE tenant = $1 AND id = $2");
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(id)
        .fetch_optional(db)
        .await?;
    Ok(row.map(Row::read).transpose()?)
}

/// Events that webhooks and alerts have not been asked about, oldest first.
pub(crate) async fn to_route(db: &mut AnyConnection, limit: u32) -> Outcome<Vec<StoredEvent>> {
    let query = format!("{COLUMNS} WHERE routed_at_ms IS NULL ORDER BY id LIMIT $1");
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(i64::from(limit))
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(Row::read).collect::<Result<_>>()?)
}

pub(crate) async fn mark_routed(db: &mut AnyConnection, ids: &[&str]) -> sqlx::Result<()> {
    let Some(last) = ids.last() else {
        return Ok(());
    };
    // The last stands for those that are missing to a power of two: each number is a statement of its own.
    let count = ids.len().next_power_of_two();
    let places: Vec<String> = (1..=count).map(|place| format!("${place}")).collect();
    let sql = format!(
        "UPDATE events SET routed_at_ms = (SELECT now_ms FROM clock) WHERE id IN ({})",
        places.join(", ")
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for id in ids.iter().chain(std::iter::repeat(last)).take(count) {
        query = query.bind(*id);
    }
    query.execute(db).await?;
    Ok(())
}

/// The newest event about a subject whose family begins so.
pub(crate) async fn newest_of(
    db: &mut AnyConnection,
    tenant: &str,
    beginning: &str,
    subject: &str,
) -> Outcome<Option<StoredEvent>> {
    let filter = EventFilter {
        family: Some(format!("{beginning}*")),
        subject: Some(subject.to_owned()),
        ..EventFilter::default()
    };
    Ok(list(db, tenant, &filter, 1).await?.pop())
}

/// Removes what is older than `before_ms` and on its way to nobody, so many at most; gives back how many.
pub(crate) async fn prune(db: &mut AnyConnection, before_ms: i64, limit: i64) -> sqlx::Result<u64> {
    let removed = sqlx::query(
        "DELETE FROM events WHERE id IN (
             SELECT id FROM events AS old
             WHERE happened_at_ms < $1 AND routed_at_ms IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = old.id AND status = 'waiting')
             ORDER BY happened_at_ms LIMIT $2)",
    )
    .bind(before_ms)
    .bind(limit)
    .execute(db)
    .await?;
    Ok(removed.rows_affected())
}
