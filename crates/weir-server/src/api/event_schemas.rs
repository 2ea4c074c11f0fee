use axum::Json;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use weir_control::event_schemas::{self, EventSchema, Mode, Verdict};
use weir_control::principals::Permission;

use super::Endpoint;
use super::page::{Page, Paging};
use crate::input::{self, Asked, Caller, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Permission::{EventsRead, EventsWrite};
    vec![
        Endpoint::get(
            "/event-schemas",
            EventsRead,
            "Every version of every family of events",
            list,
        )
        .query::<Paging>()
        .answers::<Page<EventSchema>>(200),
        Endpoint::get(
            "/event-schemas/{family}",
            EventsRead,
            "The newest version of a family's schema",
            newest,
        )
        .answers::<EventSchema>(200),
        Endpoint::get(
            "/event-schemas/{family}/{version}",
            EventsRead,
            "One version of a family's schema",
            show,
        )
        .answers::<EventSchema>(200),
        Endpoint::post(
            "/event-schemas/check",
            EventsRead,
            "Whether a schema could be the next version, and why not",
            check,
        )
        .body::<Candidate>()
        .answers::<Verdict>(200),
        Endpoint::post(
            "/event-schemas",
            EventsWrite,
            "Register a schema as the family's next version",
            register,
        )
        .body::<Candidate>()
        .answers::<EventSchema>(201),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Candidate {
    /// Lower-case words with dots between them: `shop.order_paid`.
    #[schemars(length(max = 100), regex(pattern = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$"))]
    family: String,
    /// A JSON Schema of type `object`.
    schema: Map<String, Value>,
    /// How it has to fit; as the family has it if left out, `backward` for a new family.
    compatibility: Option<Mode>,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<EventSchema>>, Problem> {
    let items = event_schemas::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, |item| {
        // So that the tenth version comes behind the second.
        format!("{} {:010}", item.family, item.version)
    })?))
}

async fn newest(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(family): Named<String>,
) -> Result<Json<EventSchema>, Problem> {
    Ok(Json(
        event_schemas::get(&state.store, &access.tenant, &family, None).await?,
    ))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named((family, version)): Named<(String, String)>,
) -> Result<Json<EventSchema>, Problem> {
    // What is no number is no version.
    let version = version.parse().unwrap_or(0);
    Ok(Json(
        event_schemas::get(&state.store, &access.tenant, &family, Some(version)).await?,
    ))
}

async fn check(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    input::Json(wanted): input::Json<Candidate>,
) -> Result<Json<Verdict>, Problem> {
    let schema = Value::Object(wanted.schema);
    let mode = wanted.compatibility;
    Ok(Json(
        event_schemas::check(&state.store, &access.tenant, &wanted.family, &schema, mode).await?,
    ))
}

async fn register(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    input::Json(wanted): input::Json<Candidate>,
) -> Result<(StatusCode, Json<EventSchema>), Problem> {
    let schema = Value::Object(wanted.schema);
    let mode = wanted.compatibility;
    let made = event_schemas::register(&state.store, &access.tenant, &wanted.family, &schema, mode).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
