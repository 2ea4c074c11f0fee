use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use weir_control::deliveries;
use weir_control::principals::{Access, Permission};
use weir_control::secrets::Secrets;
use weir_control::webhooks::{self, NewWebhook, Webhook};
use weir_protocol::{Error, Secret};

use super::page::{Page, Paging};
use super::{BASE, Endpoint};
use crate::ServerState;
use crate::guard::KeptInstead;
use crate::input::{self, Asked, Caller, Expected, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Permission::{EventsRead, EventsWrite};
    vec![
        Endpoint::get("/webhooks", EventsRead, "All webhooks", list)
            .query::<Paging>()
            .answers::<Page<Webhook>>(200),
        Endpoint::post(
            "/webhooks",
            EventsWrite,
            "Add a webhook; its secret is shown this once",
            add,
        )
        .body::<NewWebhook>()
        .answers::<WithSecret>(201),
        Endpoint::get("/webhooks/{name}", EventsRead, "One webhook", show).answers::<Webhook>(200),
        Endpoint::post(
            "/webhooks/{name}/remove",
            EventsWrite,
            "Remove a webhook and what is on its way to it",
            remove,
        )
        .answers::<Webhook>(200)
        .conditional(),
        Endpoint::post(
            "/webhooks/{name}/pause",
            EventsWrite,
            "Send nothing more to a webhook",
            pause,
        )
        .answers::<Webhook>(200)
        .conditional(),
        Endpoint::post(
            "/webhooks/{name}/resume",
            EventsWrite,
            "Send to a webhook again",
            resume,
        )
        .answers::<Webhook>(200)
        .conditional(),
        Endpoint::post(
            "/webhooks/{name}/rotate",
            EventsWrite,
            "Give a webhook another secret, shown this once; the one before it signs too for a day",
            rotate,
        )
        .answers::<WithSecret>(200),
        Endpoint::post(
            "/webhooks/{name}/test",
            EventsWrite,
            "Send a test to a webhook; `/events/{event}` tells how it went",
            test,
        )
        .answers::<Tested>(202),
    ]
}

#[derive(Serialize, JsonSchema)]
struct WithSecret {
    #[serde(flatten)]
    webhook: Webhook,
    /// What the receiver verifies signatures with. Null where an idempotency key was used again: it is
    /// shown once.
    secret: Option<String>,
}

/// The event of a test.
#[derive(Serialize, JsonSchema)]
pub(super) struct Tested {
    pub(super) event: String,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Webhook>>, Problem> {
    let items = webhooks::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, |item| item.name.clone())?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<Webhook>, Problem> {
    Ok(Json(webhooks::get(&state.store, &access.tenant, &name).await?))
}

pub(super) async fn keeper(state: &ServerState, access: &Access) -> Result<Secrets, Problem> {
    let Some(vault) = &state.vault else {
        return Err(Error::unavailable("this server holds no secrets")
            .hint("ask a server that has the master key")
            .into());
    };
    Ok(vault.open(&state.store, &access.tenant).await?)
}

async fn add(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    input::Json(wanted): input::Json<NewWebhook>,
) -> Result<Response, Problem> {
    if wanted.allow_private {
        return Err(Error::denied("private addresses are not let in over the API")
            .hint("whoever has the machine adds it: `weir webhook add --allow-private`")
            .into());
    }
    let keeper = keeper(&state, &access).await?;
    let (webhook, secret) = webhooks::add(&state.store, &keeper, &wanted).await?;
    let place: (HeaderName, String) = (header::LOCATION, format!("{BASE}/webhooks/{}", webhook.name));
    Ok(([place], shown(StatusCode::CREATED, webhook, &secret)).into_response())
}

async fn rotate(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Response, Problem> {
    webhooks::get(&state.store, &access.tenant, &name).await?;
    let keeper = keeper(&state, &access).await?;
    let secret = webhooks::rotate(&state.store, &keeper, &name).await?;
    let webhook = webhooks::get(&state.store, &access.tenant, &name).await?;
    Ok(shown(StatusCode::OK, webhook, &secret))
}

/// The secret is shown, and not kept where the answer is.
fn shown(status: StatusCode, webhook: Webhook, secret: &Secret) -> Response {
    let mut body = WithSecret {
        webhook,
        secret: Some(secret.expose().to_owned()),
    };
    let mut response = (status, Json(json!(body))).into_response();
    body.secret = None;
    response
        .extensions_mut()
        .insert(KeptInstead(json!(body).to_string()));
    response
}

async fn remove(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
    expected: Expected,
) -> Result<Json<Webhook>, Problem> {
    let known = webhooks::get(&state.store, &access.tenant, &name).await?;
    expected.check(&known)?;
    webhooks::remove(&state.store, &access.tenant, &name).await?;
    Ok(Json(known))
}

async fn pause(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
    expected: Expected,
) -> Result<Json<Webhook>, Problem> {
    set_paused(&state, &access, &name, &expected, Some("asked for")).await
}

async fn resume(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
    expected: Expected,
) -> Result<Json<Webhook>, Problem> {
    set_paused(&state, &access, &name, &expected, None).await
}

async fn set_paused(
    state: &ServerState,
    access: &Access,
    name: &str,
    expected: &Expected,
    because: Option<&str>,
) -> Result<Json<Webhook>, Problem> {
    expected.check(&webhooks::get(&state.store, &access.tenant, name).await?)?;
    Ok(Json(
        webhooks::pause(&state.store, &access.tenant, name, because).await?,
    ))
}

async fn test(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<(StatusCode, Json<Tested>), Problem> {
    let target = format!("webhook:{name}");
    let event = deliveries::test(&state.store, &access.tenant, &target).await?;
    Ok((StatusCode::ACCEPTED, Json(Tested { event })))
}
