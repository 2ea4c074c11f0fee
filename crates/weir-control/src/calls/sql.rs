use serde_json::{Map, Value};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use weir_protocol::Error;

use super::{Call, CallFilter, Held, Outcome, Status};
use crate::Owner;

fn decode<T, E: std::error::Error + Send + Sync + 'static>(value: Result<T, E>) -> sqlx::Result<T> {
    value.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn parsed<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<Option<T>> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| decode(serde_json::from_str(text))).transpose()
}

fn json(value: &impl serde::Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

impl FromRow<'_, AnyRow> for Call {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let status: Result<Status, Error> = row.try_get::<&str, _>("status")?.parse();
        let http: Option<i64> = row.try_get("http_status")?;
        Ok(Self {
            id: row.try_get("id")?,
            tenant: row.try_get("tenant")?,
            connection: row.try_get("connection")?,
            connector: row.try_get("connector")?,
            version: row.try_get("connector_version")?,
            action: row.try_get("action")?,
            effect: decode(serde_json::from_value(Value::from(
                row.try_get::<&str, _>("effect")?,
            )))?,
            principal: row.try_get("principal")?,
            token: row.try_get("token")?,
            idempotency_key: row.try_get("idempotency_key")?,
            correlation_id: row.try_get("correlation_id")?,
            asked_digest: row.try_get("asked_digest")?,
            input: parsed(row, "input")?.unwrap_or_default(),
            digest: row.try_get("digest")?,
            fingerprint: row.try_get("fingerprint")?,
            status: decode(status)?,
            term: row.try_get("term")?,
            created_at_ms: row.try_get("created_at_ms")?,
            began_at_ms: row.try_get("began_at_ms")?,
            finished_at_ms: row.try_get("finished_at_ms")?,
            output: parsed(row, "output")?,
            remote_id: row.try_get("remote_id")?,
            http_status: http.and_then(|status| u16::try_from(status).ok()),
            error: parsed(row, "error")?,
            settled_by: row.try_get("settled_by")?,
            settled_reason: row.try_get("settled_reason")?,
            erased_at_ms: row.try_get("erased_at_ms")?,
        })
    }
}

/// What is left of a request that was shown: the path alone may name people.
const ERASED_REQUEST: &str = r#"{"method":"","url":"","headers":[],"body":null}"#;

macro_rules! columns {
    () => {
        "id, tenant, connection, connector, connector_version, action, effect, principal, token,
         idempotency_key, asked_digest, input, digest, fingerprint, status, term, created_at_ms, began_at_ms,
         finished_at_ms, output, remote_id, http_status, error, settled_by, settled_reason, erased_at_ms,
         correlation_id"
    };
}

const CALLS: &str = concat!("SELECT ", columns!(), " FROM calls");

/// The call as it is stored; none where its id or its key stands already. A call that begins at once has a lease from
/// its first moment on.
pub(super) async fn insert(
    db: &mut AnyConnection,
    new: &Call,
    owner: &Owner,
    lease_ms: i64,
) -> sqlx::Result<Option<Call>> {
    sqlx::query_as(concat!(
        "INSERT INTO calls (id, tenant, connection, connector, connector_version, action, effect, principal, token,
             idempotency_key, asked_digest, input, digest, status, term, owner, lease_until_ms, created_at_ms,
             began_at_ms, fingerprint, correlation_id)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
             CASE WHEN $14 = 'running' THEN $16 END, CASE WHEN $14 = 'running' THEN now_ms + $17 END, now_ms,
             CASE WHEN $14 = 'running' THEN now_ms END, $18, $19
         FROM clock WHERE true ON CONFLICT DO NOTHING RETURNING ",
        columns!()
    ))
    .bind(&new.id)
    .bind(&new.tenant)
    .bind(&new.connection)
    .bind(&new.connector)
    .bind(&new.version)
    .bind(&new.action)
    .bind(new.effect.as_str())
    .bind(&new.principal)
    .bind(&new.token)
    .bind(&new.idempotency_key)
    .bind(&new.asked_digest)
    .bind(json(&new.input)?)
    .bind(&new.digest)
    .bind(new.status.as_str())
    .bind(new.term)
    .bind(json(owner)?)
    .bind(lease_ms)
    .bind(&new.fingerprint)
    .bind(&new.correlation_id)
    .fetch_optional(db)
    .await
}

pub(crate) async fn get(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<Option<Call>> {
    let query = format!("{CALLS} WHERE tenant = $1 AND id = $2");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(id)
        .fetch_optional(db)
        .await
}

pub(super) async fn by_key(
    db: &mut AnyConnection,
    tenant: &str,
    principal: &str,
    key: &str,
) -> sqlx::Result<Option<Call>> {
    let query = format!("{CALLS} WHERE tenant = $1 AND principal = $2 AND idempotency_key = $3");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(principal)
        .bind(key)
        .fetch_optional(db)
        .await
}

/// The calls of one run of a bundle.
pub(crate) async fn of_run(db: &mut AnyConnection, tenant: &str, run: &str) -> sqlx::Result<Vec<Call>> {
    let query = format!("{CALLS} WHERE tenant = $1 AND correlation_id = $2 ORDER BY id");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(run)
        .fetch_all(db)
        .await
}

/// Whether an uncertain call is looked at again by itself.
pub(crate) async fn is_looked_at(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<bool> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM calls WHERE tenant = $1 AND id = $2 AND status = 'uncertain' AND look_at_ms IS NOT NULL",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Whether it is time to look at an uncertain call again.
pub(super) async fn is_due(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<bool> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM calls, clock
         WHERE tenant = $1 AND id = $2 AND status = 'uncertain' AND look_at_ms <= now_ms",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Newest first.
pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    filter: &CallFilter,
) -> sqlx::Result<Vec<Call>> {
    let query = format!(
        "{CALLS} WHERE tenant = $1 AND ($2 IS NULL OR principal = $2) AND ($3 IS NULL OR connection = $3)
           AND ($4 IS NULL OR status = $4) AND ($5 IS NULL OR id < $5)
         ORDER BY id DESC LIMIT $6"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(&filter.principal)
        .bind(&filter.connection)
        .bind(filter.status.map(Status::as_str))
        .bind(&filter.before)
        .bind(i64::from(filter.limit))
        .fetch_all(db)
        .await
}

/// Who has the call, if a process does.
pub(super) async fn held(db: &mut AnyConnection, id: &str) -> sqlx::Result<Option<Held>> {
    let row: Option<(Option<String>, i64)> = sqlx::query_as(
        "SELECT owner, CASE WHEN lease_until_ms < now_ms THEN 1 ELSE 0 END FROM calls, clock
         WHERE id = $1 AND status = 'running'",
    )
    .bind(id)
    .fetch_optional(db)
    .await?;
    let Some((Some(owner), expired)) = row else {
        return Ok(None);
    };
    Ok(Some(Held {
        owner: decode(serde_json::from_str(&owner))?,
        expired: expired == 1,
    }))
}

/// Takes the call, if it still is as it was seen. The new term.
pub(super) async fn take(
    db: &mut AnyConnection,
    call: &Call,
    owner: &Owner,
    lease_ms: i64,
) -> sqlx::Result<bool> {
    let taken = sqlx::query(
        "UPDATE calls SET status = 'running', term = term + 1, owner = $4,
             lease_until_ms = (SELECT now_ms FROM clock) + $5,
             began_at_ms = coalesce(began_at_ms, (SELECT now_ms FROM clock)), look_at_ms = NULL
         WHERE id = $1 AND term = $2 AND status = $3 AND settled_by IS NULL",
    )
    .bind(&call.id)
    .bind(call.term)
    .bind(call.status.as_str())
    .bind(json(owner)?)
    .bind(lease_ms)
    .execute(db)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Ends a call and gives it back, unless another process took it over or a person settled it. One that was given up as
/// uncertain still takes what its own process has to tell.
pub(super) async fn end(
    db: &mut AnyConnection,
    (id, term): (&str, i64),
    outcome: &Outcome,
    look_in_ms: Option<i64>,
) -> sqlx::Result<Option<Call>> {
    sqlx::query_as(concat!(
        "UPDATE calls SET status = $3, output = $4, remote_id = $5, http_status = $6, error = $7,
             owner = NULL, lease_until_ms = NULL, finished_at_ms = (SELECT now_ms FROM clock),
             look_at_ms = (SELECT now_ms FROM clock) + $8,
             idempotency_key = CASE WHEN $9 = 1 THEN NULL ELSE idempotency_key END
         WHERE id = $1 AND term = $2 AND status IN ('running', 'uncertain') AND settled_by IS NULL
         RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(term)
    .bind(outcome.status.as_str())
    .bind(outcome.output.as_ref().map(json).transpose()?)
    .bind(&outcome.remote_id)
    .bind(outcome.http_status.map(i64::from))
    .bind(outcome.error.as_ref().map(json).transpose()?)
    .bind(look_in_ms)
    .bind(i64::from(outcome.gives_key_back))
    .fetch_optional(db)
    .await
}

/// Lets an approved call go on, or ends one that waits. False where it no longer waits.
pub(crate) async fn leave_waiting(
    db: &mut AnyConnection,
    id: &str,
    status: Status,
    error: Option<&crate::runs::Failure>,
) -> sqlx::Result<bool> {
    let left = sqlx::query(
        "UPDATE calls SET status = $2, error = $3,
             finished_at_ms = CASE WHEN $2 = 'refused' THEN (SELECT now_ms FROM clock) END
         WHERE id = $1 AND status IN ('waiting', 'ready')",
    )
    .bind(id)
    .bind(status.as_str())
    .bind(error.map(json).transpose()?)
    .execute(db)
    .await?;
    Ok(left.rows_affected() == 1)
}

pub(super) async fn settle(
    db: &mut AnyConnection,
    (tenant, id): (&str, &str),
    status: Status,
    (by, reason): (&str, &str),
    remote_id: Option<&str>,
    error: Option<&crate::runs::Failure>,
) -> sqlx::Result<bool> {
    let settled = sqlx::query(
        "UPDATE calls SET status = $3, error = $7, settled_by = $4, settled_reason = $5, remote_id = coalesce($6, remote_id),
             look_at_ms = NULL, finished_at_ms = (SELECT now_ms FROM clock)
         WHERE tenant = $1 AND id = $2 AND status = 'uncertain'",
    )
    .bind(tenant)
    .bind(id)
    .bind(status.as_str())
    .bind(by)
    .bind(reason)
    .bind(remote_id)
    .bind(error.map(json).transpose()?)
    .execute(db)
    .await?;
    Ok(settled.rows_affected() == 1)
}

/// Calls that somebody has to go on with: approved ones, those a process may have left, uncertain ones
/// whose time to look has come.
pub(super) async fn due(
    db: &mut AnyConnection,
    tenant: &str,
    owner: &Owner,
    limit: i64,
) -> sqlx::Result<Vec<Call>> {
    // What this process itself has is under way, unless its time is over.
    let query = format!(
        "{CALLS} WHERE tenant = $1 AND (status = 'ready'
             OR (status = 'uncertain' AND look_at_ms <= (SELECT now_ms FROM clock))
             OR (status = 'running' AND (owner <> $2 OR lease_until_ms < (SELECT now_ms FROM clock))))
         ORDER BY CASE WHEN status = 'running' THEN 1 ELSE 0 END, id LIMIT $3"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(json(owner)?)
        .bind(limit)
        .fetch_all(db)
        .await
}

pub(super) async fn now_ms(db: &mut AnyConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT now_ms FROM clock").fetch_one(db).await
}

/// Inputs of the action's newest calls that were done.
pub(super) async fn past_inputs(
    db: &mut AnyConnection,
    new: &Call,
    limit: i64,
) -> sqlx::Result<Vec<Map<String, Value>>> {
    let texts: Vec<String> = sqlx::query_scalar(
        "SELECT input FROM calls WHERE tenant = $1 AND connection = $2 AND action = $3 AND status = 'done' AND erased_at_ms IS NULL
         ORDER BY id DESC LIMIT $4",
    )
    .bind(&new.tenant)
    .bind(&new.connection)
    .bind(&new.action)
    .bind(limit)
    .fetch_all(db)
    .await?;
    texts
        .iter()
        .map(|text| decode(serde_json::from_str(text)))
        .collect()
}

/// Tenants with calls that ended before and still have their inputs.
pub(super) async fn tenants_to_erase(db: &mut AnyConnection, before_ms: i64) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT DISTINCT tenant FROM calls
         WHERE erased_at_ms IS NULL AND finished_at_ms < $1 AND status IN ('done', 'failed', 'refused')
         ORDER BY tenant",
    )
    .bind(before_ms)
    .fetch_all(db)
    .await
}

/// Leaves of ended calls, some at once, what says that they were made, and nothing of what they said. Gives back
/// how many.
pub(super) async fn erase(
    db: &mut AnyConnection,
    tenant: &str,
    before_ms: i64,
    limit: i64,
) -> sqlx::Result<u64> {
    let ids: Vec<String> = sqlx::query_scalar(
        "UPDATE calls SET input = '{}', output = NULL, idempotency_key = NULL,
             erased_at_ms = (SELECT now_ms FROM clock)
         WHERE id IN (
             SELECT id FROM calls
             WHERE tenant = $1 AND erased_at_ms IS NULL AND finished_at_ms < $2
               AND status IN ('done', 'failed', 'refused')
               AND NOT EXISTS (SELECT 1 FROM bundle_runs WHERE bundle_runs.id = calls.correlation_id
                               AND bundle_runs.finished_at_ms IS NULL)
             ORDER BY id LIMIT $3)
         RETURNING id",
    )
    .bind(tenant)
    .bind(before_ms)
    .bind(limit)
    .fetch_all(&mut *db)
    .await?;
    for id in &ids {
        sqlx::query("UPDATE approvals SET request = $3 WHERE tenant = $1 AND call = $2")
            .bind(tenant)
            .bind(id)
            .bind(ERASED_REQUEST)
            .execute(&mut *db)
            .await?;
    }
    Ok(u64::try_from(ids.len()).unwrap_or(u64::MAX))
}

/// When the caller asked for the action, newest first.
pub(super) async fn past_times(db: &mut AnyConnection, new: &Call, limit: i64) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "SELECT created_at_ms FROM calls
         WHERE tenant = $1 AND connection = $2 AND action = $3 AND principal = $4 AND status <> 'refused'
         ORDER BY id DESC LIMIT $5",
    )
    .bind(&new.tenant)
    .bind(&new.connection)
    .bind(&new.action)
    .bind(&new.principal)
    .bind(limit)
    .fetch_all(db)
    .await
}
