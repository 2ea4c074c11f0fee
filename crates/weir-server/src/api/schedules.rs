use std::num::NonZeroU32;

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_control::principals::{Access, Permission};
use weir_control::schedules::{self, Compliance, Schedule};
use weir_protocol::Error;

use super::Endpoint;
use super::page::{Page, Paging};
use crate::ServerState;
use crate::input::{Asked, Caller, Expected, ForCaller, Named};
use crate::problem::Problem;

const DAYS_DEFAULT: u32 = 30;
const DAYS_MAX: u32 = 366;
const DAY_MS: i64 = 86_400_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/schedules", Permission::SchedulesRead, "All schedules", list)
            .query::<Paging>()
            .answers::<Page<Schedule>>(200),
        Endpoint::get(
            "/schedules/compliance",
            Permission::SchedulesRead,
            "How well the schedule of each connection was kept",
            compliance,
        )
        .query::<Span>()
        .answers::<Page<Kept>>(200),
        Endpoint::get(
            "/schedules/{connection}",
            Permission::SchedulesRead,
            "The schedule of one connection",
            show,
        )
        .answers::<Schedule>(200),
        Endpoint::post(
            "/schedules/{connection}/pause",
            Permission::SchedulesWrite,
            "Stop a schedule",
            pause,
        )
        .answers::<Schedule>(200)
        .conditional(),
        Endpoint::post(
            "/schedules/{connection}/resume",
            Permission::SchedulesWrite,
            "Let a schedule go on",
            resume,
        )
        .answers::<Schedule>(200)
        .conditional(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Span {
    /// Of the last so many days; 30 if left out.
    #[schemars(range(min = 1, max = 366))]
    days: Option<NonZeroU32>,
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl Span {
    fn paging(&self) -> Paging {
        Paging {
            limit: self.limit,
            after: self.after.clone(),
        }
    }
}

/// How a connection's schedule was kept.
#[derive(Serialize, JsonSchema)]
struct Kept {
    connection: String,
    #[serde(flatten)]
    compliance: Compliance,
    /// Share that succeeded in time: 1 is all.
    kept_ratio: f64,
    /// Share that succeeded at all.
    success_ratio: f64,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Schedule>>, Problem> {
    let items = schedules::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, |item| {
        item.connection.clone()
    })?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(connection): Named<String>,
) -> Result<Json<Schedule>, Problem> {
    Ok(Json(
        schedules::get(&state.store, &access.tenant, &connection).await?,
    ))
}

async fn compliance(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(span): Asked<Span>,
) -> Result<Json<Page<Kept>>, Problem> {
    let days = span.days.map_or(DAYS_DEFAULT, NonZeroU32::get);
    if days > DAYS_MAX {
        return Err(Error::usage(format!("{days} days are too many"))
            .hint(format!("use 1 to {DAYS_MAX}"))
            .into());
    }
    let since_ms = state.store.now_ms().await? - i64::from(days) * DAY_MS;
    let kept = schedules::compliance(&state.store, &access.tenant, since_ms).await?;
    let items = kept.into_iter().map(|(connection, compliance)| Kept {
        connection,
        kept_ratio: compliance.kept_share(),
        success_ratio: compliance.success_share(),
        compliance,
    });
    let items = items.collect();
    Ok(Json(Page::by_key(items, &span.paging(), |item: &Kept| {
        item.connection.clone()
    })?))
}

async fn pause(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(connection): Named<String>,
    expected: Expected,
) -> Result<Json<Schedule>, Problem> {
    set_paused(&state, &access, &connection, &expected, true).await
}

async fn resume(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(connection): Named<String>,
    expected: Expected,
) -> Result<Json<Schedule>, Problem> {
    set_paused(&state, &access, &connection, &expected, false).await
}

async fn set_paused(
    state: &ServerState,
    access: &Access,
    connection: &str,
    expected: &Expected,
    paused: bool,
) -> Result<Json<Schedule>, Problem> {
    let (store, tenant) = (&state.store, &access.tenant);
    let check = |schedule: &Schedule| expected.check(schedule);
    let changed = schedules::pause_if(store, tenant, connection, paused, &check).await;
    changed.map_err(|error| expected.problem(error))?;
    Ok(Json(
        schedules::get(&state.store, &access.tenant, connection).await?,
    ))
}
