use axum::Json;
use weir_control::principals::{self, Grant, Permission};

use super::Endpoint;
use super::page::{Page, Paging};
use crate::input::{Asked, Caller, ForCaller};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/access-review",
            Permission::AccessRead,
            "Who has what, since when, and when it was last used",
            review,
        )
        .query::<Paging>()
        .answers::<Page<Grant>>(200),
    ]
}

async fn review(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Grant>>, Problem> {
    let items = principals::review(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, Grant::key)?))
}
