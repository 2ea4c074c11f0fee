//! Calls of workers that are not part of this process. What a call means, `weir_control::rpc` says.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use weir_control::principals::{Permission, may};
use weir_control::rpc::CALL_BYTES_MAX;
use weir_protocol::Error;

use crate::ServerState;
use crate::guard;
use crate::input::Named;
use crate::problem::Problem;

/// Where their calls begin.
pub(crate) const PATH: &str = "/worker/";

pub(crate) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/worker/v1/{call}", post(answer))
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX))
}

async fn answer(
    State(state): State<ServerState>,
    Named(call): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let access = guard::access(&state, &parts).await?;
    may(&access, Permission::WorkersWrite)?;
    let Some(office) = state.office.clone() else {
        return Err(Error::not_found("this server has no work for workers elsewhere")
            .hint("name a server that was started by `weir serve`")
            .into());
    };
    let body = held(body).await?;
    // Also where the worker goes away: what was begun is ended.
    let work = tokio::spawn(async move { office.answer(&access, &call, &body).await });
    let answered = work.await.map_err(|error| {
        Problem::from(
            Error::internal("the call broke off")
                .caused_by(error)
                .hint("the worker asks again; report it if it comes back"),
        )
    })?;
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((json, answered?).into_response())
}

async fn held(body: Body) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, CALL_BYTES_MAX).await.map_err(|error| {
        Error::limit(format!(
            "the call cannot be read, or has more than {CALL_BYTES_MAX} bytes"
        ))
        .caused_by(error)
        .hint("fetch the stream in smaller slices: its state is too large")
        .into()
    })
}
