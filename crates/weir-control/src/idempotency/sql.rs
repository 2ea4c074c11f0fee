use sqlx::AnyConnection;

use super::{Answer, Ticket};

pub(super) struct Found {
    pub(super) digest: String,
    pub(super) claim: String,
    pub(super) age_ms: i64,
    pub(super) answer: Option<Answer>,
}

pub(super) async fn forget_old(db: &mut AnyConnection, tenant: &str, kept_ms: i64) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM idempotency_keys
         WHERE tenant = $1 AND began_at_ms < (SELECT now_ms FROM clock) - $2",
    )
    .bind(tenant)
    .bind(kept_ms)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn insert(db: &mut AnyConnection, ticket: &Ticket, digest: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO idempotency_keys (tenant, principal, key, digest, claim, began_at_ms)
         SELECT $1, $2, $3, $4, $5, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, principal, key) DO NOTHING",
    )
    .bind(&ticket.tenant)
    .bind(&ticket.principal)
    .bind(&ticket.key)
    .bind(digest)
    .bind(&ticket.claim)
    .execute(db)
    .await
    .map(drop)
}

type Row = (String, String, i64, Option<i64>, Option<String>, Option<String>);

pub(super) async fn get(db: &mut AnyConnection, ticket: &Ticket) -> sqlx::Result<Option<Found>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT digest, claim, now_ms - began_at_ms, status, headers, body FROM idempotency_keys, clock
         WHERE tenant = $1 AND principal = $2 AND key = $3",
    )
    .bind(&ticket.tenant)
    .bind(&ticket.principal)
    .bind(&ticket.key)
    .fetch_optional(db)
    .await?;
    let Some((digest, claim, age_ms, status, headers, body)) = row else {
        return Ok(None);
    };
    let answer = status.map(|status| -> sqlx::Result<Answer> {
        let headers = headers.as_deref().unwrap_or("[]");
        Ok(Answer {
            status: u16::try_from(status).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            headers: serde_json::from_str(headers).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            body: body.unwrap_or_default(),
        })
    });
    Ok(Some(Found {
        digest,
        claim,
        age_ms,
        answer: answer.transpose()?,
    }))
}

pub(super) async fn finish(db: &mut AnyConnection, ticket: &Ticket, answer: &Answer) -> sqlx::Result<()> {
    let headers =
        serde_json::to_string(&answer.headers).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    sqlx::query(
        "UPDATE idempotency_keys SET status = $5, headers = $6, body = $7
         WHERE tenant = $1 AND principal = $2 AND key = $3 AND claim = $4",
    )
    .bind(&ticket.tenant)
    .bind(&ticket.principal)
    .bind(&ticket.key)
    .bind(&ticket.claim)
    .bind(i64::from(answer.status))
    .bind(headers)
    .bind(&answer.body)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn remove(db: &mut AnyConnection, ticket: &Ticket) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM idempotency_keys WHERE tenant = $1 AND principal = $2 AND key = $3 AND claim = $4",
    )
    .bind(&ticket.tenant)
    .bind(&ticket.principal)
    .bind(&ticket.key)
    .bind(&ticket.claim)
    .execute(db)
    .await
    .map(drop)
}
