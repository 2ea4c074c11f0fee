//! Who comes in at `/mcp`: an OAuth 2.1 resource server (RFC 9728). Its tokens are weir's own and, where the project
//! says so, access tokens of the identity provider.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{Extensions, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_control::sessions::LoginDesk;
use weir_control::{Access, Permission, principals};
use weir_protocol::{Error, json};

use super::{MESSAGE_BYTES_MAX, McpSettings, PATH, tools};
use crate::ServerState;
use crate::guard;
use crate::login::Login;
use crate::observe::RequestId;
use crate::problem::Problem;

/// JSON-RPC's code of a message that is none.
const INVALID_REQUEST: i32 = -32600;

/// What weir's tools ask for. A client that wants to do more than that is told what to ask for when it does.
const SCOPES: [Permission; 6] = [
    Permission::ConnectionsRead,
    Permission::DataRead,
    Permission::RunsRead,
    Permission::RunsWrite,
    Permission::ActionsRead,
    Permission::ActionsWrite,
];

/// What a client needs to know to get in. Where no authorization server is named, nobody hands out tokens but weir
/// itself, by `weir token create`.
#[derive(Serialize)]
pub(super) struct Metadata {
    /// What tokens have to be for.
    resource: String,
    resource_name: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorization_servers: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    scopes_supported: [&'static str; SCOPES.len()],
}

/// Who takes access tokens of the identity provider.
fn desk(state: &ServerState) -> Option<&LoginDesk> {
    state.login.as_ref().and_then(Login::access_tokens)
}

pub(super) async fn metadata(State(state): State<ServerState>) -> Json<Metadata> {
    let issuer = desk(&state).map(|desk| desk.issuer().to_owned());
    Json(Metadata {
        resource: state.mcp.resource(),
        resource_name: "weir",
        authorization_servers: issuer.into_iter().collect(),
        bearer_methods_supported: ["header"],
        scopes_supported: SCOPES.map(Permission::as_str),
    })
}

fn place(settings: &McpSettings) -> String {
    format!(
        "resource_metadata=\"{}/.well-known/oauth-protected-resource{PATH}\"",
        settings.base()
    )
}

fn words(scopes: &[Permission]) -> String {
    let words: Vec<&str> = scopes.iter().copied().map(Permission::as_str).collect();
    words.join(" ")
}

/// How to get in. Which scopes to ask for is said where somebody can be asked.
fn challenge(state: &ServerState, is_wrong: bool) -> String {
    let error = if is_wrong { ", error=\"invalid_token\"" } else { "" };
    let scope = match desk(state) {
        Some(_) => format!(", scope=\"{}\"", words(&SCOPES)),
        None => String::new(),
    };
    format!("Bearer realm=\"weir\"{error}{scope}, {}", place(&state.mcp))
}

/// A token that is right, and lacks what its holder could give it.
fn step_up(state: &ServerState, scopes: &[Permission]) -> Problem {
    let scope = words(scopes);
    let challenge = format!(
        "Bearer realm=\"weir\", error=\"insufficient_scope\", scope=\"{scope}\", {}",
        place(&state.mcp)
    );
    let error = Error::denied("the access token lacks a scope that this needs")
        .with("scope", scope)
        .hint("get a token with the scope from the authorization server, and ask again");
    Problem::from(error).with_challenge(&challenge)
}

/// Lets known callers in, not too often. What each may do is asked where it is done. A browser's session is
/// not taken: a page could send it without the person's knowing. The token goes no further.
pub(super) async fn guard(
    State(state): State<ServerState>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let is_shown = parts.headers.contains_key(AUTHORIZATION);
    let access = guard::access(&state, &parts)
        .await
        .map_err(|problem| problem.with_challenge_where_unauthorized(&challenge(&state, is_shown)))?;
    let counted = state.limits.request(access.token.as_deref().unwrap_or_default());
    counted.map_err(|wait| Problem::too_many("this token makes too many requests", wait))?;
    let message = to_bytes(body, MESSAGE_BYTES_MAX).await.map_err(|_| {
        let error = Error::limit(format!("the message has more than {MESSAGE_BYTES_MAX} bytes"));
        Problem::from(error.hint("send less at once"))
    })?;
    if let Err(error) = json::refuse_twice("the message", &message) {
        return Ok(unclear(&error));
    }
    refuse_withheld(&state, &access, &parts.extensions, &message).await?;
    parts.headers.remove(AUTHORIZATION);
    parts.extensions.insert(access);
    Ok(next.run(Request::from_parts(parts, Body::from(message))).await)
}

/// Which call is meant is not said: the reader of such a message would take one of the two values.
fn unclear(error: &Error) -> Response {
    let message = format!("{}; {}", error.message(), error.next_step().unwrap_or_default());
    let refusal =
        json!({ "jsonrpc": "2.0", "id": null, "error": { "code": INVALID_REQUEST, "message": message } });
    (StatusCode::BAD_REQUEST, Json(refusal)).into_response()
}

/// As much of a message as says what is asked for.
#[derive(Deserialize)]
struct Message {
    method: String,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<String>,
}

/// What a message needs; None for what everybody may ask. One that cannot be read is refused further in.
fn needed(message: &[u8]) -> Option<Permission> {
    let message: Message = serde_json::from_slice(message).ok()?;
    match message.method.as_str() {
        "tools/call" => Some(tools::permission(&message.params?.name?)),
        "tasks/get" | "tasks/update" => Some(Permission::ActionsRead),
        "tasks/cancel" => Some(Permission::ActionsWrite),
        _ => None,
    }
}

/// Refuses what the holder of an access token may do and the token may not: only here can a client be told which
/// scope to ask for.
async fn refuse_withheld(
    state: &ServerState,
    access: &Access,
    extensions: &Extensions,
    message: &[u8],
) -> Result<(), Problem> {
    let withheld = access.withheld();
    if withheld.is_empty() {
        return Ok(());
    }
    let wanted = needed(message).filter(|permission| withheld.contains(permission));
    if let Some(permission) = wanted {
        let request = extensions.get::<RequestId>().map(|id| id.0.as_str());
        let acting = access.acting(request);
        principals::note_refusal(&state.store, acting, access, permission, "route:/mcp").await?;
    }
    let scopes: Vec<Permission> = SCOPES
        .into_iter()
        .filter(|scope| withheld.contains(scope))
        .collect();
    // With no role that gives one of these, no scope would help.
    if access.permissions.is_empty() && !scopes.is_empty() {
        return Err(step_up(state, &scopes));
    }
    wanted.map_or(Ok(()), |permission| Err(step_up(state, &[permission])))
}
