//! What stands before and after every answer: token, quota, waiting, ETag.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::super::render::REPOSITORY;
use super::{THROTTLED_REQUEST, TOKEN, World};

const QUOTA: u64 = 5_000;
const HOUR_S: i64 = 3_600;
const DOCS: &str = "https://docs.github.com/rest";

/// Refuses or lets through, and adds the headers that every answer has.
pub(crate) async fn guard(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let nth = world.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let known = format!("/repos/{REPOSITORY}");
    let path = request.uri().path();
    let mut answer = if !authorized(request.headers()) {
        refusal(StatusCode::UNAUTHORIZED, "Bad credentials")
    } else if request.headers().get(header::USER_AGENT).is_none() {
        refusal(
            StatusCode::FORBIDDEN,
            "Request forbidden by administrative rules. Please make sure your request has a User-Agent header",
        )
    } else if path != known && !path.starts_with(&format!("{known}/")) {
        refusal(StatusCode::NOT_FOUND, "Not Found")
    } else if nth >= THROTTLED_REQUEST && !world.throttled.swap(true, Ordering::Relaxed) {
        wait()
    } else {
        next.run(request).await
    };
    let now = Timestamp::now().as_second();
    let headers = answer.headers_mut();
    set(headers, "x-ratelimit-limit", &QUOTA.to_string());
    set(
        headers,
        "x-ratelimit-remaining",
        &QUOTA.saturating_sub(nth).to_string(),
    );
    set(headers, "x-ratelimit-used", &nth.min(QUOTA).to_string());
    set(
        headers,
        "x-ratelimit-reset",
        &(now - now % HOUR_S + HOUR_S).to_string(),
    );
    set(headers, "x-ratelimit-resource", "core");
    set(headers, "x-github-request-id", &format!("DEMO:{nth:06}"));
    answer
}

fn authorized(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(scheme, token)| {
            (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token")) && token == TOKEN
        })
}

/// The secondary rate limit: come back in a second.
fn wait() -> Response {
    let mut answer = refusal(
        StatusCode::TOO_MANY_REQUESTS,
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
    );
    set(answer.headers_mut(), "retry-after", "1");
    answer
}

pub(crate) async fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "Not Found")
}

pub(crate) fn refusal(status: StatusCode, message: &str) -> Response {
    let body =
        serde_json::json!({ "message": message, "documentation_url": DOCS, "status": status.as_str() });
    (
        status,
        [(header::CONTENT_TYPE, "application/json; charset=utf-8")],
        body.to_string(),
    )
        .into_response()
}

/// An answer with its ETag, or 304 where the asker has it already.
pub(crate) fn json(headers: &HeaderMap, body: String, link: Option<String>) -> Response {
    let mut hasher = DefaultHasher::new();
    hasher.write(body.as_bytes());
    let etag = format!("W/\"{:016x}\"", hasher.finish());
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut answer = if known.is_some_and(|known| known.split(", ").any(|one| one == etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(body))
    };
    let headers = answer.headers_mut();
    set(headers, "etag", &etag);
    set(headers, "content-type", "application/json; charset=utf-8");
    set(headers, "cache-control", "private, max-age=60, s-maxage=60");
    set(headers, "x-github-media-type", "github.v3; format=json");
    if let Some(link) = link {
        set(headers, "link", &link);
    }
    answer
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
