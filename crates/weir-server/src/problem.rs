//! Errors as problem details (RFC 9457), each with the next step.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use weir_protocol::{Error, ErrorKind};

use crate::guard::IDEMPOTENT_REPLAYED;

/// When a server that is not ready looks again whether it is.
const READY_AGAIN: Duration = Duration::from_secs(5);

/// The one place where a kind of error becomes a status.
pub fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Usage => StatusCode::BAD_REQUEST,
        ErrorKind::Spec | ErrorKind::Template | ErrorKind::Schema | ErrorKind::Gate => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        // The outside system refused weir's credential; the caller's own is another matter.
        ErrorKind::Auth | ErrorKind::Source | ErrorKind::Decode | ErrorKind::Destination => {
            StatusCode::BAD_GATEWAY
        }
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Conflict | ErrorKind::Cancelled => StatusCode::CONFLICT,
        ErrorKind::State | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error on its way to a client.
pub(crate) struct Problem {
    status: StatusCode,
    error: Error,
    headers: HeaderMap,
    about: Option<Box<About>>,
}

/// What ended so, by id and status.
enum About {
    Call(String, String),
    BundleRun(String, String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::with_status(status_of(error.kind()), error)
    }
}

impl Problem {
    /// For what is about the request itself, and not about what it asks for.
    pub(crate) fn with_status(status: StatusCode, error: Error) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(wait) = error.retry_after() {
            headers.insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
        }
        Self {
            status,
            error,
            headers,
            about: None,
        }
    }

    /// Whatever is wrong: trying again later is the right thing for a load balancer.
    pub(crate) fn not_ready(error: Error) -> Self {
        Self::with_status(StatusCode::SERVICE_UNAVAILABLE, error.after(READY_AGAIN))
    }

    /// The caller's own token is missing or wrong.
    pub(crate) fn unauthorized(error: Error, challenge: &str) -> Self {
        Self::with_status(StatusCode::UNAUTHORIZED, error).with_challenge(challenge)
    }

    /// What somebody without a token sent is not signed as it should be.
    pub(crate) fn unsigned(error: Error) -> Self {
        Self::with_status(StatusCode::UNAUTHORIZED, error)
    }

    pub(crate) fn too_large(error: Error) -> Self {
        Self::with_status(StatusCode::PAYLOAD_TOO_LARGE, error)
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn too_many(message: &str, wait: Duration) -> Self {
        let hint = format!("wait {} seconds", wait.as_secs() + 1);
        Self::from(Error::new(ErrorKind::RateLimited, message).hint(hint).after(wait))
    }

    /// Names the call that ended so, and how it stands.
    #[must_use]
    pub(crate) fn of_call(mut self, id: &str, status: &str, place: &str, is_replay: bool) -> Self {
        self.about = Some(Box::new(About::Call(id.to_owned(), status.to_owned())));
        self.at(place, is_replay)
    }

    /// Names the bundle's run that ended so, and how it stands.
    #[must_use]
    pub(crate) fn of_run(mut self, id: &str, status: &str, place: &str, is_replay: bool) -> Self {
        self.about = Some(Box::new(About::BundleRun(id.to_owned(), status.to_owned())));
        self.at(place, is_replay)
    }

    fn at(mut self, place: &str, is_replay: bool) -> Self {
        if let Ok(place) = HeaderValue::from_str(place) {
            self.headers.insert(header::LOCATION, place);
        }
        if is_replay {
            self.headers
                .insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        }
        self
    }

    /// Says how to get in, where that is what is missing.
    #[must_use]
    pub(crate) fn with_challenge_where_unauthorized(self, challenge: &str) -> Self {
        match self.status {
            StatusCode::UNAUTHORIZED => self.with_challenge(challenge),
            _ => self,
        }
    }

    #[must_use]
    pub(crate) fn with_challenge(mut self, challenge: &str) -> Self {
        if let Ok(challenge) = HeaderValue::from_str(challenge) {
            self.headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        self
    }
}

/// A problem as it is written.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemBody {
    /// `urn:weir:error:<kind>`
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    next_step: Option<String>,
    /// Names and values that tell where.
    context: Map<String, Value>,
    /// Id of the call that ended so.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_status: Option<String>,
    /// Id of the bundle's run that ended so, or that waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle_run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle_status: Option<String>,
}

impl IntoResponse for Problem {
    /// What is weir's own fault is told in the log; causes below the message may name paths on this machine.
    fn into_response(self) -> Response {
        let Self {
            status,
            error,
            mut headers,
            about,
        } = self;
        let (call, run) = match about.map(|about| *about) {
            Some(About::Call(id, status)) => (Some((id, status)), None),
            Some(About::BundleRun(id, status)) => (None, Some((id, status))),
            None => (None, None),
        };
        let (call, call_status) = call.unzip();
        let (bundle_run, bundle_status) = run.unzip();
        // What a vendor makes of a call is told to who called, and is no fault of this server.
        if status.is_server_error() && call.is_none() && bundle_run.is_none() {
            tracing::error!(%error, kind = %error.kind(), "request failed");
        }
        let context: Map<String, Value> = if status.is_client_error() {
            let pairs = error.context().iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), json!(value)))
                .collect()
        } else {
            Map::new()
        };
        let body = ProblemBody {
            kind: format!("urn:weir:error:{}", error.kind()),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: error.message().to_owned(),
            next_step: error.next_step().map(ToOwned::to_owned),
            context,
            call,
            call_status,
            bundle_run,
            bundle_status,
        };
        let media_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, media_type);
        (status, headers, json!(body).to_string()).into_response()
    }
}

pub(crate) async fn no_such_path(uri: Uri) -> Problem {
    Error::not_found(format!("there is nothing at {}", uri.path()))
        .hint("/api/v1/openapi.json lists the paths there are")
        .into()
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let error = Error::usage(format!("{method} is not possible on {}", uri.path()));
    Problem::with_status(
        StatusCode::METHOD_NOT_ALLOWED,
        error.hint("use a method that the header Allow names"),
    )
}
