use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_control::DEFAULT_TENANT;
use weir_control::principals::{Access, Permission, Role};
use weir_control::tenants::{self, Tenant};
use weir_protocol::Error;

use super::page::{Page, Paging};
use super::{BASE, Endpoint};
use crate::input::{self, Asked, Caller, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/tenants",
            Permission::AccessRead,
            "The tenant of the token; all of them for admins of the default one",
            list,
        )
        .query::<Paging>()
        .answers::<Page<Tenant>>(200),
        Endpoint::get("/tenants/{tenant}", Permission::AccessRead, "One tenant", show).answers::<Tenant>(200),
        Endpoint::post(
            "/tenants",
            Permission::TokensWrite,
            "Make a tenant; only admins of the default one may",
            create,
        )
        .body::<NewTenant>()
        .answers::<Tenant>(201),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9_-]+$"))]
    name: String,
}

/// Tenants are borders: only whoever keeps the whole of weir sees more than their own.
fn keeps_all(access: &Access) -> bool {
    access.tenant == DEFAULT_TENANT && access.roles.contains(&Role::Admin)
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Tenant>>, Problem> {
    let mut items = tenants::list(&state.store).await?;
    if !keeps_all(&access) {
        items.retain(|tenant| tenant.name == access.tenant);
    }
    Ok(Json(Page::by_key(items, &paging, |item| item.name.clone())?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<Tenant>, Problem> {
    if !keeps_all(&access) && name != access.tenant {
        // Not even a name that is nearly right is told.
        return Err(Error::not_found(format!("there is no tenant '{name}'"))
            .hint("GET /api/v1/tenants lists those that you may see")
            .into());
    }
    Ok(Json(tenants::get(&state.store, &name).await?))
}

async fn create(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    input::Json(wanted): input::Json<NewTenant>,
) -> Result<Response, Problem> {
    if !keeps_all(&access) {
        return Err(
            Error::denied("tenants are made by admins of the tenant 'default' alone")
                .with("tenant", &access.tenant)
                .hint("ask one of them, or use `weir tenant create` on the server's machine")
                .into(),
        );
    }
    let made = tenants::create(&state.store, &wanted.name).await?;
    let place: (HeaderName, String) = (header::LOCATION, format!("{BASE}/tenants/{}", made.name));
    Ok((StatusCode::CREATED, [place], Json(made)).into_response())
}
