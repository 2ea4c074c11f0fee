//! What handlers take from a request. Whatever cannot be read is a problem with a next step.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use weir_control::principals::Access;
use weir_protocol::{Error, json};

use crate::ServerState;
use crate::observe::RequestId;
use crate::problem::Problem;

/// Who asks; the guard found out.
pub(crate) struct Caller(pub(crate) Access);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let access = parts.extensions.get::<Access>().cloned();
        access.map(Self).ok_or_else(|| {
            Error::internal("a route without a guard asked who is calling")
                .hint("report it")
                .into()
        })
    }
}

/// The server's parts for one request: what is changed through them is noted as the caller's doing.
pub(crate) struct ForCaller(pub(crate) ServerState);

impl FromRequestParts<ServerState> for ForCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Problem> {
        let Caller(access) = Caller::from_request_parts(parts, state).await?;
        let request = parts.extensions.get::<RequestId>().map(|id| id.0.as_str());
        let store = state.store.acting_as(access.acting(request));
        Ok(Self(ServerState {
            store,
            ..state.clone()
        }))
    }
}

/// Names and ids in the path.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Error::usage("the path cannot be read")
                .caused_by(rejection)
                .hint("write names as UTF-8, with special letters as %XX")
                .into()),
        }
    }
}

/// The part of the address after the question mark.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Error::usage(format!(
                "the query cannot be read: {}",
                rejection.body_text()
            ))
            .hint("/api/v1/openapi.json lists the parameters of every path")
            .into()),
        }
    }
}

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let value = read(request, state).await?;
        serde_json::from_value(value).map(Self).map_err(|error| {
            Error::spec(format!("the body does not fit: {error}"))
                .hint("/api/v1/openapi.json says what each path takes")
                .into()
        })
    }
}

/// As [`Json`], where something in it is secret: what is refused is not quoted.
pub(crate) struct SecretJson<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for SecretJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let value = read(request, state).await?;
        serde_json::from_value(value).map(Self).map_err(|_| {
            Error::spec("the body does not fit; it is not quoted, for it may hold a secret")
                .hint("/api/v1/openapi.json says what each path takes")
                .into()
        })
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Value, Problem> {
    let media = request.headers().get(header::CONTENT_TYPE);
    let media = media.and_then(|media| media.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let error = Error::usage(format!("the body is '{media}', not JSON"));
        return Err(Problem::with_status(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            error.hint("send JSON with `Content-Type: application/json`"),
        ));
    }
    let bytes = axum::body::Bytes::from_request(request, state).await;
    let bytes = bytes.map_err(|rejection| {
        Problem::from(
            Error::usage("the body cannot be read")
                .caused_by(rejection)
                .hint("send it again"),
        )
    })?;
    let value = json::parse("the body", &bytes)?;
    if holds_null_character(&value) {
        return Err(Error::spec("the body holds a NUL character")
            .hint("leave \\u0000 out")
            .into());
    }
    Ok(value)
}

fn holds_null_character(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_null_character),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.contains('\0') || holds_null_character(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What the client believes to change: `If-Match`.
pub(crate) struct Expected {
    wanted: Option<HeaderValue>,
    is_refused: AtomicBool,
}

impl<S: Send + Sync> FromRequestParts<S> for Expected {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self {
            wanted: parts.headers.get(header::IF_MATCH).cloned(),
            is_refused: AtomicBool::new(false),
        })
    }
}

impl Expected {
    /// Refuses where the thing, as it would be shown now, is another one. For use cases to call inside
    /// the transaction of the change.
    pub(crate) fn check(&self, shown: &impl Serialize) -> weir_protocol::Result<()> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let body = serde_json::to_vec(shown).map_err(|error| {
            Error::internal("cannot show what is to be changed")
                .caused_by(error)
                .hint("report it")
        })?;
        if matches_tag(wanted, &entity_tag(&body)) {
            return Ok(());
        }
        Err(self.refuse())
    }

    /// Refuses where the client believes that there is something, and there is nothing.
    pub(crate) fn check_absent(&self) -> weir_protocol::Result<()> {
        match &self.wanted {
            None => Ok(()),
            Some(_) => Err(self.refuse()),
        }
    }

    fn refuse(&self) -> Error {
        self.is_refused.store(true, Ordering::Relaxed);
        Error::usage("it has changed since you read it").hint("GET it again and look, then send the new ETag")
    }

    /// What a use case failed with that was given [`Self::check`].
    pub(crate) fn problem(&self, error: Error) -> Problem {
        if self.is_refused.load(Ordering::Relaxed) {
            Problem::with_status(StatusCode::PRECONDITION_FAILED, error)
        } else {
            error.into()
        }
    }
}

/// A strong tag: the same bytes have the same one.
pub(crate) fn entity_tag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let mut tag = String::from("\"");
    for byte in digest.iter().take(16) {
        // A String takes everything.
        write!(tag, "{byte:02x}").unwrap_or_default();
    }
    tag.push('"');
    tag
}

/// Whether a header's list of tags names this one.
pub(crate) fn matches_tag(header: &HeaderValue, tag: &str) -> bool {
    let Ok(header) = header.to_str() else { return false };
    header
        .split(',')
        .map(str::trim)
        .any(|other| other == "*" || other.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::response::IntoResponse as _;

    use super::*;

    #[tokio::test]
    async fn a_key_that_is_there_twice_is_refused() {
        let body = r#"{"action": "send", "input": {"to": "a", "to": "b"}}"#;
        let request = Request::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap();
        let Err(problem) = Json::<Value>::from_request(request, &()).await else {
            panic!("it was taken");
        };
        let answer = problem.into_response();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let told = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let told = String::from_utf8(told.to_vec()).unwrap();
        assert!(told.contains("the key 'to' is there twice"), "{told}");
    }
}
