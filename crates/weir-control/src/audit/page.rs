//! Many records at once, for whoever reads them all: the database gives them as one text. A row of fifteen values
//! costs more to take over, value by value, than to hash.

use std::str::{FromStr, Split};

use sqlx::AnyConnection;

use super::records::Entry;
use super::sql::ENTRIES;

/// Canonical JSON has neither, and names do not either. Where a record does, the page is read row by row.
const BETWEEN_FIELDS: char = '\u{1f}';
const BETWEEN_RECORDS: char = '\u{1e}';
/// Stands before a value that might be none.
const SOME: char = '=';

/// The records after a number up to another, in order, so many at most.
pub(super) async fn page(
    db: &mut AnyConnection,
    tenant: &str,
    (after, through): (i64, i64),
    limit: i64,
) -> sqlx::Result<Vec<Entry>> {
    let rows = format!("{ENTRIES} AND a.number > $2 AND a.number <= $3 ORDER BY a.number LIMIT $4");
    let packed = format!(
        "SELECT count(*), string_agg(coalesce(
             CAST(number AS TEXT) || $5 || tenant || $5 || id || $5 || CAST(at_ms AS TEXT) || $5 || principal || $5
             || action || $5 || subject || $5 || outcome || $5 || coalesce($7 || correlation_id, '') || $5
             || details || $5 || coalesce($7 || personal_hash, '') || $5 || previous || $5 || hash || $5
             || coalesce($7 || personal, '') || $5 || coalesce($7 || salt, ''), ''), $6 ORDER BY number)
         FROM ({rows}) AS page"
    );
    let (count, text): (i64, Option<String>) = sqlx::query_as(sqlx::AssertSqlSafe(packed))
        .bind(tenant)
        .bind(after)
        .bind(through)
        .bind(limit)
        .bind(BETWEEN_FIELDS.to_string())
        .bind(BETWEEN_RECORDS.to_string())
        .bind(SOME.to_string())
        .fetch_one(&mut *db)
        .await?;
    if let Some(entries) = unpacked(text.as_deref().unwrap_or_default(), count) {
        return Ok(entries);
    }
    sqlx::query_as(sqlx::AssertSqlSafe(rows))
        .bind(tenant)
        .bind(after)
        .bind(through)
        .bind(limit)
        .fetch_all(db)
        .await
}

/// None where it is not exactly so many records of so many fields: else no separator stands within a field. A record
/// with a value that is none and must not be is an empty text.
fn unpacked(text: &str, count: i64) -> Option<Vec<Entry>> {
    let count = usize::try_from(count).ok()?;
    if count == 0 {
        return Some(Vec::new());
    }
    let mut entries = Vec::with_capacity(count);
    for record in text.split(BETWEEN_RECORDS) {
        entries.push(entry(record)?);
    }
    (entries.len() == count).then_some(entries)
}

struct Fields<'a>(Split<'a, char>);

impl Fields<'_> {
    fn text(&mut self) -> Option<String> {
        self.0.next().map(ToOwned::to_owned)
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn optional(&mut self) -> Option<Option<String>> {
        let field = self.0.next()?;
        match field.strip_prefix(SOME) {
            None if field.is_empty() => Some(None),
            None => None,
            Some(value) => Some(Some(value.to_owned())),
        }
    }
}

fn entry(record: &str) -> Option<Entry> {
    let mut fields = Fields(record.split(BETWEEN_FIELDS));
    let entry = Entry {
        number: fields.number()?,
        tenant: fields.text()?,
        id: fields.text()?,
        at_ms: fields.number()?,
        principal: fields.text()?,
        action: fields.text()?,
        subject: fields.text()?,
        outcome: fields.text()?,
        correlation_id: fields.optional()?,
        details: fields.text()?,
        personal_hash: fields.optional()?,
        previous: fields.text()?,
        hash: fields.text()?,
        personal: fields.optional()?,
        salt: fields.optional()?,
    };
    fields.0.next().is_none().then_some(entry)
}
