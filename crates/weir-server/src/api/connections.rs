use axum::Json;
use weir_control::principals::Permission;
use weir_control::schemas::{self, StoredChange};
use weir_control::{Connection, connections};

use super::Endpoint;
use super::page::{Page, Paging};
use crate::input::{Asked, Caller, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/connections",
            Permission::ConnectionsRead,
            "All connections",
            list,
        )
        .query::<Paging>()
        .answers::<Page<Connection>>(200),
        Endpoint::get(
            "/connections/{name}",
            Permission::ConnectionsRead,
            "One connection",
            show,
        )
        .answers::<Connection>(200),
        Endpoint::get(
            "/connections/{name}/schema-changes",
            Permission::SchemasRead,
            "How the tables of a connection changed, oldest first",
            list_changes,
        )
        .query::<Paging>()
        .answers::<Page<StoredChange>>(200),
    ]
}

/// There are never so many that they need pages.
async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Connection>>, Problem> {
    let items = connections::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, |item| item.name.clone())?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<Connection>, Problem> {
    Ok(Json(connections::get(&state.store, &access.tenant, &name).await?))
}

async fn list_changes(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<StoredChange>>, Problem> {
    let connection = connections::get(&state.store, &access.tenant, &name).await?;
    let items = schemas::history(&state.store, &access.tenant, &connection.name).await?;
    Ok(Json(Page::by_place(items, &paging)?))
}
