//! The circuit breaker: a pure state machine over injected time.

use std::collections::VecDeque;
use std::time::Duration;

use weir_protocol::spec::Breaker as BreakerSpec;

/// As shown on boards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// No request passes until the cooldown is over.
    Open,
    /// One request may probe.
    HalfOpen,
}

/// Whether a request may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Pass,
    /// Pass, and its outcome alone decides.
    Probe,
    /// Not before this much time.
    Wait(Duration),
    /// Another request is probing; its end is announced.
    AwaitProbe,
}

/// How an admitted request ended, as far as it tells about the system's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    /// Transport error or 5xx.
    Bad,
    /// Nothing was learned: it was never sent, or given up by the caller.
    Unknown,
}

enum State {
    Closed,
    Open { until: Duration },
    HalfOpen { probing: bool },
}

pub(super) struct Breaker {
    spec: BreakerSpec,
    state: State,
    /// Times of failures within the window, oldest first.
    failures: VecDeque<Duration>,
    /// When a request was answered last.
    answered: Option<Duration>,
}

impl Breaker {
    pub(super) fn new(spec: BreakerSpec) -> Self {
        Self {
            spec,
            state: State::Closed,
            failures: VecDeque::new(),
            answered: None,
        }
    }

    pub(super) fn admit(&mut self, now: Duration) -> Admission {
        match self.state {
            State::Closed => Admission::Pass,
            State::Open { .. } => {
                if let Some(rest) = self.rest(now) {
                    return Admission::Wait(rest);
                }
                self.state = State::HalfOpen { probing: true };
                Admission::Probe
            }
            State::HalfOpen { probing: true } => Admission::AwaitProbe,
            State::HalfOpen { probing: false } => {
                self.state = State::HalfOpen { probing: true };
                Admission::Probe
            }
        }
    }

    /// `probe` says whether the request had been admitted as one. True when the state changed.
    pub(super) fn report(&mut self, probe: bool, health: Health, now: Duration) -> bool {
        if health == Health::Good {
            self.answered = Some(now);
        }
        match (&self.state, health) {
            (State::HalfOpen { .. }, _) if !probe => false,
            (State::HalfOpen { .. }, Health::Good) => {
                self.failures.clear();
                self.state = State::Closed;
                true
            }
            (State::HalfOpen { .. }, Health::Bad) => {
                self.open_until(now.saturating_add(self.spec.cooldown.get()));
                true
            }
            (State::HalfOpen { .. }, Health::Unknown) => {
                self.state = State::HalfOpen { probing: false };
                true
            }
            (State::Closed, Health::Bad) => self.fail(now),
            // What was sent before it opened says nothing new.
            (State::Closed | State::Open { .. }, _) => false,
        }
    }

    /// Closed, and answered within a cooldown from now.
    pub(super) fn is_well(&self, now: Duration) -> bool {
        let cooldown = self.spec.cooldown.get();
        let answered = self.answered.is_some_and(|at| now.saturating_sub(at) < cooldown);
        matches!(self.state, State::Closed) && answered
    }

    fn fail(&mut self, now: Duration) -> bool {
        let window = self.spec.window.get();
        while self
            .failures
            .front()
            .is_some_and(|time| now.saturating_sub(*time) > window)
        {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let opens = self.failures.len() >= self.spec.failures.max(1) as usize;
        if opens {
            self.open_until(now.saturating_add(self.spec.cooldown.get()));
        }
        opens
    }

    /// Lets nothing pass before `until`, also where another process found out that nothing would come of it.
    pub(super) fn open_until(&mut self, until: Duration) {
        let until = match self.state {
            State::Open { until: known } => known.max(until),
            State::Closed | State::HalfOpen { .. } => until,
        };
        self.failures.clear();
        self.state = State::Open { until };
    }

    /// How long no request passes from now. None: one may pass or probe.
    pub(super) fn rest(&self, now: Duration) -> Option<Duration> {
        let State::Open { until } = self.state else {
            return None;
        };
        until.checked_sub(now).filter(|rest| !rest.is_zero())
    }

    pub(super) fn state(&self, now: Duration) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } if self.rest(now).is_some() => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(BreakerSpec {
            failures: 3,
            ..BreakerSpec::default()
        });
        for second in 0..3 {
            assert_eq!(breaker.admit(at(second)), Admission::Pass);
            breaker.report(false, Health::Bad, at(second));
        }
        breaker
    }

    #[test]
    fn opens_after_failures_within_the_window_only() {
        assert_eq!(opened().state(at(2)), BreakerState::Open);
        let mut slow = Breaker::new(BreakerSpec {
            failures: 3,
            ..BreakerSpec::default()
        });
        for second in [0, 50, 100, 150, 200] {
            slow.report(false, Health::Bad, at(second));
        }
        assert_eq!(slow.state(at(200)), BreakerState::Closed);
    }

    #[test]
    fn one_probe_decides() {
        let mut breaker = opened();
        assert_eq!(breaker.rest(at(12)), Some(at(20)));
        assert_eq!(breaker.admit(at(12)), Admission::Wait(at(20)));
        assert_eq!(breaker.rest(at(32)), None);
        assert_eq!(breaker.admit(at(32)), Admission::Probe);
        assert_eq!(breaker.admit(at(32)), Admission::AwaitProbe);
        assert!(
            !breaker.report(false, Health::Good, at(33)),
            "a straggler decides nothing"
        );
        breaker.report(true, Health::Bad, at(33));
        assert_eq!(breaker.state(at(34)), BreakerState::Open);
        assert_eq!(breaker.admit(at(63)), Admission::Probe);
        assert!(!breaker.is_well(at(63)));
        breaker.report(true, Health::Good, at(64));
        assert_eq!(breaker.admit(at(64)), Admission::Pass);
        assert!(breaker.is_well(at(93)) && !breaker.is_well(at(94)));
    }

    #[test]
    fn what_others_found_is_heeded_and_one_probe_ends_it() {
        let mut breaker = Breaker::new(BreakerSpec::default());
        breaker.open_until(at(10));
        assert_eq!(breaker.admit(at(4)), Admission::Wait(at(6)));
        assert_eq!(breaker.admit(at(10)), Admission::Probe);
        // While this one probed, somebody else's probe failed.
        breaker.open_until(at(40));
        assert!(!breaker.report(true, Health::Unknown, at(11)));
        assert_eq!(breaker.admit(at(40)), Admission::Probe);
        assert!(breaker.report(true, Health::Good, at(41)));
        assert_eq!(breaker.admit(at(41)), Admission::Pass);
    }

    #[test]
    fn a_probe_given_up_lets_the_next_one_try() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(at(40)), Admission::Probe);
        breaker.report(true, Health::Unknown, at(41));
        assert_eq!(breaker.admit(at(41)), Admission::Probe);
    }
}
