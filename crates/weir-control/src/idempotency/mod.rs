//! Requests that carry a key: the same one sent again changes nothing more and gets the same answer.

mod sql;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use weir_protocol::{Error, ErrorKind, Result};

use crate::Store;
use crate::principals::Access;
use crate::store::Scope;

/// How long an answer is kept.
const KEPT_MS: i64 = 24 * 3_600_000;
/// A request that has had its key for longer has died, and nobody knows what it did.
const UNDER_WAY_MS: i64 = 120_000;
const KEY_LENGTH_MAX: usize = 255;

/// An answer as it is given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// What a request may do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Go on, and say at the end what came of it.
    First(Ticket),
    /// It was done before.
    Replay(Answer),
}

/// The right of one request to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    tenant: String,
    principal: String,
    key: String,
    claim: String,
}

/// What makes two requests the same.
pub fn digest(method: &str, path: &str, body: &[u8]) -> String {
    let mut hasher = Sha256::new();
    for part in [method.as_bytes(), path.as_bytes(), body] {
        // With their lengths, so that no two requests read alike.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    format!("{:x}", hasher.finalize())
}

/// Takes the key for a request, or says what came of the one that had it.
pub async fn begin(store: &Store, access: &Access, key: &str, digest: &str) -> Result<Begun> {
    check_key(key)?;
    let ticket = &Ticket {
        tenant: access.tenant.clone(),
        principal: access.principal.clone(),
        key: key.to_owned(),
        claim: Uuid::now_v7().to_string(),
    };
    let found = store
        .write(
            Scope::Tenant(&access.tenant),
            "take the idempotency key",
            |db, _| {
                Box::pin(async move {
                    sql::forget_old(db, &ticket.tenant, KEPT_MS).await?;
                    sql::insert(db, ticket, digest).await?;
                    Ok(sql::get(db, ticket).await?)
                })
            },
        )
        .await?;
    let found = found.ok_or_else(|| under_way(key))?;
    if found.claim == ticket.claim {
        return Ok(Begun::First(ticket.clone()));
    }
    if found.digest != digest {
        return Err(Error::spec("the idempotency key was used for another request")
            .with("key", key)
            .hint("use a new key for every new request"));
    }
    match found.answer {
        Some(answer) => Ok(Begun::Replay(answer)),
        None if found.age_ms < UNDER_WAY_MS => Err(under_way(key)),
        None => Err(Error::new(
            ErrorKind::Conflict,
            "the request that had this idempotency key broke off, and what it did is not known",
        )
        .with("key", key)
        .hint("look whether it was done (GET the list), then send it with a new key if it was not")),
    }
}

fn under_way(key: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "a request with this idempotency key is under way",
    )
    .with("key", key)
    .hint("send it again in a moment to get its answer")
}

fn check_key(key: &str) -> Result<()> {
    if (1..=KEY_LENGTH_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::usage("the idempotency key is not usable").hint(format!(
        "use 1 to {KEY_LENGTH_MAX} letters, digits and signs without spaces, such as a UUID"
    )))
}

/// Keeps the answer for whoever asks again.
pub async fn finish(store: &Store, ticket: &Ticket, answer: &Answer) -> Result<()> {
    store
        .statement(Scope::Tenant(&ticket.tenant), "keep the answer", |db, _| {
            Box::pin(async move { Ok(sql::finish(db, ticket, answer).await?) })
        })
        .await
}

/// Gives the key back: the request was refused before it did anything.
pub async fn release(store: &Store, ticket: &Ticket) -> Result<()> {
    store
        .statement(Scope::Tenant(&ticket.tenant), "give the key back", |db, _| {
            Box::pin(async move { Ok(sql::remove(db, ticket).await?) })
        })
        .await
}
