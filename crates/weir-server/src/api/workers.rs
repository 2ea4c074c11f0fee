use axum::Json;
use axum::extract::State;
use weir_control::principals::Permission;
use weir_control::workers::{self, KnownWorker};

use super::Endpoint;
use super::page::Page;
use crate::ServerState;
use crate::input::Caller;
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/workers",
            Permission::RunsRead,
            "The processes that carry runs out, the last heard of first",
            list,
        )
        .answers::<Page<KnownWorker>>(200),
    ]
}

async fn list(
    State(state): State<ServerState>,
    Caller(access): Caller,
) -> Result<Json<Page<KnownWorker>>, Problem> {
    let items = workers::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::whole(items)))
}
