use axum::Json;
use weir_control::policies::{self, Standing, Version};
use weir_control::principals::Permission;

use super::Endpoint;
use super::page::{Page, Paging};
use crate::input::{Asked, Caller, ForCaller};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/policies",
            Permission::AccessRead,
            "The policies in force, and what is wrong with newer ones",
            show,
        )
        .answers::<Standing>(200),
        Endpoint::get(
            "/policies/versions",
            Permission::AccessRead,
            "Every version of the policies that was in force",
            versions,
        )
        .query::<Paging>()
        .answers::<Page<Version>>(200),
    ]
}

async fn show(ForCaller(state): ForCaller, Caller(_): Caller) -> Result<Json<Standing>, Problem> {
    std::future::ready(Ok(Json(state.policies.standing()))).await
}

async fn versions(
    ForCaller(state): ForCaller,
    Caller(_): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Version>>, Problem> {
    let items = policies::history(&state.store).await?;
    Ok(Json(Page::by_key(items, &paging, |item| {
        format!("{:020} {}", i64::MAX - item.first_at_ms, item.version)
    })?))
}
