//! Events on their way to webhooks and channels: at least once, in order for each of them as long as
//! it takes what it is sent, tried again for a day, then kept as dead until somebody replays them.

mod carry;
mod route;
mod rules;
mod send;
pub(crate) mod sql;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use weir_protocol::{Error, Result, Secret};

use crate::alerts::{self, Note};
use crate::audit::{self, Record};
use crate::events::{self, Event, Family, StoredEvent};
use crate::store::Scope;
use crate::{DEFAULT_TENANT, Store, webhooks};

pub use carry::{Passed, once, run};

const LIST_MAX: u32 = 500;

/// One event on its way to one webhook (`webhook:NAME`) or channel (`channel:NAME`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, FromRow, JsonSchema)]
pub struct Delivery {
    pub event: String,
    pub target: String,
    /// `waiting`, `delivered` or `dead`.
    pub status: String,
    /// Tries that failed so far.
    pub attempts: i64,
    pub not_before_ms: i64,
    /// HTTP status of the newest try.
    pub answer: Option<i64>,
    pub error: Option<String>,
    pub ended_at_ms: Option<i64>,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    pub event: Option<String>,
    pub target: Option<String>,
    pub status: Option<String>,
    /// Only those that are listed behind this one: an event and a target.
    pub after: Option<(String, String)>,
    pub limit: u32,
}

/// A request to a webhook.
#[derive(Debug, Clone)]
pub struct Post {
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Whether its address may be a private one.
    pub allow_private: bool,
}

/// What a webhook answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
}

/// Brings messages to where they go.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Sends the request, follows no redirect, and gives back whatever was answered.
    async fn post(&self, request: &Post) -> Result<Answer>;

    /// Tells a channel. `event` is what the text was made of.
    async fn tell(&self, channel: &str, note: &Note, event: &StoredEvent) -> Result<()>;

    /// A secret of the tenant, where it has one of that name.
    async fn secret(&self, tenant: &str, name: &str) -> Result<Option<Secret>>;
}

/// What the project says of events.
#[derive(Debug, Clone)]
pub struct Settings {
    pub alerts: alerts::Settings,
    /// Events are kept for so long.
    pub keep: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            alerts: alerts::Settings::default(),
            keep: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// Of the newest events first.
pub async fn list(store: &Store, tenant: &str, filter: &DeliveryFilter) -> Result<Vec<Delivery>> {
    store
        .read(Scope::Tenant(tenant), "list deliveries", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant, filter, filter.limit.min(LIST_MAX)).await?) })
        })
        .await
}

/// Sends an event again: to the webhook or channel that is named, else to all that it went to. Gives
/// back to how many.
pub async fn replay(store: &Store, tenant: &str, event: &str, target: Option<&str>) -> Result<u64> {
    events::get(store, tenant, event).await?;
    if target.is_some_and(|target| target.starts_with("channel:")) {
        refuse_others(tenant)?;
    }
    if let Some(name) = target.and_then(|target| target.strip_prefix("webhook:")) {
        webhooks::get(store, tenant, name).await?;
    }
    let record = &Record::new(tenant, "event.replay", format!("event:{event}"));
    let acting = store.acting();
    let sent = store
        .write(Scope::Tenant(tenant), "send the event again", |db, _| {
            Box::pin(async move {
                if let Some(target) = target.filter(|target| target.starts_with("webhook:")) {
                    sql::insert(db, tenant, event, target).await?;
                }
                let sent = sql::replay(db, tenant, event, target).await?;
                if sent > 0 {
                    audit::append_in(db, acting, record).await?;
                }
                Ok(sent)
            })
        })
        .await?;
    if sent == 0 {
        return Err(Error::not_found("the event went to nobody of that name")
            .with("event", event)
            .hint("`weir event show` lists to whom it went; name a webhook with --to webhook:NAME"));
    }
    Ok(sent)
}

/// Channels are told by whose project names them, and by nobody else.
fn refuse_others(tenant: &str) -> Result<()> {
    if tenant == DEFAULT_TENANT {
        return Ok(());
    }
    Err(Error::denied("the channels are another tenant's")
        .with("tenant", tenant)
        .hint("add a webhook for this tenant: `weir webhook add`"))
}

/// Sends a test to a webhook (`webhook:NAME`) or channel (`channel:NAME`); gives back the event's id.
pub async fn test(store: &Store, tenant: &str, target: &str) -> Result<String> {
    let (family, key, name) = match target.split_once(':') {
        Some(("webhook", name)) => {
            webhooks::get(store, tenant, name).await?;
            (Family::WebhookTest, "webhook", name)
        }
        Some(("channel", name)) => {
            refuse_others(tenant)?;
            (Family::AlertTest, "channel", name)
        }
        _ => {
            return Err(
                Error::usage(format!("'{target}' is neither a webhook nor a channel"))
                    .hint("name it as webhook:NAME or channel:NAME"),
            );
        }
    };
    let event = &Event::new(tenant, family, target).with(key, name);
    store
        .write(Scope::Tenant(tenant), "store the test", |db, _| {
            Box::pin(async move {
                events::append_in(db, event).await?;
                sql::insert(db, tenant, event.id(), target).await?;
                events::mark_routed(db, &[event.id()]).await?;
                Ok(())
            })
        })
        .await?;
    Ok(event.id().to_owned())
}
