//! Keeps a lease alive while its stream is synced.

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use weir_protocol::{Error, ErrorKind};

use crate::leases::{HEARTBEAT, LEASE_TIME, Lease};
use crate::ledger::{Renewed, SharedLedger};

/// Renews a lease until it is dropped, or until the lease is lost.
pub(super) struct Heartbeat {
    lost: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Heartbeat {
    /// `cancel` is called when somebody asked the run to stop.
    pub(super) fn start(ledger: SharedLedger, lease: Lease, cancel: CancellationToken) -> Self {
        let lost = CancellationToken::new();
        let task = tokio::spawn(beat(ledger, lease, lost.clone(), cancel));
        Self {
            lost,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits until the lease is lost.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }
}

async fn beat(ledger: SharedLedger, lease: Lease, lost: CancellationToken, cancel: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed_at = Instant::now();
    loop {
        ticks.tick().await;
        let asked_at = Instant::now();
        match ledger.renew(&lease).await {
            Ok(Renewed::Held { is_cancel_asked, .. }) => {
                renewed_at = asked_at;
                if is_cancel_asked {
                    cancel.cancel();
                }
            }
            // A store that is busy for a moment costs nothing as long as the lease holds.
            Err(error) if renewed_at.elapsed() + HEARTBEAT < LEASE_TIME => {
                tracing::warn!(run = lease.run, stream = lease.stream, %error, "heartbeat failed");
            }
            Ok(Renewed::Lost) | Err(_) => {
                tracing::error!(run = lease.run, stream = lease.stream, "lease lost");
                lost.cancel();
                return;
            }
        }
    }
}

pub(super) fn lost(lease: &Lease) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the lease could not be kept, so the stream was stopped",
    )
    .with("run", &lease.run)
    .with("stream", &lease.stream)
    .hint("what was committed stays; `weir run list` shows whether another run took over")
}
