use axum::Json;
use axum::extract::State;
use weir_control::{Connection, connections};

use super::page::Page;
use crate::ServerState;
use crate::problem::Problem;

/// All connections; there are never so many that they need pages.
pub(crate) async fn list(State(state): State<ServerState>) -> Result<Json<Page<Connection>>, Problem> {
    let items = connections::list(&state.store, &state.tenant).await?;
    Ok(Json(Page { items, next: None }))
}
