//! Sends what is due. Any number of servers may: each delivery is held by one of them at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use weir_protocol::Result;

use super::send::{Went, send};
use super::sql::{Claimed, Ended};
use super::{Carrier, Settings, route, rules, sql};
use crate::events::{self, Event, Family, StoredEvent};
use crate::store::Scope;
use crate::{Store, alerts, hooks, permits};

/// A delivery that takes longer is given up by its server, and another may make it.
const HOLD: Duration = Duration::from_secs(40);
/// So many are on their way at once from one process, each to another receiver.
const AT_ONCE: usize = 64;
/// What is under way when its server stops may take so long still, so that nobody is told twice.
const LEAVE_MAX: Duration = Duration::from_secs(10);
/// How often alerts are looked after, and old events removed.
const WATCH_EVERY: Duration = Duration::from_secs(15);
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
const PRUNED_AT_ONCE: i64 = 1000;
/// A paused webhook is looked at again after so long.
const PAUSED_MS: i64 = 60_000;

/// What one pass came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    pub delivered: u64,
    pub failed: u64,
}

/// Routes and sends until `stop` is called, and looks after alerts, each in its own time.
pub async fn run(
    store: Store,
    carrier: Arc<dyn Carrier>,
    settings: Arc<Settings>,
    poll: Duration,
    stop: CancellationToken,
) {
    let line = Line::new(&store, carrier.as_ref(), &settings, None);
    let looking_after = async {
        tokio::join!(
            keep_watching(&store, &settings),
            keep_pruning(&store, settings.keep)
        )
    };
    tokio::join!(
        keep_sending(&line, poll, &stop),
        stop.run_until_cancelled(looking_after)
    );
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Begins what is due at every look, whatever is still on its way. Once `stop` is called, only ends what has begun.
async fn keep_sending(line: &Line<'_>, poll: Duration, stop: &CancellationToken) {
    let mut polls = every(poll);
    let mut under_way = FuturesUnordered::new();
    let mut ended = |ended: Result<bool>| say(ended.map(drop), "cannot end a delivery");
    while let Some(begun) = stop
        .run_until_cancelled(line.begin(&mut under_way, &mut ended))
        .await
    {
        say(begun, "cannot send events");
        tokio::select! {
            () = stop.cancelled() => {}
            _ = polls.tick() => {}
            Some(done) = under_way.next() => ended(done),
        }
    }
    let leave = async {
        while let Some(done) = under_way.next().await {
            ended(done);
        }
    };
    if tokio::time::timeout(LEAVE_MAX, leave).await.is_err() {
        tracing::warn!("deliveries are still under way; another server makes them again");
    }
}

async fn keep_watching(store: &Store, settings: &Settings) {
    let mut looks = every(WATCH_EVERY);
    loop {
        looks.tick().await;
        say(
            permits::sweep_breakers(store).await.map(drop),
            "cannot look after breakers",
        );
        let watched = alerts::watch(store, &settings.alerts).await;
        say(watched, "cannot look after alerts");
    }
}

async fn keep_pruning(store: &Store, keep: Duration) {
    let mut looks = every(PRUNE_EVERY);
    loop {
        looks.tick().await;
        say(prune(store, keep).await, "cannot remove old events");
    }
}

fn say(outcome: Result<()>, what: &str) {
    if let Err(error) = outcome {
        tracing::error!(%error, "{what}");
    }
}

/// Routes what is new and sends all that is due now; `only` one event's deliveries where it is named.
pub async fn once(
    store: &Store,
    carrier: &dyn Carrier,
    settings: &Settings,
    only: Option<&str>,
) -> Result<Passed> {
    let line = Line::new(store, carrier, settings, only);
    let mut under_way = FuturesUnordered::new();
    let mut passed = Passed::default();
    let mut failure = None;
    let mut ended = |ended: Result<bool>| match ended {
        Ok(true) => passed.delivered += 1,
        Ok(false) => passed.failed += 1,
        Err(error) => failure = Some(error),
    };
    loop {
        // What ended during a look may have kept others waiting from it: only one that began alone is the last.
        let was_alone = under_way.is_empty();
        // What went wrong may have been told of.
        line.begin(&mut under_way, &mut ended).await?;
        match under_way.next().await {
            None if was_alone => break,
            None => {}
            Some(done) => ended(done),
        }
    }
    failure.map_or(Ok(passed), Err)
}

type UnderWay<'a> = FuturesUnordered<BoxFuture<'a, Result<bool>>>;

/// What one process sends. Each receiver has one delivery under way at most: one that is slow keeps only its own
/// waiting.
struct Line<'a> {
    store: &'a Store,
    carrier: &'a dyn Carrier,
    settings: &'a Settings,
    only: Option<&'a str>,
    holder: String,
}

impl<'a> Line<'a> {
    fn new(
        store: &'a Store,
        carrier: &'a dyn Carrier,
        settings: &'a Settings,
        only: Option<&'a str>,
    ) -> Self {
        let holder = Uuid::now_v7().to_string();
        Self {
            store,
            carrier,
            settings,
            only,
            holder,
        }
    }

    /// Takes what is due as far as there is room. What is under way goes on meanwhile: stopped in the middle, it could
    /// hold what the look waits for.
    async fn begin<'l>(
        &'l self,
        under_way: &mut UnderWay<'l>,
        ended: &mut (dyn FnMut(Result<bool>) + Send),
    ) -> Result<()> {
        let due = self.due(AT_ONCE.saturating_sub(under_way.len()));
        tokio::pin!(due);
        let due = loop {
            tokio::select! {
                due = &mut due => break due?,
                Some(done) = under_way.next() => ended(done),
            }
        };
        for claimed in due {
            under_way.push(Box::pin(async move {
                deliver(self.store, self.carrier, self.settings, &self.holder, &claimed).await
            }));
        }
        Ok(())
    }

    /// Routes what is new, and claims what is due.
    async fn due(&self, room: usize) -> Result<Vec<Claimed>> {
        route::route(self.store, self.settings).await?;
        if room == 0 || !self.is_waiting().await? {
            return Ok(Vec::new());
        }
        self.claim(room).await
    }

    async fn is_waiting(&self) -> Result<bool> {
        self.store
            .read(Scope::Everyone, "look for deliveries", |db, _| {
                Box::pin(async move { Ok(sql::is_waiting(db).await?) })
            })
            .await
    }

    async fn claim(&self, room: usize) -> Result<Vec<Claimed>> {
        let hold_ms = i64::try_from(HOLD.as_millis()).unwrap_or(i64::MAX);
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        let (holder, only) = (self.holder.as_str(), self.only);
        self.store
            .write_alone(Scope::Everyone, "deliveries", "claim deliveries", |db, _| {
                Box::pin(async move { Ok(sql::claim(db, holder, (hold_ms, room), only).await?) })
            })
            .await
    }
}

async fn deliver(
    store: &Store,
    carrier: &dyn Carrier,
    settings: &Settings,
    holder: &str,
    claimed: &Claimed,
) -> Result<bool> {
    let event = events::get(store, &claimed.tenant, &claimed.event).await?;
    let sending = send(store, carrier, settings, claimed, &event);
    // Before another server may take it.
    let went = match tokio::time::timeout(HOLD / 2, sending).await {
        Ok(went) => went?,
        Err(_) => Went::Failed {
            error: format!("no answer within {} seconds", HOLD.as_secs() / 2),
            answer: None,
            retry_after: None,
        },
    };
    settle(store, holder, claimed, &event, &went).await?;
    Ok(matches!(went, Went::Delivered(_)))
}

/// What a try comes to.
fn ended(went: &Went, attempts: i64) -> Ended<'_> {
    match went {
        Went::Delivered(answer) => Ended {
            status: "delivered",
            wait_ms: 0,
            has_failed: false,
            answer: *answer,
            error: None,
        },
        Went::Later => Ended {
            status: "waiting",
            wait_ms: PAUSED_MS,
            has_failed: false,
            answer: None,
            error: Some("the webhook is paused"),
        },
        Went::Dead { error, answer } => Ended {
            status: "dead",
            wait_ms: 0,
            has_failed: true,
            answer: *answer,
            error: Some(error),
        },
        Went::Failed {
            error,
            answer,
            retry_after,
        } => {
            let wait = rules::wait_ms(attempts, *retry_after, rules::jitter());
            Ended {
                status: if wait.is_some() { "waiting" } else { "dead" },
                wait_ms: wait.unwrap_or(0),
                has_failed: true,
                answer: *answer,
                error: Some(error),
            }
        }
    }
}

/// Stores how it went. What found no taker in the end is told of.
async fn settle(
    store: &Store,
    holder: &str,
    claimed: &Claimed,
    event: &StoredEvent,
    went: &Went,
) -> Result<()> {
    let attempts = claimed.attempts + 1;
    let ended = ended(went, attempts);
    if let Some(error) = ended.error {
        tracing::warn!(
            event = claimed.event,
            target = claimed.target,
            attempts,
            status = ended.status,
            error,
            "an event was not delivered"
        );
    }
    let told = &told(claimed, event, &ended, attempts);
    let ended = &ended;
    store
        .write(Scope::Tenant(&claimed.tenant), "end the delivery", |db, _| {
            Box::pin(async move {
                let is_ours = sql::end(db, holder, claimed, ended).await?;
                if let Some(told) = told.as_ref().filter(|_| is_ours) {
                    events::append_in(db, told).await?;
                }
                Ok(())
            })
        })
        .await
}

/// The event of a delivery that is given up. One about a delivery tells of itself no more.
fn told(claimed: &Claimed, event: &StoredEvent, ended: &Ended<'_>, attempts: i64) -> Option<Event> {
    let is_about_delivery = event.family == Family::DeliveryFailed.as_str()
        || event.data.get("cause").and_then(Value::as_str) == Some(Family::DeliveryFailed.as_str());
    if ended.status != "dead" || is_about_delivery {
        return None;
    }
    Some(
        Event::new(&claimed.tenant, Family::DeliveryFailed, &claimed.target)
            .with("target", claimed.target.as_str())
            .with("event", claimed.event.as_str())
            .with("type", format!("weir.{}", event.family))
            .with("attempts", attempts)
            .with("error", ended.error.unwrap_or_default()),
    )
}

/// Removes events, and alerts and silences that ended, once they are older than is kept.
async fn prune(store: &Store, keep: Duration) -> Result<()> {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let before = store.now_ms().await?.saturating_sub(keep_ms);
    loop {
        let removed = store
            .statement(Scope::Everyone, "remove old events", |db, _| {
                Box::pin(async move { Ok(events::prune(db, before, PRUNED_AT_ONCE).await?) })
            })
            .await?;
        if removed == 0 {
            break;
        }
    }
    store
        .statement(Scope::Everyone, "remove old alerts and silences", |db, _| {
            Box::pin(async move { Ok(alerts::prune(db, before).await?) })
        })
        .await?;
    while hooks::prune(store, PRUNED_AT_ONCE).await? > 0 {}
    while hooks::give_up(store, PRUNED_AT_ONCE).await? > 0 {}
    Ok(())
}
