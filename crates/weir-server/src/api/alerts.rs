use axum::Json;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_control::DEFAULT_TENANT;
use weir_control::alerts::{self, Alert, AlertFilter, NewSilence, Silence};
use weir_control::deliveries;
use weir_control::principals::Permission;
use weir_protocol::Error;

use super::Endpoint;
use super::page::{Page, Paging, limit};
use super::webhooks::Tested;
use crate::input::{self, Asked, Caller, Expected, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Permission::{AlertsRead, AlertsWrite};
    vec![
        Endpoint::get("/alerts", AlertsRead, "Alerts, newest first", list)
            .query::<Wanted>()
            .answers::<Page<Alert>>(200),
        Endpoint::get("/alerts/{id}", AlertsRead, "One alert", show).answers::<Alert>(200),
        Endpoint::post(
            "/alerts/{id}/resolve",
            AlertsWrite,
            "End an alert by hand",
            resolve,
        )
        .body::<Reason>()
        .answers::<Alert>(200)
        .conditional(),
        Endpoint::get(
            "/silences",
            AlertsRead,
            "Silences that have not ended",
            list_silences,
        )
        .query::<Paging>()
        .answers::<Page<Silence>>(200),
        Endpoint::post(
            "/silences",
            AlertsWrite,
            "Keep alerts from the channels for a while",
            silence,
        )
        .body::<NewSilence>()
        .answers::<Silence>(201),
        Endpoint::post("/silences/{id}/end", AlertsWrite, "End a silence now", unsilence)
            .answers::<Silence>(200),
        Endpoint::post(
            "/channels/{name}/test",
            AlertsWrite,
            "Send a test to a channel; `/events/{event}` tells how it went",
            test,
        )
        .answers::<Tested>(202),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Those that are over too.
    #[serde(default)]
    all: bool,
    /// Only those of this connection.
    connection: Option<String>,
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    #[schemars(length(min = 1, max = 500), regex(pattern = "\\S"))]
    reason: String,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Page<Alert>>, Problem> {
    let limit = limit(wanted.limit)?;
    let filter = AlertFilter {
        all: wanted.all,
        connection: wanted.connection,
        before: wanted.after,
        limit: limit + 1,
    };
    let found = alerts::list(&state.store, &access.tenant, &filter).await?;
    Ok(Json(Page::cut(found, limit, |alert: &Alert| alert.id.clone())))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<Alert>, Problem> {
    Ok(Json(alerts::get(&state.store, &access.tenant, &id).await?))
}

async fn resolve(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    expected: Expected,
    input::Json(wanted): input::Json<Reason>,
) -> Result<Json<Alert>, Problem> {
    expected.check(&alerts::get(&state.store, &access.tenant, &id).await?)?;
    Ok(Json(
        alerts::resolve(&state.store, &access.tenant, &id, &wanted.reason).await?,
    ))
}

async fn list_silences(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Silence>>, Problem> {
    let items = alerts::silences(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, |item| item.id.clone())?))
}

async fn silence(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    input::Json(wanted): input::Json<NewSilence>,
) -> Result<(StatusCode, Json<Silence>), Problem> {
    let made = alerts::silence(&state.store, &access.tenant, &wanted).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

async fn unsilence(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<Silence>, Problem> {
    Ok(Json(alerts::unsilence(&state.store, &access.tenant, &id).await?))
}

async fn test(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<(StatusCode, Json<Tested>), Problem> {
    if access.tenant != DEFAULT_TENANT || !state.channels.contains(&name) {
        return Err(Error::not_found(format!("there is no channel '{name}'"))
            .hint("weir.yaml names them below alerts.channels")
            .into());
    }
    let target = format!("channel:{name}");
    let event = deliveries::test(&state.store, &access.tenant, &target).await?;
    Ok((StatusCode::ACCEPTED, Json(Tested { event })))
}
