//! Making calls, and reading what became of them.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_control::calls::{self, Answered, Call, CallFilter, Desk, DryRun, Found, Status, Wanted};
use weir_control::principals::Permission;
use weir_protocol::{Error, ErrorKind};

use super::page::{self, Page};
use super::{BASE, Endpoint};
use crate::ServerState;
use crate::guard::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED};
use crate::input::{self, Asked, Caller, ForCaller, Named};
use crate::policy::VIA;
use crate::problem::{Problem, status_of};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/calls",
            Permission::ActionsRead,
            "Calls, newest first; of others for who approves or audits",
            list,
        )
        .query::<CallsQuery>()
        .answers::<Page<Call>>(200),
        Endpoint::post(
            "/calls",
            Permission::ActionsWrite,
            "Call an action: it is made before this answers, unless people have to approve it",
            make,
        )
        .body::<Wanted>()
        .answers::<Call>(200)
        .makes_calls(),
        Endpoint::post(
            "/calls/dry-run",
            Permission::ActionsWrite,
            "Show the request that a call would send, and whether it would wait for people",
            dry_run,
        )
        .body::<Wanted>()
        .answers::<DryRun>(200),
        Endpoint::get(
            "/calls/{id}",
            Permission::ActionsRead,
            "A call as it stands",
            show,
        )
        .answers::<Call>(200),
        Endpoint::post(
            "/calls/{id}/settle",
            Permission::ApprovalsWrite,
            "Say of an uncertain call whether it happened",
            settle,
        )
        .body::<Found>()
        .answers::<Call>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CallsQuery {
    /// Only calls of this connection.
    connection: Option<String>,
    /// Only calls that stand so.
    status: Option<Status>,
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Where calls are made, for who asks.
pub(super) fn desk(state: &ServerState) -> Result<Desk, Problem> {
    let desk = state.calls.as_ref().ok_or_else(|| {
        Problem::from(
            Error::not_found("this server makes no calls").hint("use `weir call` where the project is"),
        )
    })?;
    Ok(desk.acting_as(state.store.acting().clone()))
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(query): Asked<CallsQuery>,
) -> Result<Json<Page<Call>>, Problem> {
    let limit = page::limit(query.limit)?;
    let filter = CallFilter {
        connection: query.connection,
        status: query.status,
        before: query.after,
        limit: limit + 1,
        ..CallFilter::default()
    };
    let items = calls::list(&state.store, &access, &filter).await?;
    Ok(Json(Page::cut(items, limit, |call| call.id.clone())))
}

async fn make(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    headers: HeaderMap,
    input::Json(wanted): input::Json<Wanted>,
) -> Result<Response, Problem> {
    let key = headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes);
    let key = key.map(String::from_utf8_lossy);
    let answered = desk(&state)?.ask(&access, &wanted, key.as_deref(), VIA).await?;
    told(answered)
}

/// A call that went well or goes on is an answer; one that did not is a problem with its kind.
fn told(Answered { call, is_replay }: Answered) -> Result<Response, Problem> {
    let place = format!("{BASE}/calls/{}", call.id);
    let status = match call.status {
        Status::Done => StatusCode::OK,
        Status::Waiting | Status::Ready | Status::Running => StatusCode::ACCEPTED,
        Status::Failed | Status::Uncertain | Status::Refused => {
            return Err(problem(&call, &place, is_replay));
        }
    };
    let mut response = (status, [(header::LOCATION, place)], Json(call)).into_response();
    if is_replay {
        let headers = response.headers_mut();
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn problem(call: &Call, place: &str, is_replay: bool) -> Problem {
    let failure = call.error.as_ref();
    let kind = failure.and_then(|failure| serde_json::from_value(failure.kind.as_str().into()).ok());
    let kind: ErrorKind = kind.unwrap_or(ErrorKind::Internal);
    let message = failure.map_or("the call did not end well", |failure| failure.message.as_str());
    let hint = failure.and_then(|failure| failure.hint.as_deref());
    let error = Error::new(kind, message).hint(hint.unwrap_or("read the call: GET /api/v1/calls/{id}"));
    let status = match call.status {
        // Nobody is to take it for something that is simply sent again.
        Status::Uncertain => StatusCode::BAD_GATEWAY,
        _ => status_of(kind),
    };
    Problem::with_status(status, error).of_call(&call.id, call.status.as_str(), place, is_replay)
}

async fn dry_run(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    input::Json(wanted): input::Json<Wanted>,
) -> Result<Json<DryRun>, Problem> {
    Ok(Json(desk(&state)?.dry_run(&access, &wanted, VIA).await?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<Call>, Problem> {
    Ok(Json(calls::get(&state.store, &access, &id).await?))
}

async fn settle(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    input::Json(found): input::Json<Found>,
) -> Result<Json<Call>, Problem> {
    Ok(Json(calls::settle(&state.store, &access, &id, &found).await?))
}
