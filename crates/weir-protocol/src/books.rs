//! The books of a run: what was read must be accounted for.

use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Record counts of one stream in one run (or one checkpoint of it).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Books {
    /// Records that the source's answers held.
    pub read: u64,
    /// Records that stand in Silver because of this run, inserted or changed.
    pub landed: u64,
    /// Records left out by the stream's filter or by client-side incremental reading.
    pub filtered: u64,
    /// Records that are older than, or equal to, another one of the same key.
    pub deduplicated: u64,
    /// Records held in quarantine with a reason.
    pub quarantined: u64,
}

impl Books {
    /// `read = landed + filtered + deduplicated + quarantined`.
    pub fn balance(&self) -> bool {
        self.read == self.landed + self.filtered + self.deduplicated + self.quarantined
    }
}

impl AddAssign for Books {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.landed += other.landed;
        self.filtered += other.filtered;
        self.deduplicated += other.deduplicated;
        self.quarantined += other.quarantined;
    }
}
