use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use weir_control::Access;
use weir_control::backfills::{self, Backfill, Change, Wanted};
use weir_control::principals::Permission;

use super::page::{Page, Paging};
use super::{BASE, Endpoint};
use crate::ServerState;
use crate::input::{self, Asked, Caller, Expected, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/backfills",
            Permission::RunsRead,
            "Backfills, newest first",
            list,
        )
        .query::<Paging>()
        .answers::<Page<Backfill>>(200),
        Endpoint::post(
            "/backfills",
            Permission::RunsWrite,
            "Read a range again, chunk by chunk, beside the schedule",
            create,
        )
        .body::<Wanted>()
        .answers::<Backfill>(202),
        Endpoint::get(
            "/backfills/{id}",
            Permission::RunsRead,
            "How far a backfill is",
            show,
        )
        .answers::<Backfill>(200),
        Endpoint::post(
            "/backfills/{id}/pause",
            Permission::RunsWrite,
            "Let no further chunk follow the one under way",
            pause,
        )
        .answers::<Backfill>(200)
        .conditional(),
        Endpoint::post(
            "/backfills/{id}/resume",
            Permission::RunsWrite,
            "Go on with the next chunk",
            resume,
        )
        .answers::<Backfill>(200)
        .conditional(),
        Endpoint::post(
            "/backfills/{id}/cancel",
            Permission::RunsWrite,
            "End a backfill; what was read stays",
            cancel,
        )
        .answers::<Backfill>(200)
        .conditional(),
    ]
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Backfill>>, Problem> {
    let items = backfills::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, |item| {
        format!("{:020} {}", i64::MAX - item.created_at_ms, item.id)
    })?))
}

async fn create(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    input::Json(wanted): input::Json<Wanted>,
) -> Result<Response, Problem> {
    let made = backfills::create(&state.store, &access.tenant, &wanted).await?;
    let place = [(header::LOCATION, format!("{BASE}/backfills/{}", made.id))];
    Ok((StatusCode::ACCEPTED, place, Json(made)).into_response())
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<Backfill>, Problem> {
    Ok(Json(backfills::get(&state.store, &access.tenant, &id).await?))
}

async fn pause(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    expected: Expected,
) -> Result<Json<Backfill>, Problem> {
    change(&state, &access, &id, (Change::Pause, &expected)).await
}

async fn resume(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    expected: Expected,
) -> Result<Json<Backfill>, Problem> {
    change(&state, &access, &id, (Change::Resume, &expected)).await
}

async fn cancel(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    expected: Expected,
) -> Result<Json<Backfill>, Problem> {
    change(&state, &access, &id, (Change::Cancel, &expected)).await
}

async fn change(
    state: &ServerState,
    access: &Access,
    id: &str,
    (change, expected): (Change, &Expected),
) -> Result<Json<Backfill>, Problem> {
    let check = |backfill: &Backfill| expected.check(backfill);
    let changed = backfills::change_if(&state.store, &access.tenant, id, change, &check).await;
    Ok(Json(changed.map_err(|error| expected.problem(error))?))
}
