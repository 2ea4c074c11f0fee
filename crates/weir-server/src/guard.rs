//! What stands before every route of the API: who asks, may they, not too often, and only once.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Instrument as _;
use weir_control::idempotency::{self, Answer, Begun, Ticket};
use weir_control::principals::{self, Access, Permission, may};
use weir_protocol::{Error, ErrorKind, Secret};

use crate::ServerState;
use crate::input::{entity_tag, matches_tag};
use crate::listening::Peer;
use crate::login::{self, Login};
use crate::observe::RequestId;
use crate::policy;
use crate::problem::Problem;

/// Bytes that a request's body may have.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of an answer that are held to tag it or to give it again; handlers give pages, not more.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Headers of an answer that belong to it when it is given again.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";
pub(crate) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) state: ServerState,
    pub(crate) permission: Permission,
    /// The route's, below the API's beginning.
    pub(crate) path: &'static str,
    /// Whether answers are kept here by their keys; calls of actions keep theirs for longer than that.
    pub(crate) keeps_keys: bool,
    /// Whether the answer is too long to be held: it has no tag then.
    pub(crate) streams: bool,
}

impl Gate {
    fn route(&self) -> (&'static str, Permission) {
        (self.path, self.permission)
    }
}

/// Stands in for an answer's body where it is kept: the true one holds a secret.
#[derive(Clone)]
pub(crate) struct KeptInstead(pub(crate) String);

pub(crate) async fn guard(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let given = request.headers().get(header::AUTHORIZATION).cloned();
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    // A token that is shown is what counts: no browser adds one by itself.
    let session = if given.is_none() {
        login::access(&gate.state, request.headers()).await
    } else {
        None
    };
    let access = match session {
        Some(session) => by_session(&gate.state, session, request.headers(), is_read)?,
        None => known(&gate.state, given, request.extensions()).await?,
    };
    let span = tracing::Span::current();
    let counted = gate
        .state
        .limits
        .request(access.token.as_deref().unwrap_or_default());
    counted.map_err(|wait| Problem::too_many("this token makes too many requests", wait))?;
    refuse_unallowed(&gate, &access, request.extensions()).await?;
    refuse_null(&request)?;
    request.extensions_mut().insert(access.clone());
    if is_read {
        let wanted = request.headers().get(header::IF_NONE_MATCH).cloned();
        let (mut parts, body) = request.into_parts();
        policy::check(&gate.state, &access, gate.route(), &mut parts, None).await?;
        let response = next.run(Request::from_parts(parts, body)).await;
        if gate.streams {
            return Ok(response);
        }
        return tagged(&gate, &access, response, wanted.as_ref()).await;
    }
    // Also where the client goes away: what was begun is ended, and its answer kept.
    let work = async move { change(&gate, &access, request, next).await };
    let ended = tokio::spawn(work.instrument(span)).await;
    ended.unwrap_or_else(|error| {
        Err(Error::internal("the request broke off")
            .caused_by(error)
            .hint("look whether it was done, then send it again; report it")
            .into())
    })
}

/// Who calls outside of the API's routes; what they may do is checked where the call is answered.
pub(crate) async fn access(state: &ServerState, request: &Parts) -> Result<Access, Problem> {
    let given = request.headers.get(header::AUTHORIZATION).cloned();
    known(state, given, &request.extensions).await
}

async fn known(
    state: &ServerState,
    given: Option<HeaderValue>,
    extensions: &Extensions,
) -> Result<Access, Problem> {
    let address = extensions.get::<ConnectInfo<Peer>>();
    let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.0.ip());
    let access = authenticate(state, given, address).await?;
    let span = tracing::Span::current();
    span.record("tenant", access.tenant.as_str());
    span.record("principal", access.principal.as_str());
    Ok(access)
}

/// Refuses what neither roles nor scopes give, and notes who wanted to change something.
async fn refuse_unallowed(gate: &Gate, access: &Access, extensions: &Extensions) -> Result<(), Problem> {
    let Err(error) = may(access, gate.permission) else {
        return Ok(());
    };
    let request = extensions.get::<RequestId>().map(|id| id.0.as_str());
    let subject = format!("route:{}", gate.path);
    let store = &gate.state.store;
    principals::note_refusal(store, access.acting(request), access, gate.permission, &subject).await?;
    Err(Problem::from(error).with_challenge(&challenge_scope(gate.permission)))
}

fn challenge_scope(permission: Permission) -> String {
    format!("Bearer realm=\"weir\", error=\"insufficient_scope\", scope=\"{permission}\"")
}

/// A browser's session. What changes something has to come from weir's own pages.
fn by_session(
    state: &ServerState,
    session: weir_protocol::Result<Access>,
    headers: &HeaderMap,
    is_read: bool,
) -> Result<Access, Problem> {
    let access = session.map_err(|error| match error.kind() {
        ErrorKind::Auth => Problem::unauthorized(error, "Bearer realm=\"weir\""),
        _ => error.into(),
    })?;
    let span = tracing::Span::current();
    span.record("tenant", access.tenant.as_str());
    span.record("principal", access.principal.as_str());
    if let Some(login) = state.login.as_ref().filter(|_| !is_read) {
        login.check_origin(headers)?;
    }
    Ok(access)
}

async fn authenticate(
    state: &ServerState,
    given: Option<HeaderValue>,
    address: IpAddr,
) -> Result<Access, Problem> {
    let Some(given) = given else {
        let error = Error::auth("this needs a token")
            .hint("send `Authorization: Bearer weir_…`; `weir token create` makes a token");
        return Err(Problem::unauthorized(error, "Bearer realm=\"weir\""));
    };
    let token = given.to_str().ok().and_then(bearer).unwrap_or_default();
    let desk = state.login.as_ref().and_then(Login::access_tokens);
    let known = match desk.filter(|_| is_signed(token)) {
        Some(desk) => desk.authenticate(&Secret::new(token)).await,
        None => principals::authenticate(&state.store, token).await,
    };
    match known {
        Ok(access) => Ok(access),
        Err(error) if error.kind() == ErrorKind::Auth => {
            let counted = state.limits.wrong_token(address);
            counted
                .map_err(|wait| Problem::too_many("too many wrong tokens came from this address", wait))?;
            Err(Problem::unauthorized(
                error,
                "Bearer realm=\"weir\", error=\"invalid_token\"",
            ))
        }
        // Somebody who is known and has nothing to do here, as often as they like.
        Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Conflict) => {
            let counted = state.limits.wrong_token(address);
            counted
                .map_err(|wait| Problem::too_many("too many refused tokens came from this address", wait))?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether it has the three parts of a signed token, which weir's own have not.
fn is_signed(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// No name has it, and not every database takes it.
fn refuse_null(request: &Request) -> Result<(), Problem> {
    if request.uri().to_string().contains("%00") {
        return Err(Error::usage("the address holds a NUL character")
            .hint("leave %00 out")
            .into());
    }
    Ok(())
}

/// Tags what is shown, and says only that nothing changed where the client has it already.
async fn tagged(
    gate: &Gate,
    access: &Access,
    response: Response,
    wanted: Option<&HeaderValue>,
) -> Result<Response, Problem> {
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let mut body = held(body).await?;
    if let Some(visible) = policy::visible(&gate.state, access, gate.route(), &body).await? {
        parts.headers.remove(header::CONTENT_LENGTH);
        body = visible;
    }
    let tag = entity_tag(&body);
    let is_known = wanted.is_some_and(|wanted| matches_tag(wanted, &tag));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    let caching = HeaderValue::from_static("private, no-cache");
    parts.headers.insert(header::CACHE_CONTROL, caching);
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

async fn held(body: Body) -> Result<Bytes, Problem> {
    to_bytes(body, ANSWER_BYTES_MAX).await.map_err(|error| {
        Error::internal("the answer cannot be held")
            .caused_by(error)
            .hint("ask for fewer items with `limit`")
            .into()
    })
}

/// A request that changes something: once for each key.
async fn change(gate: &Gate, access: &Access, request: Request, next: Next) -> Result<Response, Problem> {
    let state = &gate.state;
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Problem::from(
            Error::limit(format!("the body has more than {BODY_BYTES_MAX} bytes"))
                .hint("send less in one request"),
        )
    })?;
    policy::check(state, access, gate.route(), &mut parts, Some(&body)).await?;
    let key = parts.headers.get(IDEMPOTENCY_KEY).filter(|_| gate.keeps_keys);
    let Some(key) = key.cloned() else {
        return Ok(next.run(Request::from_parts(parts, Body::from(body))).await);
    };
    let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let digest = idempotency::digest(parts.method.as_str(), path, &body);
    match idempotency::begin(&state.store, access, &key, &digest).await? {
        Begun::Replay(answer) => Ok(replay(answer)),
        Begun::First(ticket) => {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            settle(state, &ticket, response).await
        }
    }
}

/// Keeps the answer. What was refused did nothing, so its key is free again.
async fn settle(state: &ServerState, ticket: &Ticket, response: Response) -> Result<Response, Problem> {
    if response.status().is_client_error() {
        if let Err(error) = idempotency::release(&state.store, ticket).await {
            tracing::error!(%error, "cannot give an idempotency key back");
        }
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = held(body).await?;
    let kept = match parts.extensions.get::<KeptInstead>() {
        Some(KeptInstead(instead)) => instead.clone(),
        None => String::from_utf8_lossy(&body).into_owned(),
    };
    let answer = Answer {
        status: parts.status.as_u16(),
        headers: kept_headers(&parts.headers),
        body: kept,
    };
    // The change is made; that it cannot be told again is no reason to hide it.
    if let Err(error) = idempotency::finish(&state.store, ticket, &answer).await {
        tracing::error!(%error, "cannot keep the answer of a request");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = KEPT_HEADERS.iter().filter_map(|name| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    kept.collect()
}

fn replay(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    response
}
