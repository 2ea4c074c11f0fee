//! Whether a stream still comes on. A heartbeat says that its process lives; this, that it does
//! something.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use weir_protocol::Error;

/// The moment of the last sign of life: a page, a notice, a checkpoint.
#[derive(Debug, Clone)]
pub(super) struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until there was no sign of life for so long.
    pub(super) async fn still_for(&self, limit: Duration) {
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(due) = last.checked_add(limit) else {
                return std::future::pending().await;
            };
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

pub(super) fn hung(stream: &str, limit: Duration) -> Error {
    Error::timeout(format!("stream '{stream}' hung: no page and no checkpoint for {} s", limit.as_secs_f64()))
        .with("hung_after_s", limit.as_secs_f64())
        .hint("what was committed stays, and the run is tried again where attempts are left; if the source or the lake needs longer, allow it with --hung-after")
}
