//! A connection whose account a person has to connect first: the client is asked to send somebody to a page
//! of weir's own. No credential, code or token of the vendor goes through the client, and the page is worth nothing
//! to who is not logged in there.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, ElicitRequest, ElicitRequestParams,
    ErrorCode, InputRequest, InputRequiredResult, ProtocolVersion,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::json;
use uuid::Uuid;
use weir_control::Access;
use weir_control::calls::Offer;
use weir_control::oauth::Desk;
use weir_control::policies::Target;
use weir_control::principals::{Permission, may};
use weir_control::questions;
use weir_protocol::{Error, ErrorKind, Result};

use super::actions::CALL;
use super::caller::Caller;
use super::{VIA, answers};
use crate::input::Named;
use crate::{ServerState, html, login};

/// URLElicitationRequiredError of the revision 2025-11-25; the newer one answers instead.
const URL_ELICITATION_REQUIRED: ErrorCode = ErrorCode(-32042);
/// What the client is asked for, by this name.
const QUESTION: &str = "connect_account";

/// How a client can be asked to send a person somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elicits {
    /// With the answer to its call; it asks again afterwards.
    WithAnswer,
    /// With an error of the protocol of its own, as the revision before has it.
    WithError,
    /// It is told where, and that is all.
    No,
}

impl Elicits {
    pub(super) fn of(context: &RequestContext<RoleServer>, capabilities: &ClientCapabilities) -> Self {
        let newer = ProtocolVersion::V_2026_07_28;
        let is_new = context
            .protocol_version()
            .is_some_and(|version| version.as_str() >= newer.as_str());
        let opens_pages = capabilities
            .elicitation
            .as_ref()
            .is_some_and(|elicitation| elicitation.url.is_some());
        match (opens_pages, is_new) {
            (true, true) => Self::WithAnswer,
            (true, false) => Self::WithError,
            (false, _) => Self::No,
        }
    }
}

/// The request in one form for one meaning: what a question is bound to.
fn about(request: &CallToolRequestParams) -> String {
    let arguments = request.arguments.clone().unwrap_or_default();
    let sorted: BTreeMap<String, serde_json::Value> = arguments.into_iter().collect();
    json!({ "tool": request.name, "arguments": sorted }).to_string()
}

/// Takes back what the client shows of an earlier round: once, from the same caller, for the same call.
pub(super) async fn check_state(caller: &Caller, request: &CallToolRequestParams) -> Result<(), ErrorData> {
    let Some(shown) = &request.request_state else {
        return Ok(());
    };
    let taken = questions::take(&caller.state.store, &caller.access, &about(request), shown).await;
    taken.map(drop).map_err(|error| match error.kind() {
        ErrorKind::Denied => ErrorData::invalid_params(error.message().to_owned(), None),
        _ => ErrorData::internal_error(error.message().to_owned(), None),
    })
}

/// Where a person connects a connection's account.
fn url(state: &ServerState, connection: &str) -> String {
    format!("{}/connect/{connection}", state.mcp.base())
}

/// What a client of the revision 2025-11-25 is told that opens pages: where to, before it asks again.
fn required(message: String, url: &str, call: Option<&str>) -> ErrorData {
    let elicitation = json!({
        "mode": "url",
        "elicitationId": Uuid::now_v7().to_string(),
        "url": url,
        "message": message,
    });
    let data = match call {
        Some(id) => json!({ "elicitations": [elicitation], "call": id }),
        None => json!({ "elicitations": [elicitation] }),
    };
    ErrorData::new(URL_ELICITATION_REQUIRED, message, Some(data))
}

/// What to answer where a call failed as nobody connected the account. None where that is not why.
pub(super) async fn asked(
    caller: &Caller,
    request: &CallToolRequestParams,
    offer: &Offer,
    error: &Error,
    elicits: Elicits,
) -> Result<Option<Result<CallToolResponse, ErrorData>>> {
    let Some(desk) = caller
        .state
        .oauth
        .as_ref()
        .filter(|_| error.kind() == ErrorKind::Auth)
    else {
        return Ok(None);
    };
    let connection = &offer.connection;
    if !desk.waits_for_person(&caller.access, connection).await? {
        return Ok(None);
    }
    let url = url(&caller.state, connection);
    let message = format!("Connection '{connection}' is not connected to its account. Connect it at {url}");
    let mut context = error.context().iter();
    let call = context.find(|(key, _)| *key == CALL).map(|(_, id)| id);
    if elicits == Elicits::WithError {
        return Ok(Some(Err(required(message, &url, call.map(String::as_str)))));
    }
    if elicits == Elicits::No {
        let told =
            Error::auth(message).hint("have a person open that page and consent, then call the tool again");
        let told = match call {
            Some(id) => told.with(CALL, id),
            None => told,
        };
        return Ok(Some(Ok(answers::failed(&told.with("url", url)).into())));
    }
    let store = &caller.state.store;
    let kept = json!({ "connection": connection });
    let shown = questions::ask(store, &caller.access, &about(request), &kept).await?;
    let params = ElicitRequestParams::UrlElicitationParams {
        meta: None,
        message: format!("Connect '{connection}' to its account, then let the call go on."),
        url,
        // The revision that has this answer has no such id any more.
        elicitation_id: String::new(),
    };
    let input = InputRequest::Elicitation(ElicitRequest::new(params));
    let asked = BTreeMap::from([(QUESTION.to_owned(), input)]);
    let result = InputRequiredResult::new(Some(asked), Some(shown.expose().to_owned()));
    Ok(Some(Ok(result.into())))
}

/// `/connect/{connection}`: says what it is about, with a button. Opening it changes nothing, so that no other
/// page can have a browser begin a consent.
pub(super) async fn page(
    State(state): State<ServerState>,
    headers: HeaderMap,
    Named(connection): Named<String>,
) -> Response {
    match allowed(&state, &headers, &connection).await {
        Ok(Some(access)) => {
            let who = format!("You are logged in as {}.", access.principal);
            let what = format!(
                "weir will use connection '{connection}' with the account that you choose at its provider."
            );
            let button = "<form method=\"post\"><button>Connect</button></form>\n";
            html::form(StatusCode::OK, "Connect an account", &[&who, &what], button)
        }
        Ok(None) => log_in_first(&state, &connection),
        Err(error) => html::failure(&error),
    }
}

/// The button: begins the consent of whoever is logged in here and may do it.
pub(super) async fn begin(
    State(state): State<ServerState>,
    headers: HeaderMap,
    Named(connection): Named<String>,
) -> Response {
    match begun(&state, &headers, &connection).await {
        Ok(response) => response,
        Err(error) => html::failure(&error),
    }
}

async fn begun(state: &ServerState, headers: &HeaderMap, connection: &str) -> Result<Response> {
    let Some(access) = allowed(state, headers, connection).await? else {
        return Ok(log_in_first(state, connection));
    };
    if let Some(login) = &state.login {
        login.check_origin(headers)?;
    }
    let started = desk(state, connection)?.start(&access, connection).await?;
    let link = format!(
        "<p><a href=\"{}\">Go on at the provider</a></p>\n",
        html::escaped(&started.authorize_url)
    );
    let text = "Consent there within ten minutes. You come back here by yourself.";
    Ok(html::page(StatusCode::OK, "One step is left", &[text], &link))
}

fn desk<'a>(state: &'a ServerState, connection: &str) -> Result<&'a Desk> {
    state.oauth.as_ref().ok_or_else(|| {
        Error::not_found("this server connects nothing").hint(format!("use `weir auth login {connection}`"))
    })
}

/// Who is logged in here and may connect this connection; None where nobody is.
async fn allowed(state: &ServerState, headers: &HeaderMap, connection: &str) -> Result<Option<Access>> {
    desk(state, connection)?;
    let Some(access) = login::access_if_any(state, headers).await? else {
        return Ok(None);
    };
    may(&access, Permission::ConnectionsWrite)?;
    let store = state.store.acting_as(access.acting(None));
    let target = Target::Connection(connection.to_owned());
    let permission = Permission::ConnectionsWrite;
    state
        .policies
        .check(&store, &access, permission, &target, VIA)
        .await?;
    Ok(Some(access))
}

fn log_in_first(state: &ServerState, connection: &str) -> Response {
    if state.login.is_none() {
        let text =
            format!("Whoever runs weir connects it where the project is: weir auth login {connection}");
        let why = "Nobody logs in to this server with a browser.";
        return html::page(StatusCode::FORBIDDEN, "Not here", &[&text, why], "");
    }
    let text =
        "Log in, then open this page again: connecting an account is for people who may change connections.";
    let link = "<p><a href=\"/login\">Log in</a></p>\n";
    html::page(StatusCode::UNAUTHORIZED, "Log in first", &[text], link)
}
