//! What events do to alerts, and the events that tell of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::AnyConnection;
use uuid::Uuid;

use super::{Alert, Rule, Settings, Silence, sql};
use crate::events::{self, Event, Family, StoredEvent};
use crate::store::Outcome;

/// Alerts that a batch of events touched. They are told together at its end, so that what one run
/// changed in many columns is told in one message.
#[derive(Debug, Default)]
pub struct Batch {
    /// Tenant and id.
    touched: BTreeSet<(String, String)>,
}

impl Batch {
    /// Raises, counts or ends what the event is about.
    pub(crate) async fn consider(
        &mut self,
        db: &mut AnyConnection,
        settings: &Settings,
        event: &StoredEvent,
    ) -> Outcome<()> {
        if let Some(rule) = Rule::of(event)
            && let Some(severity) = settings.severity(rule)
        {
            let fingerprint = rule.fingerprint(event);
            let known = sql::open(db, &event.tenant, &fingerprint).await?;
            let facts = rule.facts(event, known.as_ref().map(|alert| &alert.facts));
            let id = if let Some(known) = known {
                sql::seen(db, &known.id, severity, &facts, event.happened_at_ms).await?;
                known.id
            } else {
                let connection = event.data.get("connection").and_then(Value::as_str);
                let alert = Alert {
                    id: Uuid::now_v7().to_string(),
                    fingerprint,
                    rule,
                    severity,
                    cause: event.family.clone(),
                    facts,
                    subject: event.subject.clone(),
                    connection: connection.map(ToOwned::to_owned),
                    raised_at_ms: event.happened_at_ms,
                    seen_at_ms: event.happened_at_ms,
                    seen: 1,
                    told_at_ms: None,
                    told: 0,
                    resolved_at_ms: None,
                    resolved_because: None,
                };
                sql::insert(db, &event.tenant, &alert).await?;
                alert.id
            };
            self.touched.insert((event.tenant.clone(), id));
        }
        for rule in Rule::ALL {
            if rule
                .ended_by()
                .iter()
                .any(|family| family.as_str() == event.family)
            {
                self.end(db, rule, event).await?;
            }
        }
        Ok(())
    }

    async fn end(&mut self, db: &mut AnyConnection, rule: Rule, event: &StoredEvent) -> Outcome<()> {
        let open = sql::open_of(db, &event.tenant, rule, &event.subject).await?;
        // One that happened after what ends it stands, and so does one about another credential.
        let is_about = |alert: &Alert| {
            alert.seen_at_ms <= event.happened_at_ms
                && (!rule.is_of_credential() || alert.facts.get("credential") == event.data.get("credential"))
        };
        for alert in open.into_iter().filter(is_about) {
            let reason = format!("weir.{}", event.family);
            if sql::resolve(db, &alert.id, &reason).await? {
                let silences = sql::silences(db, &event.tenant).await?;
                let told = Event::new(&event.tenant, Family::AlertResolved, &alert.subject);
                events::append_in(db, &resolved(told, &alert, &reason, &silences)).await?;
            }
        }
        Ok(())
    }

    /// Tells of what was touched: of what is new, and of what was not told for long.
    pub(crate) async fn tell(self, db: &mut AnyConnection, settings: &Settings, now: i64) -> Outcome<()> {
        for (tenant, id) in self.touched {
            let Some(alert) = sql::get(db, &id).await? else {
                continue;
            };
            if alert.resolved_at_ms.is_none() && is_due(&alert, settings, now) {
                tell(db, &tenant, &alert).await?;
            }
        }
        Ok(())
    }
}

pub(super) fn is_due(alert: &Alert, settings: &Settings, now: i64) -> bool {
    alert
        .told_at_ms
        .is_none_or(|told| now.saturating_sub(told) >= settings.tell_again_ms())
}

/// Tells of an alert that stands. What is silenced is told to webhooks alone, once.
pub(super) async fn tell(db: &mut AnyConnection, tenant: &str, alert: &Alert) -> Outcome<()> {
    let silences = sql::silences(db, tenant).await?;
    let is_silenced = silences.iter().any(|silence| silence.covers(alert));
    let mut event = about(Event::new(tenant, Family::AlertRaised, &alert.subject), alert)
        .with("repeat", alert.told)
        .with("told", !is_silenced);
    if is_silenced {
        event = event.once(&format!("{}/silenced", alert.id));
    } else {
        sql::told(db, &alert.id).await?;
    }
    events::append_in(db, &event).await.map(drop)
}

/// The event of an end. The channels are told where they were told of the beginning.
pub(super) fn resolved(event: Event, alert: &Alert, reason: &str, silences: &[Silence]) -> Event {
    let is_silenced = silences.iter().any(|silence| silence.covers(alert));
    about(event, alert)
        .with("reason", reason)
        .with("told", alert.told > 0 && !is_silenced)
        .once(&alert.id)
}

fn about(event: Event, alert: &Alert) -> Event {
    event
        .with("alert", alert.id.as_str())
        .with("rule", alert.rule.as_str())
        .with("severity", alert.severity.as_str())
        .with("cause", alert.cause.as_str())
        .with("subject", alert.subject.as_str())
        .with("since_ms", alert.raised_at_ms)
        .with("seen", alert.seen)
        .with("facts", json!(alert.facts))
}
