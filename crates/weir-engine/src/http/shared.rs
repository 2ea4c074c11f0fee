//! A connection's rate as all processes share it that work for it: permits are drawn from whoever keeps
//! the count, some at once, so that few requests wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;
use weir_protocol::Result;
use weir_protocol::permits::{BreakerTold, Draw, Drawn, Permits, Rate, Spent, Use};
use weir_protocol::spec::RateLimit;

use super::clock::Clock;

/// Of all requests of a connection; others are counted beside it.
pub(crate) const ALL_REQUESTS: &str = "";
/// A batch is meant to last about so long.
const BATCH_TIME: Duration = Duration::from_secs(1);
/// Drawn at first, and doubled from there: a probe that needs one takes no more from the others.
const FIRST_BATCH: u32 = 1;
/// Uses are told in at most so many groups a window.
const GROUPS_MAX: u32 = 64;

/// What came of asking to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Send now.
    Leave,
    /// The vendor asked another process to wait so long.
    Held(Duration),
    /// Another process found the source failing, and lets nothing go for so long.
    Shut(Duration),
    /// The rate lets nothing go for longer than is waited for.
    TooLong(Duration),
}

/// Permits in hand.
struct Batch {
    name: String,
    left: u32,
    good_from: Duration,
    good_until: Duration,
    /// When permits were used, oldest first; each with the last moment of its group.
    used: VecDeque<(Duration, Duration, u32)>,
}

#[derive(Default)]
struct Inner {
    batch: Option<Batch>,
    size: u32,
}

/// One limit of a connection.
pub(crate) struct SharedLimiter {
    permits: Arc<dyn Permits>,
    limit: String,
    rates: Vec<Rate>,
    client: String,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    /// Held by the one who draws for all that wait.
    drawing: tokio::sync::Mutex<()>,
}

impl SharedLimiter {
    pub(crate) fn new(
        permits: Arc<dyn Permits>,
        limit: &str,
        rates: Vec<Rate>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            permits,
            limit: limit.to_owned(),
            rates,
            client: Uuid::now_v7().to_string(),
            clock,
            inner: Mutex::new(Inner {
                batch: None,
                size: FIRST_BATCH,
            }),
            drawing: tokio::sync::Mutex::default(),
        }
    }

    /// Takes leave to send a request that counts `weight` times, waiting for it no longer than `longest`
    /// at a time.
    /// `is_well` where the source answered this process a moment ago, whatever others found.
    pub(crate) async fn take(&self, weight: u32, longest: Duration, is_well: bool) -> Result<Taken> {
        if self.at_hand(weight) {
            return Ok(Taken::Leave);
        }
        let _turn = self.drawing.lock().await;
        loop {
            // Whoever drew before may have left enough.
            if self.at_hand(weight) {
                return Ok(Taken::Leave);
            }
            let wait = match self.draw(weight, is_well).await? {
                Drawn::Permits { in_ms: 0, .. } => continue,
                Drawn::Held { wait_ms } => return Ok(Taken::Held(Duration::from_millis(wait_ms))),
                Drawn::Shut { wait_ms } => return Ok(Taken::Shut(Duration::from_millis(wait_ms))),
                Drawn::Wait { wait_ms } => Duration::from_millis(wait_ms.max(1)),
                Drawn::Permits { in_ms, .. } => Duration::from_millis(in_ms),
            };
            if wait > longest {
                return Ok(Taken::TooLong(wait));
            }
            self.clock.sleep(wait).await;
        }
    }

    /// Tells all others what the vendor asked for. Waits for nobody who waits for permits.
    pub(crate) async fn hold(&self, wait: Duration) -> Result<()> {
        let draw = Draw {
            hold_ms: Some(millis(wait)),
            ..self.ask(0)
        };
        self.permits.draw(&draw).await.map(drop)
    }

    /// Tells whoever keeps the count what became of this process's breaker.
    pub(crate) async fn tell(&self, told: BreakerTold) -> Result<()> {
        let draw = Draw {
            breaker: Some(told),
            ..self.ask(0)
        };
        self.permits.draw(&draw).await.map(drop)
    }

    async fn draw(&self, least: u32, is_well: bool) -> Result<Drawn> {
        let began = self.clock.elapsed();
        let (spent, size) = {
            let mut inner = self.lock();
            (inner.put_down(began), inner.size)
        };
        let draw = Draw {
            wanted: size.max(least),
            is_well,
            spent,
            ..self.ask(least)
        };
        let drawn = self.permits.draw(&draw).await?;
        if let Drawn::Permits {
            permits,
            in_ms,
            good_for_ms,
        } = drawn
        {
            // The count's own moments lie between asking and being answered.
            let in_time = Duration::from_millis(in_ms);
            self.lock().batch = Some(Batch {
                name: draw.batch,
                left: permits,
                good_from: self.clock.elapsed().saturating_add(in_time),
                good_until: began.saturating_add(in_time + Duration::from_millis(good_for_ms)),
                used: VecDeque::new(),
            });
        }
        Ok(drawn)
    }

    fn ask(&self, least: u32) -> Draw {
        Draw {
            limit: self.limit.clone(),
            rates: self.rates.clone(),
            batch: Uuid::now_v7().to_string(),
            client: self.client.clone(),
            least,
            ..Draw::default()
        }
    }

    /// Whether permits in hand are enough; they are used then.
    fn at_hand(&self, weight: u32) -> bool {
        let now = self.clock.elapsed();
        let shortest = self.rates.iter().map(|rate| rate.per_ms).min();
        let width = Duration::from_millis(shortest.unwrap_or_default()) / GROUPS_MAX;
        let mut inner = self.lock();
        let Some(batch) = inner.batch.as_mut() else {
            return false;
        };
        if now < batch.good_from || now >= batch.good_until || batch.left < weight {
            return false;
        }
        batch.left -= weight;
        if shortest.is_some() {
            batch.use_at(now, weight, width);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change under this lock is complete in itself, so a panic elsewhere leaves it sound.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    fn use_at(&mut self, now: Duration, weight: u32, width: Duration) {
        match self.used.back_mut() {
            Some((first, last, count)) if now.saturating_sub(*first) < width => {
                *last = now;
                *count += weight;
            }
            _ => self.used.push_back((now, now, weight)),
        }
    }
}

impl Inner {
    /// Ends the batch in hand: what was used of it is told, and says how many are needed next.
    fn put_down(&mut self, now: Duration) -> Option<Spent> {
        let batch = self.batch.take()?;
        let lasted = now.saturating_sub(batch.good_from);
        let used: u32 = batch.used.iter().map(|(_, _, count)| count).sum();
        self.size = if batch.left == 0 && lasted < BATCH_TIME / 2 {
            self.size.saturating_mul(2)
        } else if lasted > BATCH_TIME {
            used.clamp(1, self.size)
        } else {
            self.size
        };
        let uses = batch.used.iter().map(|(_, last, permits)| Use {
            ago_ms: millis(now.saturating_sub(*last)),
            permits: *permits,
        });
        Some(Spent {
            batch: batch.name,
            uses: uses.collect(),
        })
    }
}

/// Rounded down: what was used counts as used late rather than early.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A connector's own limit as the rate that is shared.
pub(crate) fn rates(limit: Option<&RateLimit>) -> Vec<Rate> {
    let rate = limit.map(|limit| Rate {
        requests: limit.requests.max(1),
        per_ms: millis(limit.per.get()).max(1),
    });
    rate.into_iter().collect()
}
