use axum::Json;
use axum::extract::State;
use weir_control::principals::Permission;
use weir_control::schemas::{self, StoredChange};
use weir_control::states::{self, StoredState};
use weir_control::{Connection, connections};
use weir_protocol::Error;

use super::Endpoint;
use super::page::Page;
use crate::ServerState;
use crate::input::{Caller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/connections",
            Permission::ConnectionsRead,
            "All connections",
            list,
        )
        .answers::<Page<Connection>>(200),
        Endpoint::get(
            "/connections/{name}",
            Permission::ConnectionsRead,
            "One connection",
            show,
        )
        .answers::<Connection>(200),
        Endpoint::get(
            "/connections/{name}/states",
            Permission::StatesRead,
            "Where each stream of a connection is read on",
            list_states,
        )
        .answers::<Page<StoredState>>(200),
        Endpoint::get(
            "/connections/{name}/states/{stream}",
            Permission::StatesRead,
            "Where one stream is read on",
            show_state,
        )
        .answers::<StoredState>(200),
        Endpoint::get(
            "/connections/{name}/schema-changes",
            Permission::SchemasRead,
            "How the tables of a connection changed, oldest first",
            list_changes,
        )
        .answers::<Page<StoredChange>>(200),
    ]
}

/// There are never so many that they need pages.
async fn list(
    State(state): State<ServerState>,
    Caller(access): Caller,
) -> Result<Json<Page<Connection>>, Problem> {
    let items = connections::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::whole(items)))
}

async fn show(
    State(state): State<ServerState>,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<Connection>, Problem> {
    Ok(Json(connections::get(&state.store, &access.tenant, &name).await?))
}

async fn list_states(
    State(state): State<ServerState>,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<Page<StoredState>>, Problem> {
    let connection = connections::get(&state.store, &access.tenant, &name).await?;
    let items = states::list(&state.store, &access.tenant, &connection.name).await?;
    Ok(Json(Page::whole(items)))
}

async fn show_state(
    State(state): State<ServerState>,
    Caller(access): Caller,
    Named((name, stream)): Named<(String, String)>,
) -> Result<Json<StoredState>, Problem> {
    let found = states::get(&state.store, &access.tenant, &name, &stream).await?;
    let found = found.ok_or_else(|| {
        Error::not_found(format!("stream '{stream}' of connection '{name}' has no state"))
            .hint("it gets one with the first checkpoint of a run")
    })?;
    Ok(Json(found))
}

async fn list_changes(
    State(state): State<ServerState>,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<Page<StoredChange>>, Problem> {
    let connection = connections::get(&state.store, &access.tenant, &name).await?;
    let items = schemas::history(&state.store, &access.tenant, &connection.name).await?;
    Ok(Json(Page::whole(items)))
}
