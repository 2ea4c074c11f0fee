//! What may be told of messages without showing them: when they came, and whether they are in the lake.

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use weir_protocol::Result;

use super::sql;
use crate::Store;
use crate::store::Scope;

/// What came in for one connection.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Inflow {
    pub connection: String,
    /// Of the newest message that is kept.
    pub last_received_at_ms: Option<i64>,
}

/// One message, without its body: nothing in that is masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Note {
    /// Grows with every message of the connection.
    pub place: i64,
    /// The sender's own, or a digest of the message.
    pub id: String,
    /// What it tells, in the sender's words.
    pub kind: Option<String>,
    pub received_at_ms: i64,
    /// Whether it is in the lake.
    pub has_landed: bool,
}

/// Every connection of a tenant that something was ever received for.
pub async fn inflows(store: &Store, tenant: &str) -> Result<Vec<Inflow>> {
    store
        .read(Scope::Tenant(tenant), "look what came in", |db, _| {
            Box::pin(async move { Ok(sql::inflows(db, tenant).await?) })
        })
        .await
}

/// A connection's messages that are kept, newest first: those before a place, at most `limit`.
pub async fn notes(
    store: &Store,
    tenant: &str,
    connection: &str,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Note>> {
    let (of, before) = ((tenant, connection), before.unwrap_or(i64::MAX));
    store
        .read(Scope::Tenant(tenant), "list messages", |db, _| {
            Box::pin(async move { Ok(sql::notes(db, of, before, limit).await?) })
        })
        .await
}
