//! What connections offer to do.

use axum::Json;
use axum::extract::State;
use weir_control::calls::Offer;
use weir_control::principals::{Access, Permission};
use weir_protocol::Error;

use super::Endpoint;
use super::page::{Page, Paging};
use crate::ServerState;
use crate::input::{Asked, Caller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/actions",
            Permission::ActionsRead,
            "Actions that connections offer, with the schemas of their inputs",
            list,
        )
        .query::<Paging>()
        .answers::<Page<Offer>>(200),
        Endpoint::get(
            "/actions/{connection}/{action}",
            Permission::ActionsRead,
            "One action of a connection",
            show,
        )
        .answers::<Offer>(200),
    ]
}

async fn offers(state: &ServerState, access: &Access) -> Result<Vec<Offer>, Problem> {
    match &state.calls {
        Some(desk) => Ok(desk.offers(access).await?),
        None => Ok(Vec::new()),
    }
}

async fn list(
    State(state): State<ServerState>,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Offer>>, Problem> {
    let items = offers(&state, &access).await?;
    Ok(Json(Page::by_key(items, &paging, |item| {
        format!("{}/{}", item.connection, item.action)
    })?))
}

async fn show(
    State(state): State<ServerState>,
    Caller(access): Caller,
    Named((connection, action)): Named<(String, String)>,
) -> Result<Json<Offer>, Problem> {
    let all = offers(&state, &access).await?;
    let found = all
        .into_iter()
        .find(|offer| offer.connection == connection && offer.action == action);
    found.map(Json).ok_or_else(|| {
        Error::not_found(format!("there is no action '{action}' of '{connection}'"))
            .hint("GET /api/v1/actions lists those there are")
            .into()
    })
}
