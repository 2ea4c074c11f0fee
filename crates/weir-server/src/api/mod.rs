//! REST. One file a noun, one line a route: from the same lines come the router, what each route
//! needs to be allowed, and the document that describes them.

mod access;
mod actions;
mod alerts;
mod approvals;
mod audit;
mod backfills;
mod bundles;
mod calls;
mod connections;
mod connectors;
mod document;
mod endpoint;
mod event_schemas;
mod events;
mod hooks;
mod lifecycle;
mod oauth;
mod page;
mod policies;
mod runs;
mod schedules;
mod secrets;
mod sessions;
mod states;
mod tenants;
mod tokens;
mod webhooks;
mod workers;

use axum::Router;
use axum::routing::MethodRouter;

use crate::ServerState;

pub(crate) use document::document;
pub(crate) use endpoint::Endpoint;

/// Where the API begins.
pub(crate) const BASE: &str = "/api/v1";

/// All routes that need a token.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    [
        connectors::endpoints(),
        connections::endpoints(),
        oauth::endpoints(),
        runs::endpoints(),
        backfills::endpoints(),
        actions::endpoints(),
        calls::endpoints(),
        approvals::endpoints(),
        bundles::endpoints(),
        schedules::endpoints(),
        tokens::endpoints(),
        sessions::endpoints(),
        tenants::endpoints(),
        access::endpoints(),
        workers::endpoints(),
        policies::endpoints(),
        lifecycle::endpoints(),
        events::endpoints(),
        event_schemas::endpoints(),
        webhooks::endpoints(),
        alerts::endpoints(),
        audit::endpoints(),
        states::endpoints(),
        secrets::endpoints(),
        hooks::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn routes(state: &ServerState) -> Router<ServerState> {
    endpoints().into_iter().fold(Router::new(), |router, endpoint| {
        let path = format!("{BASE}{}", endpoint.path);
        let route: MethodRouter<ServerState> = endpoint.guarded(state);
        router.route(&path, route)
    })
}
