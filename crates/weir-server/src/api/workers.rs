use axum::Json;
use weir_control::principals::Permission;
use weir_control::workers::{self, KnownWorker};

use super::Endpoint;
use super::page::{Page, Paging};
use crate::input::{Asked, Caller, ForCaller};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/workers",
            Permission::RunsRead,
            "The processes that carry runs out, by name",
            list,
        )
        .query::<Paging>()
        .answers::<Page<KnownWorker>>(200),
    ]
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<KnownWorker>>, Problem> {
    let items = workers::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, |item| {
        format!("{} {}", item.name, item.id)
    })?))
}
