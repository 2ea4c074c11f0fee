//! What helpers read and nobody took in, because a run died and its stream was never read again.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use weir_protocol::Result;

use crate::wiring::Wiring;

/// How often it is looked for what was left.
const LOOK: Duration = Duration::from_secs(3_600);
/// Longer than any slice is read.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Removes old spools until `stop` is called. A stream's own runs remove what is younger.
pub(crate) async fn keep_swept(wiring: Arc<Wiring>, stop: CancellationToken) {
    loop {
        match sweep(&wiring).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "what helpers read a day ago was removed"),
            Err(error) => tracing::warn!(%error, "cannot look for what helpers left"),
        }
        if tokio::time::timeout(LOOK, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

async fn sweep(wiring: &Wiring) -> Result<usize> {
    wiring.lake()?.sweep_spools(Timestamp::now() - KEPT).await
}
