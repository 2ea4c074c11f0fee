use axum::Json;
use weir_control::principals::Permission;
use weir_control::sessions::{self, OpenSession};

use super::Endpoint;
use super::page::{Page, Paging};
use crate::input::{Asked, Caller, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/sessions",
            Permission::TokensRead,
            "People who are logged in, newest first",
            list,
        )
        .query::<Paging>()
        .answers::<Page<OpenSession>>(200),
        Endpoint::post(
            "/sessions/{id}/revoke",
            Permission::TokensWrite,
            "End somebody's session at once",
            revoke,
        )
        .answers::<OpenSession>(200),
    ]
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<OpenSession>>, Problem> {
    let items = sessions::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, newest_first)?))
}

async fn revoke(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<OpenSession>, Problem> {
    let revoked = sessions::revoke(&state.store, &access.tenant, &id, &|_| Ok(())).await?;
    Ok(Json(revoked))
}

/// The younger, the smaller: nobody logged in before 1970.
fn newest_first(session: &OpenSession) -> String {
    format!("{:020} {}", i64::MAX - session.created_at_ms, session.id)
}
