//! How many calls each of several tokens has left, by pool.

use std::time::Duration;

/// What one token has left of one pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pool {
    pub(super) remaining: i64,
    /// Seconds since 1970.
    pub(super) resets_at: f64,
    pub(super) limit: i64,
    /// The source tells of quotas at all; where it does not, nothing is counted.
    pub(super) is_tracked: bool,
}

impl Pool {
    pub(super) fn untracked() -> Self {
        Self {
            remaining: 0,
            resets_at: 0.0,
            limit: 0,
            is_tracked: false,
        }
    }

    fn is_spent(&self) -> bool {
        self.is_tracked && self.remaining <= 0
    }
}

/// What an answer says about the pool of the token that it was signed with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    pub(super) remaining: Option<i64>,
    pub(super) resets_at: Option<f64>,
    pub(super) limit: Option<i64>,
    /// Its status says that the pool is spent.
    pub(super) is_exhausted: bool,
}

/// How far behind a pool's reset an answer's may be and still be about the same window.
const SKEW: f64 = 60.0;
/// The longest wait before one request while calls are spread over the time that is left.
const SPREAD_MAX: f64 = 10.0;
/// The shortest wait for a reset, so that one in the past does not make a busy loop.
const WAIT_MIN: f64 = 5.0;

#[derive(Debug, Clone, Copy)]
pub(super) struct Reserve {
    pub(super) fraction: f64,
    pub(super) least: f64,
}

pub(super) enum Next {
    /// Sign with this token, after so long.
    Token(usize, Option<Duration>),
    /// All are spent; the first is filled up again after so many seconds.
    Wait(f64),
}

/// By token, then by pool.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) of: Vec<Vec<Pool>>,
    pub(super) active: usize,
}

impl Pools {
    fn advance(&mut self) {
        self.active = (self.active + 1) % self.of.len().max(1);
    }

    fn each(&self, pool: usize) -> impl Iterator<Item = &Pool> {
        self.of.iter().filter_map(move |pools| pools.get(pool))
    }

    pub(super) fn all_spent(&self, pool: usize) -> bool {
        self.each(pool).all(Pool::is_spent)
    }

    /// Takes one call from a pool.
    pub(super) fn take(&mut self, pool: usize, now: f64, reserve: Reserve) -> Next {
        for _ in 0..=self.of.len() {
            let token = self.active;
            let Some(state) = self.of.get_mut(token).and_then(|pools| pools.get_mut(pool)) else {
                break;
            };
            if !state.is_tracked {
                // Nothing tells the tokens apart, so they take turns.
                self.advance();
                return Next::Token(token, None);
            }
            if state.remaining > 0 {
                state.remaining -= 1;
                let resets_at = state.resets_at;
                let delay = self.delay(pool, resets_at - now, reserve);
                return Next::Token(token, delay);
            }
            if self.all_spent(pool) {
                break;
            }
            self.advance();
        }
        let waits = self.each(pool).map(|state| state.resets_at - now);
        Next::Wait(waits.fold(f64::INFINITY, f64::min).max(WAIT_MIN))
    }

    /// Spreads the last calls over the time until they are filled up.
    #[expect(clippy::cast_precision_loss, reason = "counts of calls are small")]
    fn delay(&self, pool: usize, left: f64, reserve: Reserve) -> Option<Duration> {
        let is_low = |state: &Pool| {
            state.is_tracked
                && state.remaining as f64 <= reserve.least.max(state.limit as f64 * reserve.fraction)
        };
        if !self.each(pool).all(is_low) {
            return None;
        }
        let total: i64 = self.each(pool).map(|state| state.remaining.max(0)).sum();
        if total <= 0 || left <= 0.0 {
            return None;
        }
        let delay = (left / total as f64).min(SPREAD_MAX);
        (delay >= 0.1).then(|| Duration::from_secs_f64(delay))
    }

    /// Heeds what an answer says.
    pub(super) fn heed(&mut self, token: usize, pool: usize, told: Told) {
        let Some(state) = self.of.get_mut(token).and_then(|pools| pools.get_mut(pool)) else {
            return;
        };
        let remaining = told.remaining.or(told.is_exhausted.then_some(0));
        if !state.is_tracked {
            return;
        }
        let is_this_window = told
            .resets_at
            .is_none_or(|resets_at| resets_at >= state.resets_at - SKEW);
        if let Some(limit) = told.limit.filter(|_| is_this_window) {
            state.limit = limit;
        }
        if let Some(resets_at) = told.resets_at.filter(|resets_at| *resets_at > state.resets_at) {
            // A new window: the source's numbers count.
            state.resets_at = resets_at;
            state.remaining = remaining.unwrap_or(state.limit);
            return;
        }
        let Some(remaining) = remaining else { return };
        let is_refusal = remaining <= 0 && told.is_exhausted;
        if is_refusal || is_this_window {
            // Answers come out of order: within a window the count only ever goes down.
            state.remaining = state.remaining.min(remaining);
        }
    }

    /// Whether the token that a request was signed with is spent, and another is not.
    pub(super) fn has_other(&self, token: usize, pool: usize) -> bool {
        let spent = self.of.get(token).and_then(|pools| pools.get(pool));
        spent.is_some_and(Pool::is_spent)
            && self
                .of
                .iter()
                .enumerate()
                .filter_map(|(other, pools)| pools.get(pool).filter(|_| other != token))
                .any(|state| state.remaining > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_RESERVE: Reserve = Reserve {
        fraction: 0.0,
        least: 0.0,
    };

    fn pools(remaining: &[i64]) -> Pools {
        let pool = |remaining: &i64| {
            vec![Pool {
                remaining: *remaining,
                resets_at: 1000.0,
                limit: 10,
                is_tracked: true,
            }]
        };
        Pools {
            of: remaining.iter().map(pool).collect(),
            active: 0,
        }
    }

    fn takes(pools: &mut Pools, count: usize) -> Vec<usize> {
        let next = |pools: &mut Pools| match pools.take(0, 100.0, NO_RESERVE) {
            Next::Token(token, _) => token,
            Next::Wait(_) => 99,
        };
        (0..count).map(|_| next(pools)).collect()
    }

    #[test]
    fn a_token_is_used_up_before_the_next_one() {
        assert_eq!(takes(&mut pools(&[2, 0, 1]), 4), [0, 0, 2, 99]);
        let mut spent = pools(&[0, 0]);
        let Next::Wait(wait) = spent.take(0, 100.0, NO_RESERVE) else {
            panic!("nothing is left");
        };
        assert!((wait - 900.0).abs() < 1e-9, "{wait}");
    }

    #[test]
    fn untracked_tokens_take_turns() {
        let mut pools = Pools {
            of: vec![vec![Pool::untracked()]; 2],
            active: 0,
        };
        assert_eq!(takes(&mut pools, 4), [0, 1, 0, 1]);
    }

    #[test]
    fn the_last_calls_are_spread() {
        let reserve = Reserve {
            fraction: 0.1,
            least: 50.0,
        };
        let mut low = pools(&[10, 10]);
        let Next::Token(0, Some(delay)) = low.take(0, 905.0, reserve) else {
            panic!("below the reserve");
        };
        assert_eq!(delay, Duration::from_secs_f64(5.0), "95 s for 19 calls");
        assert!(matches!(low.take(0, 100.0, NO_RESERVE), Next::Token(0, None)));
    }

    #[test]
    fn answers_lower_a_count_and_begin_windows() {
        let mut pools = pools(&[9, 5]);
        let told = |remaining, resets_at, is_exhausted| Told {
            remaining,
            resets_at,
            limit: None,
            is_exhausted,
        };
        pools.heed(0, 0, told(Some(4), Some(1000.0), false));
        pools.heed(0, 0, told(Some(7), Some(1000.0), false));
        assert_eq!(pools.of[0][0].remaining, 4, "a late answer gives nothing back");
        pools.heed(0, 0, told(Some(0), Some(500.0), false));
        assert_eq!(pools.of[0][0].remaining, 4, "a window that is over");
        assert!(!pools.has_other(0, 0));
        pools.heed(0, 0, told(None, Some(500.0), true));
        assert_eq!(pools.of[0][0].remaining, 0, "a refusal always counts");
        assert!(pools.has_other(0, 0));
        pools.heed(0, 0, told(None, Some(2000.0), false));
        assert_eq!(pools.of[0][0].remaining, 10, "a new window is full");
    }
}
