//! Counters of a client, for progress and for the retry budget.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(super) struct Stats {
    requests: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    successes: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatsSnapshot {
    /// Sent, retries and redirects included.
    pub requests: u64,
    pub retries: u64,
    /// Of answers' bodies, decompressed.
    pub bytes: u64,
}

impl Stats {
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_success(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    pub(super) fn snapshot(&self) -> StatsSnapshot {
        StatsSnapshot {
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
