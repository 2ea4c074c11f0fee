//! The vendor's quota, kept on our side: never more requests in any window than the spec allows,
//! corrected by what answers say, and a gate that a vendor's "wait" closes for all requests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_protocol::spec::RateLimit;

use super::quota::Quota;

/// A window's requests are remembered in at most this many groups.
const GROUPS_MAX: u32 = 1_000;
/// Two announcements whose ends differ by less are of the same window.
const SAME_WINDOW: Duration = Duration::from_secs(2);

/// Why and how long a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Go,
    /// Our own count says that the quota is used up.
    Quota(Duration),
    /// The vendor said so.
    Held(Duration),
}

/// Requests sent within a thousandth of the window. It leaves the window as late as its last one.
struct Group {
    first: Duration,
    last: Duration,
    count: u64,
}

#[derive(Default)]
struct Inner {
    /// Oldest first.
    sent: VecDeque<Group>,
    sent_count: u64,
    /// Requests that the vendor says are left until a moment.
    allowance: Option<(u64, Duration)>,
    held_until: Duration,
    in_flight: u64,
}

pub(super) struct Limiter {
    quota: Option<(u32, Duration)>,
    inner: Mutex<Inner>,
}

impl Limiter {
    pub(super) fn new(spec: Option<&RateLimit>) -> Self {
        let quota = spec.map(|limit| (limit.requests.max(1), limit.per.get()));
        Self {
            quota,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change under this lock is complete in itself, so a panic elsewhere leaves it sound.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks to send one request now. `Go` counts it; end it with [`Limiter::finished`].
    pub(super) fn try_send(&self, now: Duration) -> Pace {
        let mut inner = self.lock();
        if now < inner.held_until {
            return Pace::Held(inner.held_until.saturating_sub(now));
        }
        if let Some((left, until)) = inner.allowance {
            if now >= until {
                inner.allowance = None;
            } else if left == 0 {
                return Pace::Held(until.saturating_sub(now));
            }
        }
        if let Some((requests, per)) = self.quota {
            if let Some(wait) = inner.window_full(requests, per, now) {
                return Pace::Quota(wait);
            }
            inner.remember(per, now);
        }
        if let Some((left, _)) = &mut inner.allowance {
            *left = left.saturating_sub(1);
        }
        inner.in_flight += 1;
        Pace::Go
    }

    pub(super) fn finished(&self) {
        let mut inner = self.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
    }

    /// Lets no request of this client go before `until`.
    pub(super) fn hold(&self, until: Duration) {
        let mut inner = self.lock();
        inner.held_until = inner.held_until.max(until);
    }

    /// Takes over what an answer says is left. Answers overtake each other, so within a window the
    /// smallest number counts, and requests still under way are taken off.
    pub(super) fn observe(&self, quota: Quota, now: Duration) {
        let (Some(remaining), Some(reset_in)) = (quota.remaining, quota.reset_in) else {
            return;
        };
        let mut inner = self.lock();
        let until = now.saturating_add(reset_in);
        let left = remaining.saturating_sub(inner.in_flight);
        inner.allowance = match inner.allowance {
            Some((known, known_until)) if known_until.abs_diff(until) < SAME_WINDOW => {
                Some((left.min(known), known_until))
            }
            Some((known, known_until)) if known_until > until => Some((known, known_until)),
            _ => Some((left, until)),
        };
    }
}

impl Inner {
    fn window_full(&mut self, requests: u32, per: Duration, now: Duration) -> Option<Duration> {
        while let Some(group) = self.sent.front() {
            let leaves = group.last.saturating_add(per);
            if leaves > now {
                let full = self.sent_count >= u64::from(requests);
                return full.then(|| leaves.saturating_sub(now));
            }
            self.sent_count = self.sent_count.saturating_sub(group.count);
            self.sent.pop_front();
        }
        None
    }

    fn remember(&mut self, per: Duration, now: Duration) {
        self.sent_count += 1;
        let width = per / GROUPS_MAX;
        match self.sent.back_mut() {
            Some(group) if now.saturating_sub(group.first) < width => {
                group.last = now;
                group.count += 1;
            }
            _ => self.sent.push_back(Group {
                first: now,
                last: now,
                count: 1,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limiter(requests: u32, per: &str) -> Limiter {
        let spec = RateLimit {
            requests,
            per: per.parse().unwrap(),
            remaining: None,
            reset: None,
        };
        Limiter::new(Some(&spec))
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_full_window_waits_until_its_first_request_leaves() {
        let limiter = limiter(2, "10s");
        assert_eq!(limiter.try_send(ms(0)), Pace::Go);
        assert_eq!(limiter.try_send(ms(4_000)), Pace::Go);
        assert_eq!(limiter.try_send(ms(5_000)), Pace::Quota(ms(5_000)));
        assert_eq!(limiter.try_send(ms(10_000)), Pace::Go);
    }

    #[test]
    fn the_vendors_count_corrects_ours() {
        let limiter = Limiter::new(None);
        assert_eq!(limiter.try_send(ms(0)), Pace::Go);
        limiter.finished();
        let quota = |remaining| Quota {
            remaining: Some(remaining),
            reset_in: Some(ms(60_000)),
        };
        limiter.observe(quota(1), ms(0));
        limiter.observe(quota(3), ms(1));
        assert_eq!(limiter.try_send(ms(10)), Pace::Go);
        assert_eq!(limiter.try_send(ms(10)), Pace::Held(ms(59_990)));
        assert_eq!(limiter.try_send(ms(60_000)), Pace::Go);
    }

    #[test]
    fn the_longest_hold_counts() {
        let limiter = Limiter::new(None);
        limiter.hold(ms(500));
        limiter.hold(ms(200));
        assert_eq!(limiter.try_send(ms(100)), Pace::Held(ms(400)));
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_the_quota(
            requests in 1_u32..20,
            gaps in prop::collection::vec(0_u64..400, 1..200),
        ) {
            let limiter = limiter(requests, "1s");
            let (mut now, mut sent) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                while let Pace::Quota(wait) = limiter.try_send(ms(now)) {
                    now += u64::try_from(wait.as_millis()).unwrap().max(1);
                }
                sent.push(now);
            }
            for (index, start) in sent.iter().enumerate() {
                let within = sent[index..].iter().take_while(|time| **time - start < 1_000).count();
                prop_assert!(within <= requests as usize, "{within} requests in a second");
            }
        }
    }
}
