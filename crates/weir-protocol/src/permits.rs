//! Leave to send requests, counted over all processes that work for a connection.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Result;

/// So many requests in any window of so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub requests: u32,
    pub per_ms: u64,
}

/// What one process asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// Which of the connection's limits; each is counted by itself.
    pub limit: String,
    /// All of them hold. None: nothing but the vendor's own waits is kept.
    pub rates: Vec<Rate>,
    /// Names what is drawn: drawn again under the same name, it is the same.
    pub batch: String,
    /// Who asks; the same as long as it lives.
    pub client: String,
    /// With fewer permits than this nothing can be done.
    pub least: u32,
    pub wanted: u32,
    /// What became of the batch before this one.
    pub spent: Option<Spent>,
    /// The vendor asks not to be asked for so long.
    pub hold_ms: Option<u64>,
    /// Whoever asks was answered a moment ago: others' breakers do not hold it back.
    #[serde(default)]
    pub is_well: bool,
    /// What became of the breaker of whoever asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerTold>,
}

/// A circuit breaker opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerTold {
    pub is_open: bool,
    /// No request passes for so long, where it opened.
    pub for_ms: u64,
    /// What opened it, without anything that is secret.
    pub reason: String,
}

/// A batch that is over: what of it was used, and when. The rest was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub batch: String,
    pub uses: Vec<Use>,
}

/// Permits that were used within a short time, the last one so long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub ago_ms: u64,
    pub permits: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drawn {
    /// To be used from `in_ms` after the answer on, until `good_for_ms` more after they were asked for.
    Permits {
        permits: u32,
        in_ms: u64,
        good_for_ms: u64,
    },
    /// The rate is used up for longer: ask again then.
    Wait { wait_ms: u64 },
    /// The vendor asked one of us to wait so long.
    Held { wait_ms: u64 },
    /// The circuit breaker of another of us is open for so long.
    Shut { wait_ms: u64 },
}

/// Whoever keeps the count of a connection's requests.
#[async_trait]
pub trait Permits: Send + Sync {
    /// May be said again, and is, where an answer got lost.
    async fn draw(&self, draw: &Draw) -> Result<Drawn>;
}
