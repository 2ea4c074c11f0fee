//! MCP: the tenant's actions and data as tools of agents, at `/mcp` and over standard input and output.
//! Nothing is decided here: a tool's call goes the way of its twin in the API. `docs/guides/agents.md`.

mod actions;
mod answers;
mod bundles;
mod caller;
mod conformance;
mod connect;
mod data;
mod door;
mod face;
mod listing;
mod stdio;
mod tasks;
mod tools;

use std::sync::Arc;

use axum::routing::get;
use axum::{Router, middleware};
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

pub use caller::Who;
pub use data::{Data, DataDesk, Preview};
pub use stdio::serve_stdio;

use crate::ServerState;
use conformance::Fixtures;
use face::Face;

/// How policies and audit records name what comes this way.
const VIA: &str = "mcp";
const PATH: &str = "/mcp";
/// Bytes that a message may have.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// From where browsers on the same machine may speak.
const LOOPBACK_ORIGINS: [&str; 3] = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"];
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How the server is met by MCP clients.
#[derive(Debug, Clone)]
pub struct McpSettings {
    /// Where clients and browsers find the server, without a path.
    pub base: String,
    /// Origins of pages elsewhere that may speak to it: `https://agents.example.com:443`.
    pub origins: Vec<String>,
    /// Serves the fixtures of the official conformance suite instead of anything of a tenant, to anybody.
    pub conformance: bool,
}

impl Default for McpSettings {
    fn default() -> Self {
        Self {
            base: format!("http://{}", crate::DEFAULT_ADDRESS),
            origins: Vec::new(),
            conformance: false,
        }
    }
}

impl McpSettings {
    pub(crate) fn base(&self) -> &str {
        self.base.trim_end_matches('/')
    }

    /// What access tokens are for that are shown to it, in its canonical form (RFC 8707).
    fn resource(&self) -> String {
        format!("{}{PATH}", self.base())
    }

    /// Scheme, host and port of the server's own pages.
    fn own_origin(&self) -> String {
        let (scheme, rest) = self.base().split_once("://").unwrap_or(("http", self.base()));
        let host = rest.split('/').next().unwrap_or_default();
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = match (has_port, scheme) {
            (true, _) => "",
            (false, "https") => ":443",
            (false, _) => ":80",
        };
        format!("{scheme}://{host}{port}")
    }

    /// What the transport checks before anything is read: who was meant, and what page it comes from.
    fn transport(&self) -> StreamableHttpServerConfig {
        let own = self.own_origin();
        let host = own.split_once("://").map_or("", |(_, host)| host);
        // A port may have been mapped on the way; the name is what a page cannot choose.
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let hosts = LOOPBACK_HOSTS.into_iter().chain([name]);
        let given = self.origins.iter().map(String::as_str);
        let origins = LOOPBACK_ORIGINS.into_iter().chain([own.as_str()]).chain(given);
        StreamableHttpServerConfig::default()
            .with_allowed_hosts(hosts)
            .with_allowed_origins(origins)
            .enforce_origin_validation()
            .with_max_request_body_bytes(MESSAGE_BYTES_MAX)
            // Any server of several answers any request: nothing is kept between two of them. Only what the
            // older revision asks of a client in the middle of a request needs more, and only fixtures do that.
            .with_legacy_session_mode(self.conformance)
            .with_json_response(!self.conformance)
    }
}

fn service<H: ServerHandler + Clone>(
    settings: &McpSettings,
    handler: H,
) -> StreamableHttpService<H, LocalSessionManager> {
    StreamableHttpService::new(
        move || Ok(handler.clone()),
        Arc::new(LocalSessionManager::default()),
        settings.transport(),
    )
}

pub(crate) fn routes(state: &ServerState) -> Router<ServerState> {
    let settings = &state.mcp;
    let router = Router::new()
        .route("/.well-known/oauth-protected-resource", get(door::metadata))
        .route("/.well-known/oauth-protected-resource/mcp", get(door::metadata))
        .route("/connect/{connection}", get(connect::page).post(connect::begin));
    if settings.conformance {
        return router.route_service(PATH, service(settings, Fixtures::new(state)));
    }
    let guard = middleware::from_fn_with_state(state.clone(), door::guard);
    let face = Face::new(state.clone());
    let guarded = Router::new()
        .route_service(PATH, service(settings, face))
        .route_layer(guard);
    router.merge(guarded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_origin_has_a_port() {
        for (base, expected) in [
            ("http://127.0.0.1:7373", "http://127.0.0.1:7373"),
            ("https://weir.example.com/", "https://weir.example.com:443"),
            ("https://weir.example.com:8443", "https://weir.example.com:8443"),
            ("http://[::1]:7373", "http://[::1]:7373"),
        ] {
            let settings = McpSettings {
                base: base.to_owned(),
                ..McpSettings::default()
            };
            assert_eq!(settings.own_origin(), expected);
        }
    }
}
