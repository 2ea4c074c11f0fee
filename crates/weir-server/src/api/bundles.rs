//! Bundles: several calls as one, and their runs.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use weir_control::bundles::{self, Answered, Desk, Offer, Run, RunFilter, Settled, Status, Wanted};
use weir_control::principals::Permission;
use weir_protocol::{Error, ErrorKind};

use super::page::{self, Page, Paging};
use super::{BASE, Endpoint};
use crate::ServerState;
use crate::guard::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED};
use crate::input::{self, Asked, Caller, ForCaller, Named};
use crate::policy::VIA;
use crate::problem::{Problem, status_of};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = of_bundles();
    all.extend(of_runs());
    all
}

fn of_bundles() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/bundles",
            Permission::ActionsRead,
            "Bundles of calls, with the schemas of their inputs and what takes each step back",
            list,
        )
        .query::<Paging>()
        .answers::<Page<Offer>>(200),
        Endpoint::get("/bundles/{bundle}", Permission::ActionsRead, "One bundle", show).answers::<Offer>(200),
        Endpoint::post(
            "/bundles/{bundle}/runs",
            Permission::ActionsWrite,
            "Run a bundle: it goes as far as nobody has to be waited for before this answers",
            make,
        )
        .body::<Input>()
        .answers::<Run>(200)
        .makes_calls(),
    ]
}

fn of_runs() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/bundle-runs",
            Permission::ActionsRead,
            "Runs of bundles, newest first; of others for who approves or audits",
            runs,
        )
        .query::<RunsQuery>()
        .answers::<Page<Run>>(200),
        Endpoint::get(
            "/bundle-runs/{id}",
            Permission::ActionsRead,
            "A run of a bundle as it stands, step by step",
            run,
        )
        .answers::<Run>(200),
        Endpoint::post(
            "/bundle-runs/{id}/cancel",
            Permission::ActionsWrite,
            "Cancel a run: what is done is taken back",
            cancel,
        )
        .answers::<Run>(200),
        Endpoint::post(
            "/bundle-runs/{id}/retry",
            Permission::ApprovalsWrite,
            "Let a parked run try again what did not work",
            retry,
        )
        .answers::<Run>(200),
        Endpoint::post(
            "/bundle-runs/{id}/settle",
            Permission::ApprovalsWrite,
            "Say what became of a parked run's step",
            settle,
        )
        .body::<Settled>()
        .answers::<Run>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// As the bundle's input schema says.
    #[serde(default)]
    input: Map<String, Value>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunsQuery {
    /// Only runs of this bundle.
    bundle: Option<String>,
    /// Only runs that stand so.
    status: Option<Status>,
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Where bundles are made, for who asks.
pub(crate) fn desk(state: &ServerState) -> Result<Desk, Problem> {
    let desk = state.bundles.as_ref().ok_or_else(|| {
        Problem::from(
            Error::not_found("this server makes no calls").hint("use `weir bundle run` where the project is"),
        )
    })?;
    Ok(desk.acting_as(state.store.acting().clone()))
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Offer>>, Problem> {
    let items = match &state.bundles {
        Some(desk) => desk.offers(&access).await?,
        None => Vec::new(),
    };
    Ok(Json(Page::by_key(items, &paging, |offer| offer.bundle.clone())?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(bundle): Named<String>,
) -> Result<Json<Offer>, Problem> {
    let all = desk(&state)?.offers(&access).await?;
    let found = all.into_iter().find(|offer| offer.bundle == bundle);
    found.map(Json).ok_or_else(|| {
        Error::not_found(format!("there is no bundle '{bundle}'"))
            .hint("GET /api/v1/bundles lists those there are")
            .into()
    })
}

async fn make(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(bundle): Named<String>,
    headers: HeaderMap,
    input::Json(Input { input }): input::Json<Input>,
) -> Result<Response, Problem> {
    let key = headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes);
    let key = key.map(String::from_utf8_lossy);
    let wanted = Wanted { bundle, input };
    let answered = desk(&state)?.ask(&access, &wanted, key.as_deref(), VIA).await?;
    told(answered)
}

/// A run that went well or goes on is an answer; one that did not is a problem with its kind.
fn told(Answered { run, is_replay }: Answered) -> Result<Response, Problem> {
    let place = format!("{BASE}/bundle-runs/{}", run.id);
    let status = match run.status {
        Status::Done => StatusCode::OK,
        Status::Running | Status::Compensating => StatusCode::ACCEPTED,
        Status::Parked | Status::Failed | Status::Compensated => {
            return Err(problem(&run, &place, is_replay));
        }
    };
    let mut response = (status, [(header::LOCATION, place)], Json(run)).into_response();
    if is_replay {
        let headers = response.headers_mut();
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn problem(run: &Run, place: &str, is_replay: bool) -> Problem {
    let failure = run.failure();
    let kind = failure.and_then(|failure| serde_json::from_value(failure.kind.as_str().into()).ok());
    let kind: ErrorKind = kind.unwrap_or(ErrorKind::Internal);
    let message = failure.map_or("the bundle did not end well", |failure| failure.message.as_str());
    let hint = failure.and_then(|failure| failure.hint.as_deref());
    let error = Error::new(kind, message).hint(hint.unwrap_or("read the run: GET /api/v1/bundle-runs/{id}"));
    let status = match run.status {
        // Nobody is to take it for something that is simply sent again.
        Status::Parked => StatusCode::BAD_GATEWAY,
        _ => status_of(kind),
    };
    Problem::with_status(status, error).of_run(&run.id, run.status.as_str(), place, is_replay)
}

async fn runs(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(query): Asked<RunsQuery>,
) -> Result<Json<Page<Run>>, Problem> {
    let limit = page::limit(query.limit)?;
    let filter = RunFilter {
        bundle: query.bundle,
        status: query.status,
        before: query.after,
        limit: limit + 1,
        ..RunFilter::default()
    };
    let items = bundles::list(&state.store, &access, &filter).await?;
    Ok(Json(Page::cut(items, limit, |run| run.id.clone())))
}

async fn run(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<Run>, Problem> {
    Ok(Json(bundles::get(&state.store, &access, &id).await?))
}

async fn cancel(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<Run>, Problem> {
    Ok(Json(desk(&state)?.cancel(&access, &id).await?))
}

async fn retry(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<Run>, Problem> {
    Ok(Json(desk(&state)?.retry(&access, &id).await?))
}

async fn settle(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    input::Json(settled): input::Json<Settled>,
) -> Result<Json<Run>, Problem> {
    Ok(Json(desk(&state)?.settle(&access, &id, &settled).await?))
}
