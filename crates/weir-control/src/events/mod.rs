//! What is notable, as CloudEvents: written in the transaction of the change that it tells of, kept
//! for a while, and carried to webhooks and channels from there. What was never committed is never
//! told; what was is told at least once.

mod destination;
mod envelope;
mod families;
mod gate;
mod sql;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::{Error, Result};

use crate::Store;
use crate::store::{Outcome, Scope};

pub use destination::{Disk, tell_disk};
pub use envelope::{CONTENT_TYPE, Envelope};
pub use families::Family;
pub use gate::{Gate, tell_gate};
pub(crate) use sql::{mark_routed, newest_of, prune, to_route};

/// At most so many events are listed at once.
const LIST_MAX: u32 = 500;

/// One thing that happened, as it is to be told. Make it outside of a transaction that may be tried
/// again, or where what it tells of is found only once: its id tells that it was told already.
#[derive(Debug, Clone)]
pub struct Event {
    id: String,
    tenant: String,
    family: Family,
    subject: String,
    correlation_id: Option<String>,
    occasion: Option<String>,
    data: Map<String, Value>,
}

impl Event {
    /// `subject` as in `connection:github`.
    pub fn new(tenant: &str, family: Family, subject: impl Into<String>) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            tenant: tenant.to_owned(),
            family,
            subject: subject.into(),
            correlation_id: None,
            occasion: None,
            data: Map::new(),
        }
    }

    /// About one connection, which its data names too.
    pub fn of_connection(tenant: &str, family: Family, connection: &str) -> Self {
        Self::new(tenant, family, format!("connection:{connection}")).with("connection", connection)
    }

    /// The run or request that it belongs to.
    #[must_use]
    pub fn of(mut self, correlation_id: &str) -> Self {
        self.correlation_id = Some(correlation_id.to_owned());
        self
    }

    /// Told once for each name of an occasion, whoever finds it.
    #[must_use]
    pub fn once(mut self, occasion: &str) -> Self {
        self.occasion = Some(format!("{}/{occasion}", self.family));
        self
    }

    /// One value of its data, as the family's schema has it. Never a secret.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.to_owned(), value.into());
        self
    }

    pub fn id(&self) -> &str {
        &self.id
    }
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredEvent {
    pub id: String,
    pub tenant: String,
    pub family: String,
    pub version: u32,
    pub subject: String,
    pub happened_at_ms: i64,
    pub correlation_id: Option<String>,
    pub data: Map<String, Value>,
}

impl StoredEvent {
    /// The connection that it is about, if it is about one.
    pub fn connection(&self) -> Option<&str> {
        connection_of(&self.subject, &self.data)
    }
}

/// The connection that an event with this subject and data is about.
pub fn connection_of<'a>(subject: &'a str, data: &'a Map<String, Value>) -> Option<&'a str> {
    // What an alert is about stands in its facts.
    let told = data
        .get("connection")
        .or_else(|| data.get("facts")?.get("connection"));
    told.and_then(Value::as_str)
        .or_else(|| subject.strip_prefix("connection:"))
}

/// Which events to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// A family, or the beginning of some: `run.*`.
    pub family: Option<String>,
    pub subject: Option<String>,
    /// Only events older than this one.
    pub before: Option<String>,
    pub limit: u32,
}

/// Adds an event, inside the transaction of what it tells of. False where it was told already.
pub(crate) async fn append_in(db: &mut AnyConnection, event: &Event) -> Outcome<bool> {
    Ok(sql::insert(db, event).await?)
}

/// Tells what changes nothing in the store itself. False where it was told already.
pub async fn append(store: &Store, event: &Event) -> Result<bool> {
    store
        .statement(Scope::Tenant(&event.tenant), "store the event", |db, _| {
            Box::pin(append_in(db, event))
        })
        .await
}

/// The newest first.
pub async fn list(store: &Store, tenant: &str, filter: &EventFilter) -> Result<Vec<StoredEvent>> {
    store
        .read(Scope::Tenant(tenant), "list events", |db, _| {
            Box::pin(async move { sql::list(db, tenant, filter, filter.limit.min(LIST_MAX)).await })
        })
        .await
}

pub async fn get(store: &Store, tenant: &str, id: &str) -> Result<StoredEvent> {
    let found = store
        .read(Scope::Tenant(tenant), "read the event", |db, _| {
            Box::pin(async move { sql::get(db, tenant, id).await })
        })
        .await?;
    found.ok_or_else(|| no_such_event(id))
}

pub(crate) fn no_such_event(id: &str) -> Error {
    Error::not_found(format!("there is no event '{id}'")).hint("check its id; what is old enough is not kept")
}
