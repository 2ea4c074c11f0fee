use sqlx::{AnyConnection, FromRow};

use super::chain::{BEGINNING, Seal, SealKind};
use super::records::{Entry, EntryFilter};
use crate::store::Outcome;

/// So many rows a statement: 13 values each stay below what SQLite binds.
const ROWS_MAX: usize = 256;

/// Where a chain ends.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Head {
    pub(super) number: i64,
    pub(super) hash: String,
    pub(super) at_ms: i64,
}

/// Takes the next numbers, and keeps others from it until the transaction ends. None where the record
/// of this id stands already. Times never go back along a chain.
pub(super) async fn advance(
    db: &mut AnyConnection,
    tenant: &str,
    id: &str,
    by: i64,
) -> sqlx::Result<Option<Head>> {
    sqlx::query_as(
        "INSERT INTO audit_heads (tenant, number, hash, at_ms)
         SELECT $1, $2, $3, now_ms FROM clock WHERE true
         ON CONFLICT (tenant) DO UPDATE SET number = audit_heads.number + $2,
             at_ms = CASE WHEN excluded.at_ms > audit_heads.at_ms THEN excluded.at_ms ELSE audit_heads.at_ms END
         WHERE NOT EXISTS (SELECT 1 FROM audit WHERE tenant = $1 AND id = $4)
         RETURNING number, hash, at_ms",
    )
    .bind(tenant)
    .bind(by)
    .bind(BEGINNING)
    .bind(id)
    .fetch_optional(db)
    .await
}

/// `($1, $2), ($3, $4)` for two rows of two values.
fn places(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> = (1..=columns)
            .map(|at| format!("${}", row * columns + at))
            .collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    rows.join(", ")
}

pub(super) async fn insert(db: &mut AnyConnection, entries: &[Entry]) -> sqlx::Result<()> {
    for page in pages(entries) {
        insert_page(db, page).await?;
    }
    let named: Vec<Named<'_>> = entries
        .iter()
        .filter_map(|entry| Some((entry, entry.personal.as_deref()?, entry.salt.as_deref()?)))
        .collect();
    for page in pages(&named) {
        insert_personal(db, page).await?;
    }
    Ok(())
}

/// Always powers of two: each number of rows is a statement of its own, which the database keeps.
fn pages<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let rows = (1_usize << rest.len().checked_ilog2()?).min(ROWS_MAX);
        let (page, more) = rest.split_at(rows);
        rest = more;
        Some(page)
    })
}

/// A record, what of it names people, and the salt of that.
type Named<'a> = (&'a Entry, &'a str, &'a str);

async fn insert_page(db: &mut AnyConnection, entries: &[Entry]) -> sqlx::Result<()> {
    const COLUMNS: usize = 13;
    let sql = format!(
        "INSERT INTO audit (tenant, number, id, at_ms, principal, action, subject, outcome, correlation_id, details,
                            personal_hash, previous, hash)
         VALUES {}",
        places(entries.len(), COLUMNS)
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for entry in entries {
        query = query
            .bind(&entry.tenant)
            .bind(entry.number)
            .bind(&entry.id)
            .bind(entry.at_ms)
            .bind(&entry.principal)
            .bind(&entry.action)
            .bind(&entry.subject)
            .bind(&entry.outcome)
            .bind(&entry.correlation_id)
            .bind(&entry.details)
            .bind(&entry.personal_hash)
            .bind(&entry.previous)
            .bind(&entry.hash);
    }
    query.execute(db).await?;
    Ok(())
}

async fn insert_personal(db: &mut AnyConnection, named: &[Named<'_>]) -> sqlx::Result<()> {
    const COLUMNS: usize = 4;
    let sql = format!(
        "INSERT INTO audit_personal (tenant, number, personal, salt) VALUES {}",
        places(named.len(), COLUMNS)
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for (entry, personal, salt) in named {
        query = query
            .bind(&entry.tenant)
            .bind(entry.number)
            .bind(personal)
            .bind(salt);
    }
    query.execute(db).await?;
    Ok(())
}

pub(super) const ENTRIES: &str =
    "SELECT a.tenant, a.number, a.id, a.at_ms, a.principal, a.action, a.subject, a.outcome,
         a.correlation_id, a.details, a.personal_hash, a.previous, a.hash, p.personal, p.salt
     FROM audit AS a LEFT JOIN audit_personal AS p ON p.tenant = a.tenant AND p.number = a.number
     WHERE a.tenant = $1";

pub(super) async fn is_noted(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<bool> {
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM audit WHERE tenant = $1 AND id = $2")
        .bind(tenant)
        .bind(id)
        .fetch_one(db)
        .await?;
    Ok(found > 0)
}

/// The newest first.
pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    filter: &EntryFilter,
) -> sqlx::Result<Vec<Entry>> {
    let query = format!(
        "{ENTRIES} AND a.at_ms >= $2 AND ($4 = '' OR a.action = $4)
         AND ($3 = '' OR a.principal IN ($3, 'token:' || $3) OR p.personal LIKE $8 ESCAPE '\\')
         AND ($5 = '' OR a.subject = $5) AND a.number < $6 ORDER BY a.number DESC LIMIT $7"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(filter.since_ms.unwrap_or(0))
        .bind(filter.principal.as_deref().unwrap_or_default())
        .bind(filter.action.as_deref().unwrap_or_default())
        .bind(filter.subject.as_deref().unwrap_or_default())
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(i64::from(filter.limit))
        .bind(names(filter.principal.as_deref().unwrap_or_default()))
        .fetch_all(db)
        .await
}

/// What a record's personal part is like where it names this principal: records themselves hold no names.
fn names(principal: &str) -> String {
    let mut pattern = String::from("%\"principal\":\"");
    for letter in principal.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push_str("\"%");
    pattern
}

pub(super) async fn head(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Option<Head>> {
    sqlx::query_as("SELECT number, hash, at_ms FROM audit_heads WHERE tenant = $1")
        .bind(tenant)
        .fetch_optional(db)
        .await
}

#[derive(FromRow)]
struct SealRow {
    tenant: String,
    kind: String,
    number: i64,
    hash: String,
    at_ms: i64,
    public_key: String,
    signature: String,
}

impl From<SealRow> for Seal {
    fn from(row: SealRow) -> Self {
        Self {
            tenant: row.tenant,
            // What is written by hand fails at its signature.
            kind: if row.kind == SealKind::Anchor.as_str() {
                SealKind::Anchor
            } else {
                SealKind::Head
            },
            number: row.number,
            hash: row.hash,
            at_ms: row.at_ms,
            public_key: row.public_key,
            signature: row.signature,
        }
    }
}

const SEALS: &str = "SELECT tenant, kind, number, hash, at_ms, public_key, signature FROM audit_seals
     WHERE tenant = $1 AND kind = $2";

pub(super) async fn newest_seal(
    db: &mut AnyConnection,
    tenant: &str,
    kind: SealKind,
) -> sqlx::Result<Option<Seal>> {
    let query = format!("{SEALS} ORDER BY number DESC LIMIT 1");
    let row: Option<SealRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(kind.as_str())
        .fetch_optional(db)
        .await?;
    Ok(row.map(Seal::from))
}

/// Signed heads after a number up to another.
pub(super) async fn seals(
    db: &mut AnyConnection,
    tenant: &str,
    (after, through): (i64, i64),
) -> sqlx::Result<Vec<Seal>> {
    let query = format!("{SEALS} AND number > $3 AND number <= $4 ORDER BY number");
    let rows: Vec<SealRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(SealKind::Head.as_str())
        .bind(after)
        .bind(through)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(Seal::from).collect())
}

pub(super) async fn insert_seal(db: &mut AnyConnection, seal: &Seal) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO audit_seals (tenant, kind, number, hash, at_ms, public_key, signature)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, kind, number) DO NOTHING",
    )
    .bind(&seal.tenant)
    .bind(seal.kind.as_str())
    .bind(seal.number)
    .bind(&seal.hash)
    .bind(seal.at_ms)
    .bind(&seal.public_key)
    .bind(&seal.signature)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn now_ms(db: &mut AnyConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT now_ms FROM clock").fetch_one(db).await
}

/// The newest signed head before which everything is older than a moment.
pub(super) async fn sealed_before(
    db: &mut AnyConnection,
    tenant: &str,
    before_ms: i64,
) -> sqlx::Result<Option<(i64, String)>> {
    sqlx::query_as(
        "SELECT s.number, s.hash FROM audit_seals AS s
         JOIN audit AS a ON a.tenant = s.tenant AND a.number = s.number
         WHERE s.tenant = $1 AND s.kind = 'head' AND a.at_ms <= $2 ORDER BY s.number DESC LIMIT 1",
    )
    .bind(tenant)
    .bind(before_ms)
    .fetch_optional(db)
    .await
}

/// Removes records, and the seals that nothing needs any more. PostgreSQL lets nobody but its own
/// function do it.
pub(super) async fn remove(
    db: &mut AnyConnection,
    tenant: &str,
    through: i64,
    by_function: bool,
) -> Outcome<i64> {
    let gone = if by_function {
        sqlx::query_scalar("SELECT audit_prune($1, $2)")
            .bind(tenant)
            .bind(through)
            .fetch_one(&mut *db)
            .await?
    } else {
        let gone = sqlx::query("DELETE FROM audit WHERE tenant = $1 AND number <= $2")
            .bind(tenant)
            .bind(through)
            .execute(&mut *db)
            .await?;
        i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX)
    };
    sqlx::query("DELETE FROM audit_seals WHERE tenant = $1 AND number < $2")
        .bind(tenant)
        .bind(through)
        .execute(db)
        .await?;
    Ok(gone)
}

/// Removes what names people from the records of a principal or about a subject.
pub(super) async fn erase(
    db: &mut AnyConnection,
    tenant: &str,
    column: &'static str,
    value: &str,
) -> sqlx::Result<i64> {
    let query = format!(
        "DELETE FROM audit_personal WHERE tenant = $1
           AND number IN (SELECT number FROM audit WHERE tenant = $1 AND {column} = $2)"
    );
    let gone = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(value)
        .execute(db)
        .await?;
    Ok(i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX))
}

pub(super) async fn subjects(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT DISTINCT subject FROM audit
         WHERE tenant = $1 AND (subject LIKE 'connection:%' OR subject LIKE 'stream:%' OR subject LIKE 'secret:%')",
    )
    .bind(tenant)
    .fetch_all(db)
    .await
}
