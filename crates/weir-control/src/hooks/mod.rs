//! Messages that outside systems send by themselves. Whoever sent one hears that it was taken once it is
//! stored; from there it is told as an event, and lands in the lake by the next sync of its connection.

mod inbox;
mod post;
mod sql;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use weir_protocol::hook::{Arrived, Inbox, Received, Receiver, Taken};
use weir_protocol::{Error, ErrorKind, Result};

use crate::Store;
use crate::audit::{self, Record};
use crate::store::Scope;
pub use inbox::{Inflow, Note, inflows, notes};
use post::Post;

/// Messages are kept so long after they were received, and until they are in the lake: one that is sent
/// again within that time is known again.
pub const KEPT_DAYS: u32 = 30;
/// So long messages wait for a sync of their connection. Older ones go unread, and the audit trail says how many.
pub const UNREAD_DAYS: u32 = 90;
const DAY_MS: i64 = 24 * 3_600_000;
const READ_MAX: u32 = 1_000;

/// Whoever has the files of connections.
#[async_trait]
pub trait Receivers: Send + Sync {
    /// An error of the kind `not_found` where there is no such connection, or it receives nothing.
    async fn receiver(&self, tenant: &str, connection: &str) -> Result<Arc<dyn Receiver>>;
}

/// Takes in what is sent to a server.
#[derive(Clone)]
pub struct Desk {
    receivers: Arc<dyn Receivers>,
    post: Post,
}

impl Desk {
    /// Needs a runtime: what comes in at one time is stored together.
    pub fn new(store: &Store, receivers: Arc<dyn Receivers>) -> Self {
        Self {
            receivers,
            post: Post::open(store.clone()),
        }
    }

    /// What the sender is answered, where it waits for an answer. Everything is stored by then, or nothing.
    ///
    /// # Errors
    ///
    /// `auth` where the signature is not right, `usage` where the message cannot be read, `unavailable` where
    /// it cannot be stored now: a sender that tries again loses nothing.
    pub async fn take(&self, tenant: &str, connection: &str, arrived: &Arrived) -> Result<Option<String>> {
        let receiver = self.receivers.receiver(tenant, connection).await;
        let receiver = receiver.map_err(|error| hidden(connection, &error))?;
        match receiver.take(arrived)? {
            Taken::Answer(answer) => Ok(Some(answer)),
            Taken::Messages(messages) => {
                self.post.store(tenant, connection, messages, arrived.at).await?;
                Ok(None)
            }
        }
    }
}

/// What somebody without a token may know of a connection that cannot receive.
fn hidden(connection: &str, error: &Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        return Error::not_found("nothing is received here")
            .hint("check the address: /hooks/ and the name of a connection whose connector declares `hook`");
    }
    tracing::error!(connection, %error, "messages cannot be received");
    Error::unavailable("messages cannot be received now").hint("send it again; the server's log says more")
}

/// What one connection was sent, out of the store.
#[derive(Debug, Clone)]
pub struct StoredInbox {
    store: Store,
    tenant: String,
    connection: String,
}

impl StoredInbox {
    pub fn new(store: &Store, tenant: &str, connection: &str) -> Self {
        Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            connection: connection.to_owned(),
        }
    }
}

#[async_trait]
impl Inbox for StoredInbox {
    async fn after(&self, place: i64, limit: u32) -> Result<Vec<Received>> {
        let of = (self.tenant.as_str(), self.connection.as_str());
        let limit = limit.min(READ_MAX) as usize;
        self.store
            .read(Scope::Tenant(&self.tenant), "read what was received", |db, _| {
                Box::pin(async move { Ok(sql::after(db, of, place, limit).await?) })
            })
            .await
    }

    async fn landed(&self, place: i64) -> Result<()> {
        let of = (self.tenant.as_str(), self.connection.as_str());
        self.store
            .statement(Scope::Tenant(&self.tenant), "note what landed", |db, _| {
                Box::pin(async move { Ok(sql::landed(db, of, place).await?) })
            })
            .await
    }
}

/// Removes messages that waited longer than [`UNREAD_DAYS`] for a sync, at most `limit` of each connection, each
/// time with a record of how many; gives back how many.
pub(crate) async fn give_up(store: &Store, limit: i64) -> Result<u64> {
    let before_ms = store.now_ms().await? - i64::from(UNREAD_DAYS) * DAY_MS;
    let waiting = store
        .read(Scope::Everyone, "look for messages that nobody reads", |db, _| {
            Box::pin(async move { Ok(sql::unread(db, before_ms).await?) })
        })
        .await?;
    let (acting, mut all) = (store.acting(), 0);
    for (tenant, connection) in &waiting {
        let of = (tenant.as_str(), connection.as_str());
        let removed = store
            .write(
                Scope::Tenant(tenant),
                "give up messages that nobody reads",
                |db, _| {
                    Box::pin(async move {
                        let removed = sql::give_up(db, of, before_ms, limit).await?;
                        if removed > 0 {
                            let subject = format!("connection:{connection}");
                            let record = Record::new(tenant, "hook.give_up", subject)
                                .with("messages", removed)
                                .with("older_than_days", UNREAD_DAYS);
                            audit::append_in(db, acting, &record).await?;
                        }
                        Ok(removed)
                    })
                },
            )
            .await?;
        tracing::warn!(
            tenant,
            connection,
            removed,
            "messages that no sync read in time were given up"
        );
        all += removed;
    }
    Ok(all)
}

/// Removes messages that are in the lake and older than [`KEPT_DAYS`]; gives back how many, at most `limit`.
pub(crate) async fn prune(store: &Store, limit: i64) -> Result<u64> {
    let before_ms = store.now_ms().await? - i64::from(KEPT_DAYS) * DAY_MS;
    store
        .statement(Scope::Everyone, "remove old messages", |db, _| {
            Box::pin(async move { Ok(sql::prune(db, before_ms, limit).await?) })
        })
        .await
}
