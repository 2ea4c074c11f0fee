use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_control::principals::Permission;
use weir_control::runs::queue::{self, RunOptions};
use weir_control::runs::{self, RunFilter, StoredNotice, StoredReceipt, Totals, WholeRun};
use weir_control::{Run, RunStatus, Store};
use weir_protocol::Result;

use super::page::{Page, Paging, limit};
use super::{BASE, Endpoint};
use crate::input::{self, Asked, Caller, Expected, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/runs", Permission::RunsRead, "Runs, newest first", list)
            .query::<Wanted>()
            .answers::<Page<RunView>>(200),
        Endpoint::post(
            "/runs",
            Permission::RunsWrite,
            "Queue a run for a worker",
            queue_one,
        )
        .body::<NewRun>()
        .answers::<RunView>(202),
        Endpoint::get(
            "/runs/{id}",
            Permission::RunsRead,
            "One run with its receipts and notices",
            show,
        )
        .answers::<RunDetail>(200),
        Endpoint::post(
            "/runs/{id}/cancel",
            Permission::RunsWrite,
            "Ask a run to stop: one that waits ends at once, one that runs commits what it has first",
            cancel,
        )
        .answers::<RunDetail>(202)
        .conditional(),
        Endpoint::get(
            "/runs/{id}/notices",
            Permission::RunsRead,
            "What a run noticed, oldest first",
            list_notices,
        )
        .query::<Paging>()
        .answers::<Page<StoredNotice>>(200),
        Endpoint::get(
            "/runs/{id}/receipts",
            Permission::RunsRead,
            "The checkpoints of a run, oldest first",
            list_receipts,
        )
        .query::<Paging>()
        .answers::<Page<StoredReceipt>>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Only those of this connection.
    connection: Option<String>,
    /// Only those with this status.
    status: Option<RunStatus>,
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A run that is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRun {
    #[schemars(length(min = 1))]
    connection: String,
    /// Only these streams; those that the connection's file chooses if left out.
    #[serde(default)]
    streams: Vec<String>,
    /// Read everything again and replace what is there.
    #[serde(default)]
    full: bool,
    /// Read from this cursor value on.
    #[schemars(length(min = 1))]
    from: Option<String>,
}

/// A run as the API shows it.
#[derive(Serialize, JsonSchema)]
struct RunView {
    #[serde(flatten)]
    run: Run,
    totals: Totals,
}

#[derive(Serialize, JsonSchema)]
struct RunDetail {
    #[serde(flatten)]
    view: RunView,
    receipts: Vec<StoredReceipt>,
    notices: Vec<StoredNotice>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        Self {
            totals: run.totals(),
            run,
        }
    }
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Page<RunView>>, Problem> {
    let limit = limit(wanted.limit)?;
    let filter = RunFilter {
        connection: wanted.connection,
        status: wanted.status,
        before: wanted.after,
        limit: limit + 1,
    };
    let runs = runs::list(&state.store, &access.tenant, &filter).await?;
    let views = runs.into_iter().map(RunView::from).collect();
    Ok(Json(Page::cut(views, limit, |view: &RunView| {
        view.run.id.clone()
    })))
}

async fn queue_one(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    input::Json(wanted): input::Json<NewRun>,
) -> Result<Response, Problem> {
    let options = RunOptions {
        streams: wanted.streams,
        full: wanted.full,
        from: wanted.from,
        to: None,
    };
    let run = queue::ask(&state.store, &access.tenant, &wanted.connection, options).await?;
    let place = [(header::LOCATION, format!("{BASE}/runs/{}", run.id))];
    Ok((StatusCode::ACCEPTED, place, Json(RunView::from(run))).into_response())
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<RunDetail>, Problem> {
    Ok(Json(detail(&state.store, &access.tenant, &id).await?))
}

async fn detail(store: &Store, tenant: &str, id: &str) -> Result<RunDetail> {
    let run = runs::get(store, tenant, id).await?;
    Ok(runs::whole(store, tenant, &run.id).await?.into())
}

impl From<WholeRun> for RunDetail {
    fn from(whole: WholeRun) -> Self {
        Self {
            view: whole.run.into(),
            receipts: whole.receipts,
            notices: whole.notices,
        }
    }
}

async fn cancel(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    expected: Expected,
) -> Result<(StatusCode, Json<RunDetail>), Problem> {
    let (store, tenant) = (&state.store, &access.tenant);
    let run = runs::get(store, tenant, &id).await?.id;
    let check = |whole: &WholeRun| expected.check(&RunDetail::from(whole.clone()));
    let asked = queue::cancel_if(store, tenant, &run, &check).await;
    asked.map_err(|error| expected.problem(error))?;
    Ok((StatusCode::ACCEPTED, Json(detail(store, tenant, &run).await?)))
}

async fn list_notices(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<StoredNotice>>, Problem> {
    let run = runs::get(&state.store, &access.tenant, &id).await?;
    let items = runs::notices(&state.store, &access.tenant, &run.id).await?;
    Ok(Json(Page::by_place(items, &paging)?))
}

async fn list_receipts(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<StoredReceipt>>, Problem> {
    let run = runs::get(&state.store, &access.tenant, &id).await?;
    let items = runs::receipts(&state.store, &access.tenant, &run.id).await?;
    Ok(Json(Page::by_place(items, &paging)?))
}
