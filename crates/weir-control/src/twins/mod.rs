//! In-memory twins of a source and a lake, and a world in which processes die at chosen steps.

mod conformance;
mod lake;
mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

pub(crate) use lake::{Lake, Row};
pub(crate) use source::Api;

/// Counts the steps of a process and stops it for good at a chosen one, as kill -9 does: the step
/// never returns, and nothing after it happens.
#[derive(Debug, Default)]
pub(crate) struct Death {
    left: AtomicI64,
    pub(crate) came: Notify,
}

impl Death {
    pub(crate) fn never() -> Arc<Self> {
        Self::at(i64::MAX)
    }

    pub(crate) fn at(step: i64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicI64::new(step),
            came: Notify::new(),
        })
    }

    pub(crate) async fn step(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.came.notify_one();
            std::future::pending::<()>().await;
        }
    }
}
