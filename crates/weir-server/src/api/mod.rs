//! REST. One file a noun, one line a route.

mod connections;
mod page;
mod runs;

use axum::Router;
use axum::routing::get;

use crate::ServerState;

pub(crate) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/connections", get(connections::list))
        .route("/runs", get(runs::list))
        .route("/runs/{id}", get(runs::show))
}
