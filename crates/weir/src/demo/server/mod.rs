//! A local API server that behaves as GitHub's documented REST API does, as far as a sync sees it:
//! paging by Link headers, `since`, ETags, rate-limit headers, tokens, a 429 on the way.

mod guard;
mod lists;
mod paging;
mod small;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_protocol::{Error, Result};

use super::dataset::{Dataset, Epoch};

/// What the server asks for in `Authorization`.
pub(crate) const TOKEN: &str = "demo-token";

/// Which request is told to wait, as a busy vendor would.
const THROTTLED_REQUEST: u64 = 7;

/// What all requests share.
pub(crate) struct World {
    data: RwLock<Arc<Dataset>>,
    base_url: String,
    requests: AtomicU64,
    throttled: AtomicBool,
    pages: watch::Sender<u64>,
}

/// A running server. Dropping it stops the server.
pub(crate) struct Server {
    world: Arc<World>,
    stop: CancellationToken,
}

impl Server {
    /// Begins to serve the first epoch on a free loopback port.
    pub(crate) async fn start() -> Result<Self> {
        let failed = |error| {
            Error::internal("the demo's API server cannot start")
                .caused_by(error)
                .hint("the demo needs a free port on 127.0.0.1; allow local connections and run it again")
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let world = Arc::new(World {
            data: RwLock::new(Arc::new(Dataset::new(Epoch::First))),
            base_url: format!("http://{address}"),
            requests: AtomicU64::new(0),
            throttled: AtomicBool::new(false),
            pages: watch::Sender::new(0),
        });
        let stop = CancellationToken::new();
        let (app, stopped) = (router(world.clone()), stop.clone());
        tokio::spawn(async move {
            let serving = axum::serve(listener, app).with_graceful_shutdown(stopped.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!(%error, "the demo's API server stopped");
            }
        });
        Ok(Self { world, stop })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.world.base_url
    }

    /// From now on the vendor has the second epoch's data.
    pub(crate) fn advance(&self) {
        let next = Arc::new(Dataset::new(Epoch::Second));
        match self.world.data.write() {
            Ok(mut data) => *data = next,
            Err(poisoned) => *poisoned.into_inner() = next,
        }
    }

    /// Requests answered so far.
    pub(crate) fn requests(&self) -> u64 {
        self.world.requests.load(Ordering::Relaxed)
    }

    /// The number of list pages served so far, as it grows.
    pub(crate) fn pages(&self) -> watch::Receiver<u64> {
        self.world.pages.subscribe()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    fn data(&self) -> Arc<Dataset> {
        match self.data.read() {
            Ok(data) => data.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }
}

fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/repos/{owner}/{name}", get(small::repository))
        .route("/repos/{owner}/{name}/issues", get(lists::issues))
        .route("/repos/{owner}/{name}/issues/comments", get(lists::comments))
        .route(
            "/repos/{owner}/{name}/issues/{number}/comments",
            get(lists::comments_of_issue),
        )
        .route("/repos/{owner}/{name}/pulls", get(small::pulls))
        .route("/repos/{owner}/{name}/commits", get(small::commits))
        .route("/repos/{owner}/{name}/releases", get(small::releases))
        .route("/repos/{owner}/{name}/actions/runs", get(small::workflow_runs))
        .fallback(guard::not_found)
        .layer(from_fn_with_state(world.clone(), guard::guard))
        .with_state(world)
}

#[cfg(test)]
mod tests;
