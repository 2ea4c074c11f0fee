//! A connection's rate limits, kept for all processes that send requests for it: servers, workers,
//! commands. Each draws permits, a few at once, and tells with the next draw what it used.

mod breakers;
mod rules;
mod sql;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use sqlx::AnyConnection;
use weir_protocol::permits::{Draw, Drawn, Permits};
use weir_protocol::{Error, Result};

use crate::Store;
use crate::store::{Outcome, Scope, int};
pub(crate) use breakers::sweep as sweep_breakers;
use rules::{Ledge, Share};

/// Who waits for the answers of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A person or a program that asked for something now.
    Interactive,
    /// Nobody in particular: a sync.
    Sync,
}

/// The permits of one connection, out of the store.
#[derive(Debug, Clone)]
pub struct ConnectionPermits {
    store: Store,
    tenant: String,
    connection: String,
    urgency: Urgency,
}

impl ConnectionPermits {
    pub fn new(store: &Store, tenant: &str, connection: &str, urgency: Urgency) -> Self {
        Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            connection: connection.to_owned(),
            urgency,
        }
    }

    /// What is asked for, as the store keeps it.
    fn asked<'a>(&'a self, draw: &'a Draw) -> Asked<'a> {
        Asked {
            tenant: &self.tenant,
            connection: &self.connection,
            urgency: self.urgency,
            draw,
        }
    }
}

/// A draw, and of which connection.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    tenant: &'a str,
    connection: &'a str,
    urgency: Urgency,
    draw: &'a Draw,
}

#[async_trait]
impl Permits for ConnectionPermits {
    async fn draw(&self, draw: &Draw) -> Result<Drawn> {
        check(draw)?;
        let asked = self.asked(draw);
        let scope = Scope::Tenant(&self.tenant);
        let thing = format!("permits/{}/{}", self.tenant, self.connection);
        if draw.rates.is_empty() && draw.hold_ms.is_none() && draw.breaker.is_none() {
            // What others' breakers say depends on who asks.
            let looked_at = format!("{thing}/{}/{}", draw.client, draw.is_well);
            // Nothing is counted: only whether the vendor asked one of us to wait.
            let held = self
                .store
                .read_shared(scope, &looked_at, "look for a wish of the vendor", |db, _| {
                    Box::pin(async move { held(db, asked).await })
                });
            return Ok(held.await?.unwrap_or_else(|| all(draw)));
        }
        self.store
            .write_alone(scope, &thing, "draw permits", |db, _| {
                Box::pin(async move { draw_in(db, asked).await })
            })
            .await
    }
}

/// Longer than any vendor's window; what is longer is a mistake.
const LONGEST_MS: u64 = 366 * 24 * 3_600_000;
/// A vendor's wish is kept for so long at most, then one request may find out whether it still holds:
/// a wrong date in one answer must not shut a connection for years.
const HOLD_MAX_MS: u64 = 3_600_000;
const TEXT_CHARS_MAX: usize = 100;
const RATES_MAX: usize = 16;
const USES_MAX: usize = 10_000;

/// What a worker elsewhere says may be anything.
fn check(draw: &Draw) -> Result<()> {
    let mut texts = vec![&draw.limit, &draw.batch, &draw.client];
    texts.extend(draw.spent.as_ref().map(|spent| &spent.batch));
    let uses = draw.spent.as_ref().map_or(0, |spent| spent.uses.len());
    let is_fine = texts.iter().all(|text| text.len() <= TEXT_CHARS_MAX)
        && draw.rates.len() <= RATES_MAX
        && uses <= USES_MAX
        && draw
            .rates
            .iter()
            .all(|rate| rate.requests >= draw.least.max(1) && (1..=LONGEST_MS).contains(&rate.per_ms));
    if is_fine {
        return Ok(());
    }
    Err(Error::usage("permits are drawn for rates that cannot be")
        .with(
            "limit",
            draw.limit.chars().take(TEXT_CHARS_MAX).collect::<String>(),
        )
        .hint("give reliability.rate_limit at least one request, in a window from 1ms to a year"))
}

fn all(draw: &Draw) -> Drawn {
    Drawn::Permits {
        permits: u32::MAX,
        in_ms: 0,
        good_for_ms: rules::good_for_ms(&draw.rates),
    }
}

/// Why nothing may be sent now, whatever the rates say.
async fn held(db: &mut AnyConnection, asked: Asked<'_>) -> Outcome<Option<Drawn>> {
    let (held_ms, shut_ms) = sql::held_ms(db, asked).await?;
    // The store's clock may have been put back since.
    let at_most = |wait_ms: i64| u64::try_from(wait_ms).unwrap_or(0).min(HOLD_MAX_MS);
    Ok(match (at_most(held_ms), at_most(shut_ms)) {
        (0, 0) => None,
        (0, _) if asked.draw.is_well => None,
        (wait_ms, shut_ms) if wait_ms >= shut_ms => Some(Drawn::Held { wait_ms }),
        (_, wait_ms) => Some(Drawn::Shut { wait_ms }),
    })
}

async fn draw_in(db: &mut AnyConnection, asked: Asked<'_>) -> Outcome<Drawn> {
    let draw = asked.draw;
    let counts_for_ms = int(rules::counts_for_ms(&draw.rates));
    if let Some(told) = &draw.breaker {
        breakers::told_in(db, asked, told).await?;
        return Ok(all(draw));
    }
    sql::forget(db, asked.tenant).await?;
    if let Some(spent) = &draw.spent {
        sql::put_down(db, asked, spent, counts_for_ms).await?;
    }
    if let Some(hold_ms) = draw.hold_ms {
        sql::hold(db, asked, int(hold_ms.min(HOLD_MAX_MS))).await?;
    }
    if let Some(held) = held(db, asked).await? {
        return Ok(held);
    }
    if draw.rates.is_empty() || draw.least == 0 {
        return Ok(all(draw));
    }
    let good_for_ms = rules::good_for_ms(&draw.rates);
    let drawn = |permits, in_ms| Drawn::Permits {
        permits,
        in_ms,
        good_for_ms,
    };
    // The answer to the first time was lost.
    if let Some((permits, left_ms)) = sql::drawn_before(db, asked).await? {
        let in_ms = u64::try_from(left_ms).unwrap_or(0).saturating_sub(good_for_ms);
        return Ok(drawn(permits, in_ms));
    }
    let is_person = asked.urgency == Urgency::Interactive;
    if is_person {
        sql::person(db, asked).await?;
    }
    let (now_ms, person_at_ms) = sql::moments(db, asked).await?;
    let (given, others) = sql::given(db, asked).await?;
    let ledge = Ledge {
        now_ms,
        given: &given,
        others,
        person_at_ms,
        is_person,
    };
    match rules::share(draw, &ledge) {
        Share::WaitMs(wait_ms) => Ok(Drawn::Wait { wait_ms }),
        Share::Permits(permits, in_ms) => {
            let until_ms = now_ms.saturating_add(int(in_ms + good_for_ms));
            sql::give(
                db,
                asked,
                permits,
                (until_ms, until_ms.saturating_add(counts_for_ms)),
            )
            .await?;
            Ok(drawn(permits, in_ms))
        }
    }
}
