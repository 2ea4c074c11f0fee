//! How far a request got, readable at any moment, also after its sender gave it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A try is on its way, and nothing is known of it yet.
const UNDER_WAY: u8 = 1;
/// Of an earlier try it is not known whether it had its effect.
const UNKNOWN: u8 = 2;

/// Whether a request may have had its effect at the other side though no good answer came. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Delivery(Arc<AtomicU8>);

impl Delivery {
    pub fn may_have_arrived(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// The answer is there, and does not say what happened.
    pub(crate) fn leaves_open(&self) {
        self.0.fetch_or(UNKNOWN, Ordering::AcqRel);
    }

    /// From here on bytes may leave.
    pub(crate) fn begins(&self) {
        self.0.fetch_or(UNDER_WAY, Ordering::AcqRel);
    }

    /// The try ended with an answer that says what happened, or surely never left.
    pub(crate) fn is_known(&self) {
        self.0.fetch_and(!UNDER_WAY, Ordering::AcqRel);
    }

    /// The try ended, and whether it had its effect is not known.
    pub(super) fn is_unknown(&self) {
        if self.0.fetch_and(!UNDER_WAY, Ordering::AcqRel) & UNDER_WAY != 0 {
            self.0.fetch_or(UNKNOWN, Ordering::AcqRel);
        }
    }
}
