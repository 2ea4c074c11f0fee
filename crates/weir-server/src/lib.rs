//! A thin face over the control store: REST under `/api/v1`, health for whoever watches the process.
//! It decides nothing: a handler parses, calls a use case of `weir-control`, and renders.

mod api;
mod guard;
mod health;
mod input;
mod limits;
mod listening;
mod metrics;
mod observe;
mod policy;
mod problem;
#[cfg(test)]
mod tests;
mod worker_rpc;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::routing::get;
use axum::{Router, middleware};
use weir_control::Store;
use weir_control::connectors::{ConnectorInfo, Prober};
use weir_control::policies::InForce;
use weir_control::rpc::Office;
use weir_protocol::{Error, Result};

pub use limits::REQUESTS_PER_MINUTE_DEFAULT;
pub use listening::{Identity, Listening};
pub use problem::status_of;

use limits::Limits;
use listening::Peer;
use metrics::Metrics;

/// Where the server listens if nobody says otherwise: not reachable from other machines.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7373);

/// What a server is given.
#[derive(Clone)]
pub struct Settings {
    /// What the catalog has.
    pub catalog: Vec<ConnectorInfo>,
    /// Asks connections whether they answer; without one nobody can ask.
    pub prober: Option<Prober>,
    /// Answers workers elsewhere; without one there are none.
    pub office: Option<Office>,
    /// Requests that each token may make.
    pub requests_per_minute: std::num::NonZeroU32,
    /// What is finer than roles.
    pub policies: Arc<InForce>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            catalog: Vec::new(),
            prober: None,
            office: None,
            requests_per_minute: REQUESTS_PER_MINUTE_DEFAULT,
            policies: Arc::default(),
        }
    }
}

/// What handlers need.
#[derive(Clone)]
pub struct ServerState {
    pub store: Store,
    pub(crate) catalog: Arc<[ConnectorInfo]>,
    pub(crate) prober: Option<Prober>,
    pub(crate) office: Option<Office>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) policies: Arc<InForce>,
}

impl ServerState {
    pub fn new(store: Store, settings: Settings) -> Self {
        Self {
            store,
            catalog: settings.catalog.into(),
            prober: settings.prober,
            office: settings.office,
            limits: Arc::new(Limits::new(settings.requests_per_minute)),
            metrics: Arc::new(Metrics::new()),
            policies: settings.policies,
        }
    }
}

/// All routes.
pub fn router(state: ServerState) -> Router {
    let open = Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/api/v1/openapi.json", get(api::document));
    open.merge(api::routes(&state))
        .merge(worker_rpc::routes())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(middleware::from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}

/// Answers until `shutdown` ends, then finishes the requests that are under way.
pub async fn serve(
    listener: Listening,
    state: ServerState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let service = router(state).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service)
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(|error| {
            Error::internal("the server broke off")
                .caused_by(error)
                .hint("start it again; report it if it comes back")
        })
}
