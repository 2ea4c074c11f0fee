use axum::Json;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_control::deliveries::{self, Delivery, DeliveryFilter};
use weir_control::events::{self, Envelope, EventFilter};
use weir_control::principals::Permission;
use weir_protocol::Error;

use super::Endpoint;
use super::page::{Page, limit};
use crate::ServerState;
use crate::input::{self, Asked, Caller, ForCaller, Named};
use crate::problem::Problem;

const DELIVERIES_MAX: u32 = 200;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/events",
            Permission::EventsRead,
            "Events that are kept, newest first, as CloudEvents",
            list,
        )
        .query::<Wanted>()
        .answers::<Page<Envelope>>(200),
        Endpoint::get(
            "/events/deliveries",
            Permission::EventsRead,
            "Events on their way to webhooks and channels, or given up, newest first",
            list_deliveries,
        )
        .query::<WantedDeliveries>()
        .answers::<Page<Delivery>>(200),
        Endpoint::get(
            "/events/{id}",
            Permission::EventsRead,
            "One event, and to whom it went",
            show,
        )
        .answers::<EventDetail>(200),
        Endpoint::post(
            "/events/{id}/replay",
            Permission::EventsWrite,
            "Send an event again",
            replay,
        )
        .body::<Replay>()
        .answers::<EventDetail>(202),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Only this family; `run.*` for all that begin so.
    family: Option<String>,
    /// Only about this: `connection:github`.
    subject: Option<String>,
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    Waiting,
    Delivered,
    Dead,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WantedDeliveries {
    /// Only those with this status.
    status: Option<Status>,
    /// `webhook:NAME` or `channel:NAME`.
    target: Option<String>,
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// Only to this one, `webhook:NAME` or `channel:NAME`; to all that it went to if left out.
    target: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct EventDetail {
    event: Envelope,
    deliveries: Vec<Delivery>,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Page<Envelope>>, Problem> {
    let limit = limit(wanted.limit)?;
    let filter = EventFilter {
        family: wanted.family,
        subject: wanted.subject,
        before: wanted.after,
        limit: limit + 1,
    };
    let found = events::list(&state.store, &access.tenant, &filter).await?;
    let envelopes = found.into_iter().map(Envelope::from).collect();
    Ok(Json(Page::cut(envelopes, limit, |event: &Envelope| {
        event.id.clone()
    })))
}

async fn list_deliveries(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(wanted): Asked<WantedDeliveries>,
) -> Result<Json<Page<Delivery>>, Problem> {
    let limit = limit(wanted.limit)?;
    let filter = DeliveryFilter {
        status: wanted.status.map(|status| status.as_str().to_owned()),
        target: wanted.target,
        after: wanted.after.as_deref().map(place).transpose()?,
        limit: limit + 1,
        ..DeliveryFilter::default()
    };
    let found = deliveries::list(&state.store, &access.tenant, &filter).await?;
    Ok(Json(Page::cut(found, limit, |delivery| {
        format!("{} {}", delivery.event, delivery.target)
    })))
}

/// Which delivery the `next` of a page names.
fn place(next: &str) -> Result<(String, String), Error> {
    next.split_once(' ')
        .map(|(event, target)| (event.to_owned(), target.to_owned()))
        .ok_or_else(|| {
            Error::usage(format!("'{next}' is not the `next` of a page"))
                .hint("leave `after` out to begin at the newest delivery")
        })
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<EventDetail>, Problem> {
    Ok(Json(detail(&state, &access.tenant, &id).await?))
}

async fn detail(state: &ServerState, tenant: &str, id: &str) -> Result<EventDetail, Problem> {
    let event = events::get(&state.store, tenant, id).await?;
    let filter = DeliveryFilter {
        event: Some(event.id.clone()),
        limit: DELIVERIES_MAX,
        ..DeliveryFilter::default()
    };
    Ok(EventDetail {
        deliveries: deliveries::list(&state.store, tenant, &filter).await?,
        event: event.into(),
    })
}

async fn replay(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    input::Json(wanted): input::Json<Replay>,
) -> Result<(StatusCode, Json<EventDetail>), Problem> {
    deliveries::replay(&state.store, &access.tenant, &id, wanted.target.as_deref()).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(detail(&state, &access.tenant, &id).await?),
    ))
}
