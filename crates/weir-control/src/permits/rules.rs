//! How many permits one process gets of what a rate leaves.

use weir_protocol::permits::{Draw, Rate};

/// No permit is held unused for longer: so long a process may not know what the vendor told another.
const GOOD_FOR_MAX_MS: u64 = 2_000;
const GOOD_FOR_MIN_MS: u64 = 250;
/// What one draw may take of a rate: that part of it, or less where more clients than half of this share it.
const DRAWS_PER_WINDOW: u32 = 8;
/// Permits that come back so soon are given out before, each to one who waits: asked for again when they
/// are there, they would be asked for by all at once.
const AHEAD_MAX_MS: u64 = 2_000;
const SLOTS_PER_WINDOW: u64 = 64;
/// Over longer windows a share is always kept for those who wait for an answer: there it may be long
/// before permits come back.
const LONG_WINDOW_MS: u64 = 10_000;
/// So long after somebody waited for an answer, a share is kept in every window.
const PERSON_MS: i64 = 10_000;
/// Requests of several processes are on their way for different times: so much of a window they may
/// come closer to each other than they were sent, at most so many milliseconds.
const JITTER_SHARE: u64 = 50;
const JITTER_MAX_MS: u64 = 50;
/// The store's clock shows whole milliseconds.
const CLOCK_MS: u64 = 1;

/// Permits of one client that still count somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) permits: u32,
    pub(super) until_ms: i64,
}

/// What is known of one limit at one moment.
#[derive(Debug, Clone)]
pub(super) struct Ledge<'a> {
    pub(super) now_ms: i64,
    /// Oldest first.
    pub(super) given: &'a [Given],
    /// How many clients had permits of late, besides the one that asks.
    pub(super) others: u32,
    /// When somebody who waits for an answer last asked; 0: never.
    pub(super) person_at_ms: i64,
    /// Whether that is who asks now.
    pub(super) is_person: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// So many, from so long after now.
    Permits(u32, u64),
    WaitMs(u64),
}

/// How long permits of these rates may be used.
pub(super) fn good_for_ms(rates: &[Rate]) -> u64 {
    let shortest = rates.iter().map(|rate| rate.per_ms).min();
    shortest.map_or(GOOD_FOR_MAX_MS, |per| per.clamp(GOOD_FOR_MIN_MS, GOOD_FOR_MAX_MS))
}

/// How long permits count after they were used, at most.
pub(super) fn counts_for_ms(rates: &[Rate]) -> u64 {
    let longest = rates.iter().map(|rate| rate.per_ms).max().unwrap_or_default();
    longest.saturating_add(JITTER_MAX_MS + CLOCK_MS)
}

/// What the limit can give: the least of what its rates can, when the last of them can.
pub(super) fn share(draw: &Draw, ledge: &Ledge<'_>) -> Share {
    let mut permits = draw.wanted.max(draw.least);
    let mut in_ms = 0;
    for rate in &draw.rates {
        let (of_rate, wait_ms) = of_rate(*rate, draw, ledge);
        permits = permits.min(of_rate);
        in_ms = in_ms.max(wait_ms);
    }
    if in_ms > AHEAD_MAX_MS || permits < draw.least {
        Share::WaitMs(in_ms)
    } else {
        Share::Permits(permits, in_ms)
    }
}

/// How many permits a rate has for one who asks, and in how long. What has left it then does not count.
fn of_rate(rate: Rate, draw: &Draw, ledge: &Ledge<'_>) -> (u32, u64) {
    // One request may weigh more than all that syncs are left.
    let least = draw.least.max(1);
    let most = rate
        .requests
        .saturating_sub(kept(rate, ledge))
        .max(least.min(rate.requests));
    let per = counted_ms(rate, ledge.others);
    let live = || {
        let counting = ledge.given.iter();
        counting.filter(move |given| given.until_ms.saturating_add(per) > ledge.now_ms)
    };
    let mut used: u64 = live().map(|given| u64::from(given.permits)).sum();
    let free = |used: u64| u32::try_from(u64::from(most).saturating_sub(used)).unwrap_or(u32::MAX);
    let clients = 2 * (ledge.others + 1) / DRAWS_PER_WINDOW;
    let at_once = (rate.requests / DRAWS_PER_WINDOW / clients.max(1)).max(least);
    let mut at = ledge.now_ms;
    for given in live() {
        if free(used) >= least {
            break;
        }
        used = used.saturating_sub(u64::from(given.permits));
        at = given.until_ms.saturating_add(per);
    }
    (
        free(used).min(at_once),
        u64::try_from(at.saturating_sub(ledge.now_ms)).unwrap_or(0),
    )
}

/// What is told of uses is kept in parts of the shortest window that are so long.
pub(super) fn slot_ms(rates: &[Rate]) -> i64 {
    let shortest = rates.iter().map(|rate| rate.per_ms).min().unwrap_or_default();
    i64::try_from((shortest / SLOTS_PER_WINDOW).max(1)).unwrap_or(i64::MAX)
}

/// How long a permit counts.
fn counted_ms(rate: Rate, others: u32) -> i64 {
    let jitter = match others {
        // One process alone is as exact as its own count was.
        0 => 0,
        _ => (rate.per_ms / JITTER_SHARE).clamp(1, JITTER_MAX_MS),
    };
    i64::try_from(rate.per_ms.saturating_add(jitter + CLOCK_MS)).unwrap_or(i64::MAX)
}

/// What syncs leave to those who wait for an answer.
fn kept(rate: Rate, ledge: &Ledge<'_>) -> u32 {
    let was_person = ledge.now_ms.saturating_sub(ledge.person_at_ms) < PERSON_MS;
    if ledge.is_person {
        0
    } else if was_person {
        (rate.requests / 5).max(1)
    } else if rate.per_ms > LONG_WINDOW_MS {
        rate.requests / 20
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draw(requests: u32, per_ms: u64, wanted: u32) -> Draw {
        Draw {
            rates: vec![Rate { requests, per_ms }],
            least: 1,
            wanted,
            ..Draw::default()
        }
    }

    fn ledge(now_ms: i64, given: &[Given]) -> Ledge<'_> {
        Ledge {
            now_ms,
            given,
            others: 0,
            person_at_ms: 0,
            is_person: false,
        }
    }

    fn given(permits: u32, until_ms: i64) -> Given {
        Given { permits, until_ms }
    }

    #[test]
    fn what_was_given_counts_until_a_window_after_its_last_use() {
        let now = 1_000_000;
        let full = [given(10, now - 400)];
        let second = draw(10, 1_000, 1);
        assert_eq!(share(&second, &ledge(now, &full)), Share::Permits(1, 601));
        assert_eq!(share(&second, &ledge(now + 601, &full)), Share::Permits(1, 0));
        let hourly = draw(10, 3_600_000, 1);
        assert_eq!(share(&hourly, &ledge(now, &full)), Share::WaitMs(3_599_601));
        let half = [given(5, now - 400), given(5, now)];
        assert_eq!(
            share(&draw(10, 1_000, 9), &ledge(now + 601, &half)),
            Share::Permits(1, 0)
        );
    }

    #[test]
    fn one_draw_takes_a_share_that_shrinks_with_the_number_of_clients() {
        let now = 1_000_000;
        let wanted = draw(800, 1_000, 1_000);
        assert_eq!(share(&wanted, &ledge(now, &[])), Share::Permits(100, 0));
        let shared = Ledge {
            others: 15,
            ..ledge(now, &[])
        };
        assert_eq!(share(&wanted, &shared), Share::Permits(25, 0));
    }

    #[test]
    fn who_waits_for_an_answer_gets_what_syncs_leave() {
        let now = 1_000_000;
        let used = [given(95, now)];
        let hourly = draw(100, 3_600_000, 1);
        assert!(matches!(share(&hourly, &ledge(now, &used)), Share::WaitMs(_)));
        let person = Ledge {
            is_person: true,
            ..ledge(now, &used)
        };
        assert_eq!(share(&hourly, &person), Share::Permits(1, 0));
        let used = [given(80, now)];
        let short = draw(100, 1_000, 1);
        assert_eq!(share(&short, &ledge(now, &used)), Share::Permits(1, 0));
        let after = Ledge {
            person_at_ms: now - 5_000,
            ..ledge(now, &used)
        };
        assert_eq!(share(&short, &after), Share::Permits(1, 1_001));
    }

    #[test]
    fn all_rates_hold() {
        let now = 1_000_000;
        let mut wanted = draw(10, 1_000, 5);
        wanted.rates.push(Rate {
            requests: 12,
            per_ms: 60_000,
        });
        let used = [given(12, now - 2_000)];
        assert_eq!(share(&wanted, &ledge(now, &used)), Share::WaitMs(58_001));
    }

    proptest! {
        /// Whoever asks when, and whenever in its time a permit is used: no window sees more than the rate.
        #[test]
        fn no_window_sees_more_than_the_rate(
            requests in 1_u32..40,
            asks in prop::collection::vec((0_i64..300, 0_i64..250, 1_u32..20), 1..120),
        ) {
            let per_ms = 1_000;
            let mut given: Vec<Given> = Vec::new();
            let mut used: Vec<i64> = Vec::new();
            let mut now = 1_000_000;
            for (gap, delay, wanted) in asks {
                now += gap;
                let ledge = Ledge { others: 1, ..ledge(now, &given) };
                let Share::Permits(permits, in_ms) = share(&draw(requests, per_ms, wanted), &ledge) else { continue };
                // Used at any moment until it is told to have been.
                let from = now + i64::try_from(in_ms).unwrap();
                given.push(Given { permits, until_ms: from + delay });
                given.sort_by_key(|given| given.until_ms);
                used.extend((0..permits).map(|index| from + delay * i64::from(index) / i64::from(permits)));
            }
            used.sort_unstable();
            for (index, start) in used.iter().enumerate() {
                let within = used[index..].iter().take_while(|at| **at - start < 1_000).count();
                prop_assert!(within <= requests as usize, "{within} of {requests}");
            }
        }
    }
}
