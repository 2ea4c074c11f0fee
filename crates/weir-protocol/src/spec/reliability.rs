//! How patiently and how politely an outside system is spoken to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// Every field left out falls back to the environment's defaults (`CONNECTOR_*`), then to these.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reliability {
    /// From sending a request to the last byte of its answer. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// For the connection to be made. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// Requests in flight at once, over all streams and slices of a connection. Default 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// Largest answer after decompression. Default: a quarter of the run's memory, from 16MiB to 256MiB (64MiB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_max: Option<ByteSize>,
    /// Most pages of one slice before the read is stopped as endless. Default 1,000,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages_max: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Tries in all, the first one included.
    pub attempts: u32,
    pub backoff: Backoff,
    /// Wait before the second try; grows from there, drawn at random between 0 and its value (full jitter).
    pub base: Span,
    /// Longest wait; a longer Retry-After is honoured up to ten times this, then the run fails.
    pub max: Span,
    /// Retries may be at most this share of the requests of a run (after the first ten).
    pub budget: String,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff: Backoff::Exponential,
            base: Span::from_secs(1),
            max: Span::from_secs(60),
            budget: "20%".to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    Exponential,
    Linear,
    Constant,
}

/// The vendor's quota, kept by us, corrected by what its headers say.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    pub requests: u32,
    pub per: Span,
    /// Header with the requests that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<String>,
    /// Header with the time at which the quota is full again: epoch seconds, or seconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
}

/// Stops asking a system that only fails.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures within `window` that open it.
    pub failures: u32,
    pub window: Span,
    /// How long it stays open before one request may probe.
    pub cooldown: Span,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            window: Span::from_secs(60),
            cooldown: Span::from_secs(30),
        }
    }
}
