//! A manifest's own rate limits: requests that match a policy wait until its rates let them go, and
//! what answers say about the rest of a limit is heeded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_protocol::permits::{self, Permits};
use weir_protocol::{Error, ErrorKind, Result};

use super::super::node::Node;
use super::super::template::{Scope, py_text};
use super::super::time::parse_duration;
use super::matcher::{Matcher, whole};
use crate::http::{Answer, Clock, Outgoing, SharedLimiter, Taken};

/// Numbers of a reset header below this are seconds to wait, above it a moment since 1970.
const MOMENT_MIN: u64 = 1_000_000_000;

struct Rate {
    most: usize,
    per: Duration,
}

/// What has been sent under a policy. Times are those of the clock's `elapsed`.
enum Window {
    /// No more than the rates allow in any stretch of time.
    Moving {
        rates: Vec<Rate>,
        sent: VecDeque<(Duration, usize)>,
    },
    /// Counted anew at fixed moments.
    Fixed {
        rate: Rate,
        count: usize,
        ends: Option<Duration>,
    },
    Unlimited,
}

struct Policy {
    matchers: Vec<Matcher>,
    window: Mutex<Window>,
    /// The same rates, where other processes may send requests for the connection too.
    shared: Option<SharedLimiter>,
}

pub(crate) struct Budget {
    policies: Vec<Policy>,
    remaining_header: String,
    reset_header: String,
    exhausted_codes: Vec<u64>,
}

impl Budget {
    pub(crate) fn new(scope: &Scope<'_>, node: &Node<'_>) -> Result<Self> {
        if node.kind() != "HTTPAPIBudget" {
            return Err(node.unknown("an API budget"));
        }
        let policies = node.list("policies");
        let policies = policies
            .iter()
            .map(|policy| Policy::new(scope, policy))
            .collect::<Result<_>>()?;
        let header = |field: &str, usual: &str| {
            let named = node.get(field).map(|name| py_text(name.value));
            named.unwrap_or_else(|| usual.to_owned())
        };
        let codes = node.list("status_codes_for_ratelimit_hit");
        let codes: Vec<u64> = codes.iter().filter_map(|code| code.value.as_u64()).collect();
        Ok(Self {
            policies,
            remaining_header: header("ratelimit_remaining_header", "ratelimit-remaining"),
            reset_header: header("ratelimit_reset_header", "ratelimit-reset"),
            exhausted_codes: if codes.is_empty() { vec![429] } else { codes },
        })
    }

    /// The same, with each policy's rates kept together with all that draw from the same permits.
    pub(crate) fn share(mut self, permits: Option<&Arc<dyn Permits>>, clock: &Arc<dyn Clock>) -> Arc<Self> {
        for (index, policy) in self.policies.iter_mut().enumerate() {
            let rates = policy.window().rates();
            if let Some(permits) = permits.filter(|_| !rates.is_empty()) {
                let limit = format!("api_budget/{index}");
                policy.shared = Some(SharedLimiter::new(permits.clone(), &limit, rates, clock.clone()));
            }
        }
        Arc::new(self)
    }

    fn policy(&self, out: &Outgoing) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.matches(out))
    }

    /// Returns when the first policy that matches lets the request go; a wait beyond `longest` ends the
    /// read instead.
    pub(crate) async fn wait(&self, clock: &dyn Clock, out: &Outgoing, longest: Duration) -> Result<()> {
        let Some(policy) = self.policy(out) else {
            return Ok(());
        };
        while let Some(wait) = policy.take(out, clock.elapsed()) {
            wait_at_most(clock, wait, longest).await?;
        }
        policy.shared_leave(clock, out, longest).await
    }

    /// Heeds what an answer says about the rest of the limit.
    pub(crate) fn note(&self, clock: &dyn Clock, out: &Outgoing, answer: &Answer) {
        let Some(policy) = self.policy(out) else { return };
        let number = |name: &str| answer.header(name)?.trim().parse::<u64>().ok();
        let left = number(&self.remaining_header).and_then(|left| usize::try_from(left).ok());
        let is_hit = self.exhausted_codes.contains(&u64::from(answer.status));
        let left = left.or_else(|| is_hit.then_some(0));
        let now = u64::try_from(clock.now().as_second()).unwrap_or(0);
        let resets_in = number(&self.reset_header).map(|reset| {
            Duration::from_secs(if reset < MOMENT_MIN {
                reset
            } else {
                reset.saturating_sub(now)
            })
        });
        let ends = resets_in
            .filter(|wait| !wait.is_zero())
            .map(|wait| clock.elapsed() + wait);
        policy.heed(clock.elapsed(), left, ends);
    }
}

async fn wait_at_most(clock: &dyn Clock, wait: Duration, longest: Duration) -> Result<()> {
    if wait > longest {
        return Err(Error::new(
            ErrorKind::RateLimited,
            format!("the manifest's api_budget lets the next request go in {} seconds", wait.as_secs()),
        )
        .with("longest wait", format!("{} s", longest.as_secs()))
        .hint("run again later, when the limit begins anew, or raise reliability.retry.max; what was read is kept"));
    }
    clock.sleep(wait).await;
    Ok(())
}

impl Policy {
    fn new(scope: &Scope<'_>, node: &Node<'_>) -> Result<Self> {
        let matchers = Matcher::all(scope, node)?;
        let window = match node.kind() {
            "MovingWindowCallRatePolicy" => {
                let rates = node.list("rates");
                let rates = rates
                    .iter()
                    .map(|one| Rate::new(scope, &one.need("limit")?, &one.need("interval")?))
                    .collect::<Result<Vec<_>>>()?;
                if rates.is_empty() {
                    return Err(node.error("a MovingWindowCallRatePolicy needs at least one rate"));
                }
                Window::Moving {
                    rates,
                    sent: VecDeque::new(),
                }
            }
            "FixedWindowCallRatePolicy" => Window::Fixed {
                rate: Rate::new(scope, &node.need("call_limit")?, &node.need("period")?)?,
                count: 0,
                ends: None,
            },
            "UnlimitedCallRatePolicy" => Window::Unlimited,
            _ => return Err(node.unknown("a call rate policy")),
        };
        let heaviest = matchers.iter().map(Matcher::weight).max().unwrap_or(1);
        if window.least().is_some_and(|least| heaviest > least) {
            return Err(node.error(format!(
                "a request of weight {heaviest} is more than the policy ever allows"
            )));
        }
        Ok(Self {
            matchers,
            window: Mutex::new(window),
            shared: None,
        })
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weight(&self, out: &Outgoing) -> usize {
        let matcher = self.matchers.iter().find(|matcher| matcher.matches(out));
        matcher.map_or(1, Matcher::weight)
    }

    /// Returns when the count of all processes lets the request go: last, because from then on it counts.
    async fn shared_leave(&self, clock: &dyn Clock, out: &Outgoing, longest: Duration) -> Result<()> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let weight = u32::try_from(self.weight(out)).unwrap_or(u32::MAX);
        loop {
            // Breakers are heeded where the request is sent.
            match shared.take(weight, longest, true).await? {
                Taken::Leave => return Ok(()),
                Taken::Held(wait) | Taken::Shut(wait) | Taken::TooLong(wait) => {
                    wait_at_most(clock, wait, longest).await?;
                }
            }
        }
    }

    fn matches(&self, out: &Outgoing) -> bool {
        self.matchers.is_empty() || self.matchers.iter().any(|matcher| matcher.matches(out))
    }

    /// Counts a request, or says how long to wait before asking again.
    fn take(&self, out: &Outgoing, now: Duration) -> Option<Duration> {
        self.window().take(self.weight(out), now)
    }

    fn heed(&self, now: Duration, left: Option<usize>, ends: Option<Duration>) {
        self.window().heed(now, left, ends);
    }
}

impl Rate {
    fn new(scope: &Scope<'_>, most: &Node<'_>, per: &Node<'_>) -> Result<Self> {
        let read = |node: &Node<'_>| node.as_text(node.parameters())?.eval_text(scope);
        let per_text = read(per)?;
        let span = parse_duration(&per_text)
            .ok_or_else(|| per.error(format!("'{per_text}' is no duration such as PT1M")))?;
        Ok(Self {
            most: whole(most, &read(most)?)?,
            per: Duration::from_micros(u64::try_from(span.micros).unwrap_or(0)),
        })
    }
}

impl Window {
    /// What is the most that one request may ever count for.
    fn least(&self) -> Option<usize> {
        match self {
            Self::Moving { rates, .. } => rates.iter().map(|rate| rate.most).min(),
            Self::Fixed { rate, .. } => Some(rate.most),
            Self::Unlimited => None,
        }
    }

    /// As they are shared with other processes. A fixed window is kept to at every moment then, not from
    /// one beginning to the next: processes do not know of each other when theirs began.
    fn rates(&self) -> Vec<permits::Rate> {
        let declared = match self {
            Self::Moving { rates, .. } => rates.as_slice(),
            Self::Fixed { rate, .. } => std::slice::from_ref(rate),
            Self::Unlimited => &[],
        };
        let rates = declared.iter().map(|rate| permits::Rate {
            requests: u32::try_from(rate.most).unwrap_or(u32::MAX),
            per_ms: u64::try_from(rate.per.as_millis()).unwrap_or(u64::MAX).max(1),
        });
        rates.collect()
    }

    fn take(&mut self, weight: usize, now: Duration) -> Option<Duration> {
        match self {
            Self::Unlimited => None,
            Self::Moving { rates, sent } => {
                let longest = rates.iter().map(|rate| rate.per).max().unwrap_or_default();
                while sent.front().is_some_and(|(at, _)| now >= *at + longest) {
                    sent.pop_front();
                }
                let wait = rates.iter().filter_map(|rate| rate.wait(sent, weight, now)).max();
                if wait.is_none() {
                    sent.push_back((now, weight));
                }
                wait
            }
            Self::Fixed { rate, count, ends } => {
                if ends.is_none_or(|ends| now >= ends) {
                    (*count, *ends) = (0, Some(now + rate.per));
                }
                if *count + weight > rate.most {
                    return ends.map(|ends| ends.saturating_sub(now));
                }
                *count += weight;
                None
            }
        }
    }

    /// Answers only ever make a limit narrower than it is declared.
    fn heed(&mut self, now: Duration, left: Option<usize>, told_end: Option<Duration>) {
        match self {
            Self::Unlimited => {}
            Self::Moving { rates, sent } => {
                if left != Some(0) || told_end.is_some() {
                    return;
                }
                let free = rates.iter().map(|rate| rate.free(sent, now)).min().unwrap_or(0);
                if free > 0 {
                    sent.push_back((now, free));
                }
            }
            Self::Fixed { rate, count, ends } => {
                if let Some(left) = left {
                    *count = (*count).max(rate.most.saturating_sub(left));
                }
                if told_end.is_some() {
                    *ends = told_end;
                }
            }
        }
    }
}

impl Rate {
    fn used(&self, sent: &VecDeque<(Duration, usize)>, now: Duration) -> usize {
        let within = sent.iter().filter(|(at, _)| *at + self.per > now);
        within.map(|(_, weight)| weight).sum()
    }

    fn free(&self, sent: &VecDeque<(Duration, usize)>, now: Duration) -> usize {
        self.most.saturating_sub(self.used(sent, now))
    }

    /// How long until `weight` more calls fit.
    fn wait(&self, sent: &VecDeque<(Duration, usize)>, weight: usize, now: Duration) -> Option<Duration> {
        let mut free = self.free(sent, now);
        let mut within = sent.iter().filter(|(at, _)| *at + self.per > now);
        let mut wait = None;
        while free < weight {
            let (at, gone) = within.next()?;
            free += gone;
            wait = Some((*at + self.per).saturating_sub(now));
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn moving(most: usize, per: u64) -> Window {
        Window::Moving {
            rates: vec![Rate { most, per: S(per) }],
            sent: VecDeque::new(),
        }
    }

    #[test]
    fn a_moving_window_lets_heavy_requests_go_when_enough_has_left_it() {
        let mut window = moving(5, 10);
        assert_eq!(window.take(2, S(0)), None);
        assert_eq!(window.take(2, S(4)), None);
        assert_eq!(window.take(3, S(5)), Some(S(5)), "the first two leave at 10");
        assert_eq!(window.take(5, S(5)), Some(S(9)), "all have left at 14");
        assert_eq!(window.take(1, S(5)), None);
        assert_eq!(window.take(1, S(5)), Some(S(5)));
        assert_eq!(window.take(1, S(10)), None);
    }

    #[test]
    fn an_answer_that_says_there_is_nothing_left_fills_the_window() {
        let mut window = moving(3, 10);
        assert_eq!(window.take(1, S(0)), None);
        window.heed(S(1), Some(0), None);
        assert_eq!(window.take(1, S(2)), Some(S(8)));
        assert_eq!(window.take(1, S(10)), None);
        window.heed(S(10), Some(7), None);
        assert_eq!(window.take(1, S(11)), None, "more than there is changes nothing");
    }

    #[test]
    fn a_fixed_window_ends_when_the_source_says() {
        let rate = Rate { most: 2, per: S(60) };
        let mut window = Window::Fixed {
            rate,
            count: 0,
            ends: None,
        };
        assert_eq!(window.take(1, S(0)), None);
        window.heed(S(0), Some(5), Some(S(20)));
        assert_eq!(window.take(1, S(1)), None);
        assert_eq!(window.take(1, S(2)), Some(S(18)));
        assert_eq!(window.take(1, S(20)), None, "counted anew");
        window.heed(S(21), Some(0), None);
        assert_eq!(window.take(1, S(22)), Some(S(58)));
    }
}
