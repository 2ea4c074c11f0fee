use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_control::connections;
use weir_control::principals::{Access, Permission};
use weir_control::states::{self, Asked as Wanted, StoredState};
use weir_protocol::Error;

use super::Endpoint;
use super::page::{Page, Paging};
use crate::ServerState;
use crate::input::{self, Asked, Caller, Expected, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Permission::{StatesRead, StatesWrite};
    vec![
        Endpoint::get(
            "/connections/{name}/states",
            StatesRead,
            "Where each stream of a connection is read on",
            list,
        )
        .query::<Paging>()
        .answers::<Page<StoredState>>(200),
        Endpoint::get(
            "/connections/{name}/states/{stream}",
            StatesRead,
            "Where one stream is read on",
            show,
        )
        .answers::<StoredState>(200),
        Endpoint::put(
            "/connections/{name}/states/{stream}",
            StatesWrite,
            "Make the next run of a stream read on from elsewhere",
            put,
        )
        .body::<NewPlace>()
        .answers::<StoredState>(200)
        .conditional()
        .asks_outside(),
        Endpoint::delete(
            "/connections/{name}/states/{stream}",
            StatesWrite,
            "Make the next run of a stream begin at the beginning",
            reset,
        )
        .query::<Accepting>()
        .answers::<StoredState>(200)
        .conditional()
        .asks_outside(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPlace {
    from: Wanted,
    /// In a table without a key, what is read again may stand twice.
    #[serde(default)]
    accept_duplicates: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Accepting {
    /// In a table without a key, what is read again may stand twice.
    #[serde(default)]
    accept_duplicates: bool,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<StoredState>>, Problem> {
    let connection = connections::get(&state.store, &access.tenant, &name).await?;
    let items = states::list(&state.store, &access.tenant, &connection.name).await?;
    Ok(Json(Page::by_key(items, &paging, |item| item.stream.clone())?))
}

async fn show(
    ForCaller(state): ForCaller,
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

async fn put(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(place): Named<(String, String)>,
    expected: Expected,
    input::Json(wanted): input::Json<NewPlace>,
) -> Result<Json<StoredState>, Problem> {
    let asked = (&wanted.from, wanted.accept_duplicates);
    set(&state, &access, &place, asked, &expected).await
}

async fn reset(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(place): Named<(String, String)>,
    Asked(accepting): Asked<Accepting>,
    expected: Expected,
) -> Result<Json<StoredState>, Problem> {
    let asked = (&Wanted::Beginning, accepting.accept_duplicates);
    set(&state, &access, &place, asked, &expected).await
}

async fn set(
    state: &ServerState,
    access: &Access,
    (connection, stream): &(String, String),
    asked: (&Wanted, bool),
    expected: &Expected,
) -> Result<Json<StoredState>, Problem> {
    let desk = state.states.as_ref().ok_or_else(|| {
        Error::not_found("this server has no files of the tenant's connections")
            .hint("ask a server that has them")
    })?;
    let check = |known: &Option<StoredState>| match known {
        Some(known) => expected.check(known),
        None => expected.check_absent(),
    };
    let done = desk.set((&state.store, access), (connection, stream), asked, &check);
    Ok(Json(done.await.map_err(|error| expected.problem(error))?))
}
