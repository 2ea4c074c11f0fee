//! Whether a stream still comes on. A heartbeat says that its process lives; this, that it does
//! something.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use weir_protocol::Error;
use weir_protocol::source::Notice;

/// What is known of a stream's life.
#[derive(Debug, Clone, Copy)]
struct Life {
    /// The last sign of it: a page, a notice, a checkpoint.
    last: Instant,
    /// Whether the source has to say something next: a merge under way is nothing that stalls.
    waits: bool,
}

impl Life {
    /// When to look again; none where the source was silent for so long.
    fn look_again(self, now: Instant, limit: Duration) -> Option<Instant> {
        let due = self.last + limit;
        match (due <= now, self.waits) {
            (true, true) => None,
            // Whenever it begins to wait, it is not overdue by then.
            (true, false) => Some(now + limit),
            (false, _) => Some(due),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Pulse(Arc<Mutex<Life>>);

impl Pulse {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Life {
            last: Instant::now(),
            waits: false,
        })))
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn beat(&self) {
        self.life().last = Instant::now();
    }

    /// Since then the source has to say something.
    pub(super) fn wait(&self, since: Instant) {
        *self.life() = Life {
            last: since,
            waits: true,
        };
    }

    /// It said something, which is worked on.
    pub(super) fn work(&self) {
        *self.life() = Life {
            last: Instant::now(),
            waits: false,
        };
    }

    /// Waits until the source was silent for so long.
    pub(super) async fn silent_for(&self, limit: Duration) {
        loop {
            let life = *self.life();
            match life.look_again(Instant::now(), limit) {
                Some(at) => sleep_until(at).await,
                None => return,
            }
        }
    }

    /// Waits until there was no sign of life for so long.
    pub(super) async fn still_for(&self, limit: Duration) {
        loop {
            let last = self.life().last;
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

/// What a run is marked with while its source is silent. Not an error: a source may ask for a long pause.
pub(super) fn stalled(limit: Duration, hung_after: Duration) -> Notice {
    Notice {
        message: format!(
            "the source has been silent for {} s: no page and no notice",
            limit.as_secs_f64()
        ),
        hint: Some(format!(
            "it may be slow, keep a rate limit, or hang; after {} s (--hung-after) the stream is ended as hung",
            hung_after.as_secs_f64()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_silent_and_a_long_merge_is_not() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let limit = Duration::from_secs(50);
        let waiting = Life {
            last: began,
            waits: true,
        };
        assert_eq!(waiting.look_again(at(49), limit), Some(at(50)));
        assert_eq!(waiting.look_again(at(50), limit), None);
        let merging = Life {
            last: began,
            waits: false,
        };
        assert_eq!(merging.look_again(at(3000), limit), Some(at(3050)));
        // What it waits for after the merge counts from then on.
        let after = Life {
            last: at(3001),
            waits: true,
        };
        assert_eq!(after.look_again(at(3050), limit), Some(at(3051)));
        assert_eq!(after.look_again(at(3051), limit), None);
    }
}
