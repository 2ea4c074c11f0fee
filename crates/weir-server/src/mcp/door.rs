//! Who comes in at `/mcp`: an OAuth 2.1 resource server (RFC 9728) whose tokens are weir's own.

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use serde::Serialize;
use weir_control::Permission;

use super::{McpSettings, PATH};
use crate::ServerState;
use crate::guard;
use crate::problem::Problem;

/// What a client needs to know to get in. No authorization server is named: nobody hands out tokens but weir
/// itself, by `weir token create`.
#[derive(Serialize)]
pub(super) struct Metadata {
    /// What tokens have to be for.
    resource: String,
    resource_name: &'static str,
    bearer_methods_supported: [&'static str; 1],
    scopes_supported: [&'static str; Permission::ALL.len()],
}

pub(super) async fn metadata(State(state): State<ServerState>) -> Json<Metadata> {
    Json(Metadata {
        resource: format!("{}{PATH}", state.mcp.base()),
        resource_name: "weir",
        bearer_methods_supported: ["header"],
        scopes_supported: Permission::ALL.map(Permission::as_str),
    })
}

fn challenge(settings: &McpSettings, is_wrong: bool) -> String {
    let error = if is_wrong { ", error=\"invalid_token\"" } else { "" };
    format!(
        "Bearer realm=\"weir\"{error}, resource_metadata=\"{}/.well-known/oauth-protected-resource{PATH}\"",
        settings.base()
    )
}

/// Lets known callers in, not too often. What each may do is asked where it is done. A browser's session is
/// not taken: a page could send it without the person's knowing.
pub(super) async fn guard(
    State(state): State<ServerState>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let is_shown = parts.headers.contains_key(axum::http::header::AUTHORIZATION);
    let access = guard::access(&state, &parts)
        .await
        .map_err(|problem| problem.with_challenge_where_unauthorized(&challenge(&state.mcp, is_shown)))?;
    let counted = state.limits.request(access.token.as_deref().unwrap_or_default());
    counted.map_err(|wait| Problem::too_many("this token makes too many requests", wait))?;
    parts.extensions.insert(access);
    Ok(next.run(Request::from_parts(parts, body)).await)
}
