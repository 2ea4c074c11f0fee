use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use weir_control::runs::{self, RunFilter, StoredNotice, StoredReceipt, Totals};
use weir_control::{Run, RunStatus};
use weir_protocol::Error;

use super::page::{Page, limit};
use crate::ServerState;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    connection: Option<String>,
    status: Option<RunStatus>,
    limit: Option<u32>,
    after: Option<String>,
}

/// A run as the API shows it.
#[derive(Serialize)]
pub(crate) struct RunView {
    #[serde(flatten)]
    run: Run,
    totals: Totals,
}

#[derive(Serialize)]
pub(crate) struct RunDetail {
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

/// Runs, newest first.
pub(crate) async fn list(
    State(state): State<ServerState>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Page<RunView>>, Problem> {
    let Query(wanted) = wanted.map_err(|rejection| {
        Error::usage(format!("the query cannot be read: {}", rejection.body_text()))
            .hint("use connection, status, limit and after")
    })?;
    let limit = limit(wanted.limit)?;
    let filter = RunFilter {
        connection: wanted.connection,
        status: wanted.status,
        before: wanted.after,
        limit: limit + 1,
    };
    let runs = runs::list(&state.store, &state.tenant, &filter).await?;
    let views = runs.into_iter().map(RunView::from).collect();
    Ok(Json(Page::cut(views, limit, |view: &RunView| {
        view.run.id.clone()
    })))
}

/// One run with its receipts and notices.
pub(crate) async fn show(
    State(state): State<ServerState>,
    Path(id): Path<String>,
) -> Result<Json<RunDetail>, Problem> {
    let run = runs::get(&state.store, &state.tenant, &id).await?;
    let receipts = runs::receipts(&state.store, &state.tenant, &run.id).await?;
    let notices = runs::notices(&state.store, &state.tenant, &run.id).await?;
    let view = run.into();
    Ok(Json(RunDetail {
        view,
        receipts,
        notices,
    }))
}
