use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use weir_protocol::Error;

use super::{ApprovalFilter, Decided, Status, Verdict, Vote};
use crate::store::int;

fn parsed<T: DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn word<T: std::str::FromStr<Err = Error>>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    let text: &str = row.try_get(column)?;
    text.parse()
        .map_err(|error: Error| sqlx::Error::Decode(Box::new(error)))
}

fn json(value: &impl Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// An approval without its call and votes.
pub(super) struct Stored {
    pub(super) call: String,
    pub(super) status: Status,
    pub(super) needed: u32,
    pub(super) deciders: Vec<Vec<String>>,
    pub(super) rules: Vec<String>,
    pub(super) allows_break_glass: bool,
    pub(super) request: weir_protocol::action::Shown,
    pub(super) expires_at_ms: i64,
    pub(super) is_expired: bool,
    pub(super) created_at_ms: i64,
    pub(super) decided_at_ms: Option<i64>,
    pub(super) glass_broken_by: Option<String>,
    pub(super) reviewed_by: Option<String>,
    pub(super) review: Option<String>,
}

impl FromRow<'_, AnyRow> for Stored {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let expires_at_ms: i64 = row.try_get("expires_at_ms")?;
        Ok(Self {
            call: row.try_get("call")?,
            status: word(row, "status")?,
            needed: u32::try_from(row.try_get::<i64, _>("needed")?).unwrap_or(u32::MAX),
            deciders: parsed(row, "deciders")?,
            rules: parsed(row, "rules")?,
            allows_break_glass: row.try_get::<i64, _>("allows_break_glass")? == 1,
            request: parsed(row, "request")?,
            expires_at_ms,
            is_expired: expires_at_ms <= row.try_get("now_ms")?,
            created_at_ms: row.try_get("created_at_ms")?,
            decided_at_ms: row.try_get("decided_at_ms")?,
            glass_broken_by: row.try_get("glass_broken_by")?,
            reviewed_by: row.try_get("reviewed_by")?,
            review: row.try_get("review")?,
        })
    }
}

impl FromRow<'_, AnyRow> for Vote {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            principal: row.try_get("principal")?,
            verdict: word(row, "verdict")?,
            reason: row.try_get("reason")?,
            at_ms: row.try_get("at_ms")?,
        })
    }
}

const APPROVALS: &str =
    "SELECT call, status, needed, deciders, rules, allows_break_glass, request, expires_at_ms, now_ms,
     created_at_ms, decided_at_ms, glass_broken_by, reviewed_by, review FROM approvals, clock";

pub(super) async fn insert(
    db: &mut AnyConnection,
    (tenant, call): (&str, &str),
    decided: &Decided,
    request: &weir_protocol::action::Shown,
) -> sqlx::Result<()> {
    let expires_ms = i64::try_from(decided.expires.as_millis()).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO approvals (call, tenant, status, needed, deciders, rules, allows_break_glass, request,
             expires_at_ms, created_at_ms)
         SELECT $1, $2, 'pending', $3, $4, $5, $6, $7, now_ms + $8, now_ms FROM clock WHERE true
         ON CONFLICT (call) DO NOTHING",
    )
    .bind(call)
    .bind(tenant)
    .bind(i64::from(decided.needed))
    .bind(json(&decided.deciders)?)
    .bind(json(&decided.rules)?)
    .bind(i64::from(decided.allows_break_glass))
    .bind(json(request)?)
    .bind(expires_ms)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn get(db: &mut AnyConnection, tenant: &str, call: &str) -> sqlx::Result<Option<Stored>> {
    let query = format!("{APPROVALS} WHERE tenant = $1 AND call = $2");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(call)
        .fetch_optional(db)
        .await
}

/// Newest first.
pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    filter: &ApprovalFilter,
) -> sqlx::Result<Vec<Stored>> {
    let query = format!(
        "{APPROVALS} WHERE tenant = $1 AND ($2 IS NULL OR status = $2) AND ($3 IS NULL OR call < $3)
           AND ($4 = 0 OR (glass_broken_by IS NOT NULL AND reviewed_by IS NULL))
           AND ($5 IS NULL OR call IN (SELECT id FROM calls WHERE tenant = $1 AND principal = $5))
         ORDER BY call DESC LIMIT $6"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(filter.status.map(Status::as_str))
        .bind(&filter.before)
        .bind(i64::from(filter.to_review))
        .bind(&filter.principal)
        .bind(i64::from(filter.limit))
        .fetch_all(db)
        .await
}

/// In the order in which they were given.
pub(super) async fn votes(db: &mut AnyConnection, call: &str) -> sqlx::Result<Vec<Vote>> {
    sqlx::query_as("SELECT principal, verdict, reason, at_ms FROM approval_votes WHERE call = $1 ORDER BY at_ms, principal")
        .bind(call)
        .fetch_all(db)
        .await
}

/// One vote a person: a second one changes nothing.
pub(super) async fn vote(
    db: &mut AnyConnection,
    (tenant, call): (&str, &str),
    principal: &str,
    (verdict, reason): (Verdict, Option<&str>),
    digest: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO approval_votes (call, tenant, principal, verdict, digest, reason, at_ms)
         SELECT $1, $2, $3, $4, $5, $6, now_ms FROM clock WHERE true
         ON CONFLICT (call, principal) DO NOTHING",
    )
    .bind(call)
    .bind(tenant)
    .bind(principal)
    .bind(verdict.as_str())
    .bind(digest)
    .bind(reason)
    .execute(db)
    .await
    .map(drop)
}

/// False where it is no longer as `from` says.
pub(super) async fn set(
    db: &mut AnyConnection,
    call: &str,
    (from, to): (Status, Status),
    glass_broken_by: Option<&str>,
) -> sqlx::Result<bool> {
    let set = sqlx::query(
        "UPDATE approvals SET status = $3, glass_broken_by = coalesce($4, glass_broken_by),
             decided_at_ms = coalesce(decided_at_ms, (SELECT now_ms FROM clock))
         WHERE call = $1 AND status = $2
           AND ($3 <> 'used' OR expires_at_ms > (SELECT now_ms FROM clock))",
    )
    .bind(call)
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(glass_broken_by)
    .execute(db)
    .await?;
    Ok(set.rows_affected() == 1)
}

pub(super) async fn expired(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT call FROM approvals WHERE tenant = $1 AND status IN ('pending', 'approved')
           AND expires_at_ms <= (SELECT now_ms FROM clock) ORDER BY call LIMIT $2",
    )
    .bind(tenant)
    .bind(int(200))
    .fetch_all(db)
    .await
}

pub(super) async fn review(
    db: &mut AnyConnection,
    (tenant, call): (&str, &str),
    by: &str,
    text: &str,
) -> sqlx::Result<bool> {
    let reviewed = sqlx::query(
        "UPDATE approvals SET reviewed_by = $3, review = $4, reviewed_at_ms = (SELECT now_ms FROM clock)
         WHERE tenant = $1 AND call = $2 AND glass_broken_by IS NOT NULL AND reviewed_by IS NULL",
    )
    .bind(tenant)
    .bind(call)
    .bind(by)
    .bind(text)
    .execute(db)
    .await?;
    Ok(reviewed.rows_affected() == 1)
}
