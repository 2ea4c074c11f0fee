//! Is the process alive, and can it work?

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::ServerState;
use crate::problem::Problem;

pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Ready means that the control store answers.
pub(crate) async fn ready(State(state): State<ServerState>) -> Result<Json<Value>, Problem> {
    match state.store.ping().await {
        Ok(()) => Ok(Json(json!({ "status": "ok" }))),
        Err(error) => Err(Problem::not_ready(error)),
    }
}
