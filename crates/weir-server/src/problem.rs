//! Errors as problem details (RFC 9457), each with the next step.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use weir_protocol::{Error, ErrorKind};

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
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self {
            status: status_of(error.kind()),
            error,
        }
    }
}

impl Problem {
    /// Whatever is wrong: trying again later is the right thing for a load balancer.
    pub(crate) fn not_ready(error: Error) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error,
        }
    }
}

impl IntoResponse for Problem {
    /// What is weir's own fault is told in the log; causes below the message may name paths on this machine.
    fn into_response(self) -> Response {
        let Self { status, error } = self;
        if status.is_server_error() {
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
        let body = json!({
            "type": format!("urn:weir:error:{}", error.kind()),
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": error.message(),
            "next_step": error.next_step(),
            "context": context,
        });
        let media_type = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, media_type)], body.to_string()).into_response()
    }
}

pub(crate) async fn no_such_path(uri: Uri) -> Problem {
    Error::not_found(format!("there is nothing at {}", uri.path()))
        .hint("the API begins at /api/v1: runs, connections")
        .into()
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let error = Error::usage(format!("{method} is not possible on {}", uri.path()));
    Problem {
        status: StatusCode::METHOD_NOT_ALLOWED,
        error: error.hint("use GET"),
    }
}
