//! Is the process alive, and can it work?

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::{ServerState, worker_rpc};

pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Ready means that the control store answers, and that this server may take new work for it.
pub(crate) async fn ready(State(state): State<ServerState>) -> Result<Json<Value>, Problem> {
    state.store.fit().map_err(Problem::not_ready)?;
    match state.store.ping().await {
        Ok(()) => Ok(Json(json!({ "status": "ok" }))),
        Err(error) => Err(Problem::not_ready(error)),
    }
}

/// Changes nothing for anybody while this server is to take no new work. What workers elsewhere have of it they end.
pub(crate) async fn only_fit(
    State(state): State<ServerState>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_read && !request.uri().path().starts_with(worker_rpc::PATH) {
        state.store.fit().map_err(Problem::not_ready)?;
    }
    Ok(next.run(request).await)
}
