//! Deaths in tests: a process that dies does nothing from one await on.

use std::pin::pin;
use std::task::Poll;

/// Lets a future be polled so often, then drops it: what it would have done next never happens.
pub(crate) async fn killed_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
