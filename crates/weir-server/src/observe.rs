//! Around every request: its id, its log lines, its count, and headers that every answer has.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::ServerState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_LENGTH_MAX: usize = 64;

/// Names a request in all that is written about it.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) String);

pub(crate) async fn observe(State(state): State<ServerState>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("unknown", MatchedPath::as_str).to_owned();
    // On every line of the request, whatever is logged.
    let span = tracing::error_span!(
        "request",
        id,
        %method,
        route,
        tenant = tracing::field::Empty,
        principal = tracing::field::Empty
    );
    if let Some(join) = state.trace_join {
        join(request.headers(), &span);
    }
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    let took = began.elapsed();
    state.metrics.answered(&method, &route, status, took);
    span.in_scope(|| tracing::debug!(status = status.as_u16(), ms = took.as_millis(), "answered"));
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The caller's own where it is plain, so that one id goes through all systems.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID);
    let given = given.and_then(|id| id.to_str().ok()).filter(|id| {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        (1..=REQUEST_ID_LENGTH_MAX).contains(&id.len()) && id.chars().all(is_plain)
    });
    given.map_or_else(|| Uuid::now_v7().to_string(), ToOwned::to_owned)
}
