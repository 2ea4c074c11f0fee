use axum::Json;
use axum::extract::State;
use weir_control::principals::{self, Grant, Permission};

use super::Endpoint;
use super::page::Page;
use crate::ServerState;
use crate::input::Caller;
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/access-review",
            Permission::AccessRead,
            "Who has what, since when, and when it was last used",
            review,
        )
        .answers::<Page<Grant>>(200),
    ]
}

async fn review(
    State(state): State<ServerState>,
    Caller(access): Caller,
) -> Result<Json<Page<Grant>>, Problem> {
    let items = principals::review(&state.store, &access.tenant).await?;
    Ok(Json(Page::whole(items)))
}
