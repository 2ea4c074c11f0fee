//! To whom each new event goes, and what it does to alerts. Decided once, in one transaction with the
//! deliveries, whichever server looks first.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::AnyConnection;
use weir_protocol::Result;

use super::{Settings, sql};
use crate::alerts::{self, Batch, Rule};
use crate::events::{self, StoredEvent};
use crate::store::{Outcome, Scope};
use crate::webhooks::{self, Webhook};
use crate::{DEFAULT_TENANT, Store};

/// Events of one transaction.
const BATCH_MAX: u32 = 200;

/// Routes all that is new; gives back how many events.
pub(super) async fn route(store: &Store, settings: &Settings) -> Result<u64> {
    let mut routed = 0;
    loop {
        // Without a look first, every idle second would be a write.
        let is_idle = store
            .read(Scope::Everyone, "look for new events", |db, _| {
                Box::pin(async move { Ok(events::to_route(db, 1).await?.is_empty()) })
            })
            .await?;
        if is_idle {
            return Ok(routed);
        }
        routed += store
            .write_alone(Scope::Everyone, "events", "route events", |db, _| {
                Box::pin(batch(db, &settings.alerts))
            })
            .await?;
    }
}

async fn batch(db: &mut AnyConnection, settings: &alerts::Settings) -> Outcome<u64> {
    let now: i64 = sqlx::query_scalar("SELECT now_ms FROM clock")
        .fetch_one(&mut *db)
        .await?;
    let found = events::to_route(db, BATCH_MAX).await?;
    let mut receivers: HashMap<String, Vec<Webhook>> = HashMap::new();
    let mut touched = Batch::default();
    for event in &found {
        if !receivers.contains_key(&event.tenant) {
            let all = webhooks::sql::list(db, &event.tenant).await?;
            receivers.insert(event.tenant.clone(), all);
        }
        let of_tenant = receivers.get(&event.tenant).map_or(&[][..], Vec::as_slice);
        for webhook in of_tenant {
            if webhook.paused_at_ms.is_none() && webhook.wants(&event.family) {
                let target = format!("webhook:{}", webhook.name);
                sql::insert(db, &event.tenant, &event.id, &target).await?;
            }
        }
        for channel in channels(settings, event) {
            let target = format!("channel:{channel}");
            sql::insert(db, &event.tenant, &event.id, &target).await?;
        }
        touched.consider(db, settings, event).await?;
    }
    let routed: Vec<&str> = found.iter().map(|event| event.id.as_str()).collect();
    events::mark_routed(db, &routed).await?;
    touched.tell(db, settings, now).await?;
    Ok(u64::try_from(found.len()).unwrap_or(u64::MAX))
}

/// Who is told of an alert's beginning or end.
fn channels<'a>(settings: &'a alerts::Settings, event: &StoredEvent) -> Vec<&'a str> {
    // The channels are those of the project's own tenant: nobody else's alerts go there.
    if event.tenant != DEFAULT_TENANT {
        return Vec::new();
    }
    let text = |key: &str| event.data.get(key).and_then(Value::as_str).unwrap_or_default();
    let is_told = event.data.get("told") == Some(&Value::Bool(true));
    let (true, Ok(rule), Ok(severity)) = (is_told, text("rule").parse::<Rule>(), text("severity").parse())
    else {
        return Vec::new();
    };
    settings
        .channels(rule, severity)
        // A channel that takes nothing is not told of that.
        .filter(|channel| !is_about(event, channel))
        .collect()
}

fn is_about(event: &StoredEvent, channel: &str) -> bool {
    let target = event
        .data
        .get("facts")
        .and_then(|facts| facts.get("target")?.as_str());
    target.and_then(|target| target.strip_prefix("channel:")) == Some(channel)
}
