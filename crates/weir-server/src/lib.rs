//! A thin face over the control store: REST under `/api/v1`, health for whoever watches the process.
//! It decides nothing: a handler parses, calls a use case of `weir-control`, and renders.

mod api;
mod approval_page;
mod guard;
mod health;
mod hooks;
mod html;
mod input;
mod limits;
mod listening;
mod login;
pub mod loopback;
mod mcp;
mod metrics;
mod oauth_callback;
mod observe;
mod policy;
mod problem;
#[cfg(test)]
mod tests;
mod worker_rpc;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Router, middleware};
use weir_control::Store;
use weir_control::audit::SealKey;
use weir_control::bundles;
use weir_control::calls;
use weir_control::connectors::{ConnectorInfo, Prober};
use weir_control::hooks as messages;
use weir_control::oauth::Desk;
use weir_control::policies::InForce;
use weir_control::rpc::Office;
use weir_control::secrets::Vault;
use weir_control::states;
use weir_protocol::{Error, Result};

pub use limits::REQUESTS_PER_MINUTE_DEFAULT;
pub use listening::{Identity, Listening};
pub use login::Login;
pub use mcp::{Data, DataDesk, McpSettings, Preview, Who, serve_stdio};
pub use problem::status_of;

use limits::Limits;
use listening::Peer;
use metrics::Metrics;

/// Where the server listens if nobody says otherwise: not reachable from other machines.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7373);

pub type TraceJoin = fn(&axum::http::HeaderMap, &tracing::Span);

/// What a server is given.
#[derive(Clone)]
pub struct Settings {
    /// What the catalog has.
    pub catalog: Vec<ConnectorInfo>,
    /// Asks connections whether they answer; without one nobody can ask.
    pub prober: Option<Prober>,
    /// Answers workers elsewhere; without one there are none.
    pub office: Option<Office>,
    /// Connects connections; without one, only commands do.
    pub oauth: Option<Desk>,
    /// Makes calls of actions; without one there are none.
    pub calls: Option<calls::Desk>,
    /// Makes several calls as one; without one there are no bundles.
    pub bundles: Option<bundles::Desk>,
    /// Takes in what outside systems send; without one nothing is received.
    pub hooks: Option<messages::Desk>,
    /// The lake and the sources, for tools; without it there are none for them.
    pub data: Option<DataDesk>,
    /// Sets where streams are read on from; without one, only commands do.
    pub states: Option<states::Desk>,
    /// How MCP clients meet the server.
    pub mcp: McpSettings,
    /// Logs people in; without one, only tokens are taken.
    pub login: Option<Login>,
    /// Those that alerts may be sent to.
    pub channels: Vec<String>,
    /// Opens the store's secrets; without it nothing can be signed anew.
    pub vault: Option<Arc<dyn Vault>>,
    /// Signs exports of audit trails, and says which signatures are right; without it, neither.
    pub audit_key: Option<Arc<SealKey>>,
    /// The public keys with which the trail may be signed: that one's, and those before it.
    pub audit_keys: Vec<String>,
    /// Joins a request's span to the trace that its headers name.
    pub trace_join: Option<TraceJoin>,
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
            oauth: None,
            calls: None,
            bundles: None,
            hooks: None,
            data: None,
            states: None,
            mcp: McpSettings::default(),
            login: None,
            channels: Vec::new(),
            vault: None,
            audit_key: None,
            audit_keys: Vec::new(),
            trace_join: None,
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
    pub(crate) oauth: Option<Desk>,
    pub(crate) calls: Option<calls::Desk>,
    pub(crate) bundles: Option<bundles::Desk>,
    pub(crate) hooks: Option<messages::Desk>,
    pub(crate) data: Option<DataDesk>,
    pub(crate) states: Option<states::Desk>,
    pub(crate) mcp: Arc<McpSettings>,
    pub(crate) login: Option<Login>,
    pub(crate) channels: Arc<[String]>,
    pub(crate) vault: Option<Arc<dyn Vault>>,
    pub(crate) audit_key: Option<Arc<SealKey>>,
    pub(crate) audit_keys: Arc<[String]>,
    pub(crate) trace_join: Option<TraceJoin>,
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
            oauth: settings.oauth,
            calls: settings.calls,
            bundles: settings.bundles,
            hooks: settings.hooks,
            data: settings.data,
            states: settings.states,
            mcp: Arc::new(settings.mcp),
            login: settings.login,
            channels: settings.channels.into(),
            vault: settings.vault,
            audit_key: settings.audit_key,
            audit_keys: settings.audit_keys.into(),
            trace_join: settings.trace_join,
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
        .route("/hooks/{connection}", get(hooks::own).post(hooks::own))
        .route(
            "/hooks/{tenant}/{connection}",
            get(hooks::of_tenant).post(hooks::of_tenant),
        )
        .route("/oauth/callback", get(oauth_callback::answered))
        .route(
            "/approvals/{id}",
            get(approval_page::show).post(approval_page::decide),
        )
        .route("/style.css", get(html::style))
        .route("/login", get(login::begin))
        .route("/login/callback", get(login::finish))
        .route("/logout", post(login::end))
        .route("/api/v1/openapi.json", get(api::document));
    open.merge(api::routes(&state))
        .merge(worker_rpc::routes())
        .merge(mcp::routes(&state))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(middleware::from_fn_with_state(state.clone(), health::only_fit))
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
