//! Where outside systems send their messages. No token is asked for: the signature says who sent them.

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use weir_control::DEFAULT_TENANT;
use weir_protocol::hook::Arrived;
use weir_protocol::{Error, ErrorKind};

use crate::ServerState;
use crate::problem::Problem;

/// Bytes that a message may have.
const BODY_BYTES_MAX: usize = 1 << 20;
/// After so long a sender may try again.
const RETRY_AFTER_S: &str = "5";

pub(crate) async fn own(
    State(state): State<ServerState>,
    Path(connection): Path<String>,
    request: Request,
) -> Response {
    answered(&state, DEFAULT_TENANT, &connection, request).await
}

pub(crate) async fn of_tenant(
    State(state): State<ServerState>,
    Path((tenant, connection)): Path<(String, String)>,
    request: Request,
) -> Response {
    answered(&state, &tenant, &connection, request).await
}

async fn answered(state: &ServerState, tenant: &str, connection: &str, request: Request) -> Response {
    match take(state, tenant, connection, request).await {
        Ok(Some(text)) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        Ok(None) => StatusCode::OK.into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn take(
    state: &ServerState,
    tenant: &str,
    connection: &str,
    request: Request,
) -> Result<Option<String>, Problem> {
    let Some(desk) = &state.hooks else {
        return Err(Error::not_found("this server receives no messages")
            .hint("send them to a server that has the project's files")
            .into());
    };
    let arrived = arrived(state.mcp.base(), request).await?;
    let taken = desk.take(tenant, connection, &arrived).await;
    taken.map_err(|error| match error.kind() {
        ErrorKind::Auth => {
            tracing::warn!(connection, %error, "a message was refused");
            Problem::unsigned(error)
        }
        ErrorKind::Unavailable | ErrorKind::Internal => Problem::not_ready(error)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S)),
        _ => Problem::from(error),
    })
}

async fn arrived(base: &str, request: Request<Body>) -> Result<Arrived, Problem> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Problem::too_large(
            Error::usage(format!(
                "the message is larger than {BODY_BYTES_MAX} bytes, or was cut off"
            ))
            .hint("have the sender leave out what is large, or send references"),
        )
    })?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let headers = parts.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    Ok(Arrived {
        method: parts.method.as_str().to_owned(),
        url: format!("{base}{path}"),
        headers: headers.collect(),
        body,
        at: Timestamp::now(),
    })
}
