//! A client's settings, and how connector, connection and defaults become one patience.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use weir_protocol::permits::Permits;
use weir_protocol::spec::{Backoff, Breaker, RateLimit, Reliability};
use weir_protocol::units::{ByteSize, Span};
use weir_protocol::{Error, Result, Secret};

use super::clock::{Clock, SystemClock};
use super::hosts::HostRules;
use super::shared::{ALL_REQUESTS, SharedLimiter, rates};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT_MAX: Duration = Duration::from_secs(15);
const CONCURRENCY: usize = 4;
/// Largest answer where nobody says how much memory there is.
const RESPONSE_MAX_BYTES: u64 = 64 << 20;
/// What an answer may always have, and what it never has unless somebody says `response_max`.
const RESPONSE_MAX_BOUNDS: RangeInclusive<u64> = (16 << 20)..=(256 << 20);
/// Large answers that a connection holds at once.
const LARGE_ANSWERS_MAX: usize = 2;
/// An answer is held whole while its records are typed, written and packed: a part of the memory is all it may have.
const RESPONSE_SHARE: u64 = 4;

/// What applies where neither connector nor connection says anything.
#[derive(Debug, Clone)]
pub struct ReliabilityDefaults {
    /// Tries in all, the first one included.
    pub retry_max_attempts: u32,
    pub retry_base_delay: Duration,
    pub timeout: Duration,
    /// Failures that open the breaker.
    pub breaker_threshold: u32,
    /// Largest answer, in bytes, decompressed.
    pub response_max_bytes: u64,
}

impl ReliabilityDefaults {
    /// The same for a run that may hold `memory_bytes`.
    pub fn within(self, memory_bytes: u64) -> Self {
        let (least, most) = RESPONSE_MAX_BOUNDS.into_inner();
        Self {
            response_max_bytes: (memory_bytes / RESPONSE_SHARE).clamp(least, most),
            ..self
        }
    }
}

impl Default for ReliabilityDefaults {
    fn default() -> Self {
        Self {
            retry_max_attempts: 3,
            retry_base_delay: Duration::from_millis(100),
            timeout: Duration::from_secs(30),
            breaker_threshold: 5,
            response_max_bytes: RESPONSE_MAX_BYTES,
        }
    }
}

/// Resolved reliability: every value is set.
#[derive(Debug, Clone)]
pub struct Patience {
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Longest wait for an answer to begin, where it is shorter than that for the whole.
    pub answer_timeout: Option<Duration>,
    /// Longest silence within an answer's body.
    pub idle_timeout: Duration,
    pub attempts: u32,
    pub backoff: Backoff,
    pub base_delay: Duration,
    pub max_delay: Duration,
    /// Share of requests that may be retries, 0 to 1.
    pub budget: f64,
    pub rate_limit: Option<RateLimit>,
    pub breaker: Breaker,
    pub concurrency: usize,
    pub response_max_bytes: u64,
}

impl Patience {
    /// Each part comes whole from the connection, else from the connector, else from the defaults.
    pub fn resolve(
        connector: &Reliability,
        connection: &Reliability,
        defaults: &ReliabilityDefaults,
    ) -> Result<Self> {
        let timeout = connection
            .timeout
            .or(connector.timeout)
            .map_or(defaults.timeout, Span::get);
        let connect_timeout = connection.connect_timeout.or(connector.connect_timeout);
        let retry = connection.retry.clone().or_else(|| connector.retry.clone());
        let defaulted = retry.is_none();
        let retry = retry.unwrap_or_default();
        let breaker = connection.breaker.clone().or_else(|| connector.breaker.clone());
        let response_max = connection.response_max.or(connector.response_max);
        Ok(Self {
            timeout,
            connect_timeout: connect_timeout.map_or(CONNECT_TIMEOUT, Span::get).min(timeout),
            answer_timeout: None,
            idle_timeout: timeout.min(IDLE_TIMEOUT_MAX),
            attempts: if defaulted {
                defaults.retry_max_attempts
            } else {
                retry.attempts
            }
            .max(1),
            backoff: retry.backoff,
            base_delay: if defaulted {
                defaults.retry_base_delay
            } else {
                retry.base.get()
            },
            max_delay: retry.max.get(),
            budget: share(&retry.budget)?,
            rate_limit: connection
                .rate_limit
                .clone()
                .or_else(|| connector.rate_limit.clone()),
            breaker: breaker.unwrap_or_else(|| Breaker {
                failures: defaults.breaker_threshold,
                ..Breaker::default()
            }),
            concurrency: connection
                .concurrency
                .or(connector.concurrency)
                .unwrap_or(CONCURRENCY)
                .max(1),
            // Spans within an answer are 32 bits wide.
            response_max_bytes: response_max
                .map_or(defaults.response_max_bytes, ByteSize::bytes)
                .min(u64::from(u32::MAX)),
        })
    }

    /// The longest wait that is still waited for instead of failing.
    pub fn longest_wait(&self) -> Duration {
        self.max_delay.saturating_mul(10)
    }
}

/// `20%` as 0.2.
fn share(text: &str) -> Result<f64> {
    let number = text
        .trim()
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok());
    match number {
        Some(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(Error::spec(format!("retry budget '{text}' is not a share"))
            .hint("write reliability.retry.budget as a percentage from 0% to 100%, as in 20%")),
    }
}

/// The trace of whatever is done at the moment, as the header `traceparent` names it.
pub type Traceparent = fn() -> Option<String>;

/// Everything a client is made from, but for the authenticator.
#[derive(Clone)]
pub struct ClientSettings {
    pub hosts: HostRules,
    pub patience: Patience,
    pub user_agent: String,
    /// Further root certificates, PEM.
    pub extra_roots_pem: Option<Vec<u8>>,
    pub clock: Arc<dyn Clock>,
    /// What must not be shown, besides what the authenticator knows.
    pub secrets: Vec<Secret>,
    /// Names the trace that a request is of; none where the vendor is not to be told.
    pub traceparent: Option<Traceparent>,
    /// Turns at holding a large answer, however many streams read.
    pub(super) large_answers: Arc<Semaphore>,
    /// The connection's rate, where other processes may send requests for it too.
    pub(crate) shared: Option<Arc<SharedLimiter>>,
}

impl ClientSettings {
    pub fn new(hosts: HostRules, patience: Patience) -> Self {
        Self {
            hosts,
            patience,
            user_agent: concat!("weir/", env!("CARGO_PKG_VERSION")).to_owned(),
            extra_roots_pem: None,
            clock: Arc::new(SystemClock::default()),
            secrets: Vec::new(),
            traceparent: None,
            large_answers: Arc::new(Semaphore::new(LARGE_ANSWERS_MAX)),
            shared: None,
        }
    }

    /// Keeps the rate together with all that draw from the same permits. Set patience and clock before.
    pub fn share(&mut self, permits: Option<Arc<dyn Permits>>) {
        let rates = rates(self.patience.rate_limit.as_ref());
        let clock = self.clock.clone();
        let limiter = |permits| Arc::new(SharedLimiter::new(permits, ALL_REQUESTS, rates, clock));
        self.shared = permits.map(limiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_wins_over_connector_wins_over_defaults() {
        let connector = Reliability {
            timeout: Some("7s".parse().unwrap()),
            retry: Some(weir_protocol::spec::Retry {
                attempts: 9,
                ..Default::default()
            }),
            ..Default::default()
        };
        let connection = Reliability {
            timeout: Some("3s".parse().unwrap()),
            ..Default::default()
        };
        let patience = Patience::resolve(&connector, &connection, &ReliabilityDefaults::default()).unwrap();
        assert_eq!(
            (
                patience.timeout.as_secs(),
                patience.attempts,
                patience.breaker.failures
            ),
            (3, 9, 5)
        );
        let silent = Reliability::default();
        let patience = Patience::resolve(&silent, &silent, &ReliabilityDefaults::default()).unwrap();
        assert_eq!((patience.attempts, patience.base_delay.as_millis()), (3, 100));
    }

    #[test]
    fn an_answer_has_a_part_of_the_memory_unless_somebody_says_how_much() {
        let silent = Reliability::default();
        let largest = |connector: &Reliability, memory_mib: u64| {
            let defaults = ReliabilityDefaults::default().within(memory_mib << 20);
            let patience = Patience::resolve(connector, &silent, &defaults).unwrap();
            patience.response_max_bytes >> 20
        };
        let sizes = [16, 256, 512, 8192].map(|memory_mib| largest(&silent, memory_mib));
        assert_eq!(sizes, [16, 64, 128, 256]);
        let said = Reliability {
            response_max: Some("1GiB".parse().unwrap()),
            ..Reliability::default()
        };
        assert_eq!(largest(&said, 16), 1024);
    }

    #[test]
    fn a_share_is_a_percentage() {
        assert!((share("20%").unwrap() - 0.2).abs() < 1e-9);
        assert!(share("20").is_err());
        assert!(share("120%").is_err());
    }
}
