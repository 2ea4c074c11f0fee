//! Time and chance in one place, so that tests run in virtual time.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

#[async_trait]
pub trait Clock: Send + Sync {
    /// Wall-clock time: compared with the dates that vendors send.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment; never goes back.
    fn elapsed(&self) -> Duration;
    async fn sleep(&self, time: Duration);
    /// An even draw from 0 (inclusive) to 1 (exclusive).
    fn draw(&self) -> f64;
}

/// The machine's clock and randomness.
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn draw(&self) -> f64 {
        rand::random::<f64>()
    }
}
