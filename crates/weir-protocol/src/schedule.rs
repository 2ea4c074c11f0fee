//! When a connection is synced by itself, and how well that must go.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// A connection's `schedule:`. What is left out, the tier says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSpec {
    /// `critical` (hourly, within 15m, 5 attempts), `standard` (daily, within 2h, 3 attempts) or
    /// `best_effort` (weekly, within 24h, 2 attempts).
    pub tier: Tier,
    /// When it is due: five fields (minute, hour, day, month, weekday), as in `30 6 * * MON-FRI`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// IANA name of the zone that `cron` is read in, as in `Asia/Riyadh`. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// A run has kept its promise when it succeeded so long after it was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Span>,
    /// How often a run is tried before it has failed for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub attempts: Option<u32>,
    /// How the wait between attempts grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Wait before the second attempt. Default: 1m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_base: Option<Span>,
    /// Runs begin up to so long after they are due, each connection at its own moment, so that not
    /// all begin at once. Default: a tenth of the latency, 5m at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// What becomes of runs that were due while nothing ran.
    pub catch_up: CatchUp,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Critical,
    #[default]
    Standard,
    BestEffort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// base, 2 base, 4 base, …
    Exponential,
    /// base, 2 base, 3 base, …
    Linear,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// One run stands for all that were missed: it reads on from where the last one stopped.
    #[default]
    Latest,
    /// Every one is made up for, the oldest first, 100 at most.
    Each,
    /// None; the next one runs when it is due.
    Skip,
}

impl Tier {
    /// Minute, hour, day, month, weekday.
    pub fn cron(self) -> &'static str {
        match self {
            Self::Critical => "0 * * * *",
            Self::Standard => "0 0 * * *",
            Self::BestEffort => "0 0 * * SUN",
        }
    }

    pub fn latency(self) -> Duration {
        Duration::from_secs(match self {
            Self::Critical => 15 * 60,
            Self::Standard => 2 * 3600,
            Self::BestEffort => 24 * 3600,
        })
    }

    pub fn attempts(self) -> u32 {
        match self {
            Self::Critical => 5,
            Self::Standard => 3,
            Self::BestEffort => 2,
        }
    }

    pub fn backoff(self) -> Backoff {
        match self {
            Self::Critical | Self::Standard => Backoff::Exponential,
            Self::BestEffort => Backoff::Linear,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Standard => "standard",
            Self::BestEffort => "best_effort",
        }
    }
}
