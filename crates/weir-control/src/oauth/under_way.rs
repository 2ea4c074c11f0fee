//! Refreshes that go on where their callers went away: what a provider granted is stored, or it is lost.

use std::sync::LazyLock;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

static UNDER_WAY: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

pub(super) fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    UNDER_WAY.spawn(work)
}

/// Waits for the refreshes of this process that are under way. Whoever ends a runtime waits for it before: a
/// provider that rotates refresh tokens voids the old one with an answer that nobody would store. It takes as
/// long as a provider has to answer, 50 seconds at most, and the storing.
pub async fn settled() {
    UNDER_WAY.close();
    UNDER_WAY.wait().await;
    // Others in this process may begin one still.
    UNDER_WAY.reopen();
}
