//! What nothing tells by itself: promises that pass unkept, alerts that still stand, alerts of which
//! nothing more is heard.

use sqlx::AnyConnection;
use weir_protocol::Result;

use super::raise::{is_due, resolved, tell};
use super::{Settings, sql};
use crate::Store;
use crate::events::{self, Event, Family};
use crate::store::{Outcome, Scope};

/// What ends by itself does so after this long without a further event.
const QUIET_MS: i64 = 24 * 60 * 60 * 1000;
/// Promises that passed longer ago are not looked at: a server that was away for a week tells of a day.
const MISSED_MS_MAX: i64 = 24 * 60 * 60 * 1000;
/// So many at once; the rest follow with the next look.
const MISSED_MAX: i64 = 500;

pub(crate) async fn watch(store: &Store, settings: &Settings) -> Result<()> {
    store
        .write_alone(Scope::Everyone, "events", "look after alerts", |db, _| {
            Box::pin(async move {
                let now: i64 = sqlx::query_scalar("SELECT now_ms FROM clock")
                    .fetch_one(&mut *db)
                    .await?;
                missed(db, now).await?;
                standing(db, settings, now).await
            })
        })
        .await
}

async fn missed(db: &mut AnyConnection, now: i64) -> Outcome<()> {
    for (tenant, connection, due, promised) in sql::missed(db, now - MISSED_MS_MAX, MISSED_MAX).await? {
        let event = Event::of_connection(&tenant, Family::SlaMissed, &connection)
            .with("due_at_ms", due)
            .with("promised_by_ms", promised)
            .once(&sql::missed_occasion(&connection, due));
        events::append_in(db, &event).await?;
    }
    Ok(())
}

async fn standing(db: &mut AnyConnection, settings: &Settings, now: i64) -> Outcome<()> {
    for (tenant, alert) in sql::all_open(db).await? {
        if alert.rule.stands() {
            if is_due(&alert, settings, now) {
                tell(db, &tenant, &alert).await?;
            }
        } else if now.saturating_sub(alert.seen_at_ms) >= QUIET_MS {
            end_quietly(db, &tenant, &alert).await?;
        } else if alert.told == 0 {
            // A silence kept it back, and may have ended.
            tell(db, &tenant, &alert).await?;
        }
    }
    Ok(())
}

/// Nobody is bothered with that nothing happened.
async fn end_quietly(db: &mut AnyConnection, tenant: &str, alert: &super::Alert) -> Outcome<()> {
    let reason = "nothing more was heard of it for 24 hours";
    if sql::resolve(db, &alert.id, reason).await? {
        let event = Event::new(tenant, Family::AlertResolved, &alert.subject);
        let event = resolved(event, alert, reason, &[]).with("told", false);
        events::append_in(db, &event).await?;
    }
    Ok(())
}
