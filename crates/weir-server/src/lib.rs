//! A thin face over the control store: REST under `/api/v1`, health for whoever watches the process.
//! It decides nothing: a handler parses, calls a use case of `weir-control`, and renders.

mod api;
mod health;
mod problem;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use weir_control::Store;
use weir_protocol::{Error, Result};

pub use problem::status_of;

/// Where the server listens if nobody says otherwise: not reachable from other machines.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7373);

/// What handlers need.
#[derive(Clone)]
pub struct ServerState {
    pub store: Store,
    /// Whose things are shown.
    pub tenant: String,
}

/// All routes.
pub fn router(state: ServerState) -> Router {
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .nest("/api/v1", api::routes())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .with_state(state)
}

/// Opens the port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::unavailable("cannot listen")
            .with("address", address)
            .caused_by(error)
            .hint("choose another port, or end the program that has it")
    })
}

/// Answers until `shutdown` ends, then finishes the requests that are under way.
pub async fn serve(
    listener: TcpListener,
    state: ServerState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    axum::serve(listener, router(state))
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(|error| {
            Error::internal("the server broke off")
                .caused_by(error)
                .hint("start it again; report it if it comes back")
        })
}
