//! Ctrl-C: the first asks to stop cleanly, the second stops at once.

use tokio_util::sync::CancellationToken;

/// What a process that was stopped by SIGINT exits with.
const INTERRUPTED_EXIT: i32 = 130;

/// A token that is cancelled at the first Ctrl-C or SIGTERM. Needs a runtime.
pub(crate) fn token() -> CancellationToken {
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        stop_asked().await;
        tracing::warn!("stopping after a checkpoint; press Ctrl-C again to stop at once");
        asked.cancel();
        stop_asked().await;
        std::process::exit(INTERRUPTED_EXIT);
    });
    token
}

#[cfg(unix)]
async fn stop_asked() {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => return unheard(&error).await,
    };
    tokio::select! {
        heard = tokio::signal::ctrl_c() => if let Err(error) = heard { unheard(&error).await },
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn stop_asked() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        unheard(&error).await;
    }
}

/// Without a handler the system's own stays: Ctrl-C ends the process, and the next run resumes.
async fn unheard(error: &std::io::Error) {
    tracing::warn!(%error, "cannot listen for Ctrl-C");
    std::future::pending::<()>().await;
}
