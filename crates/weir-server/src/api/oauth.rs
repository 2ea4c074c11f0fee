//! Connecting and disconnecting connections whose auth method a person consents to.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_control::oauth::{self, Callback, Desk, Grant};
use weir_control::principals::Permission;
use weir_protocol::Error;

use super::Endpoint;
use super::page::{Page, Paging};
use crate::ServerState;
use crate::input::{self, Asked, Caller, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/grants",
            Permission::ConnectionsRead,
            "What providers granted to all connections",
            list,
        )
        .query::<Paging>()
        .answers::<Page<Grant>>(200),
        Endpoint::get(
            "/connections/{name}/oauth",
            Permission::ConnectionsRead,
            "What the provider granted to a connection",
            show,
        )
        .answers::<Grant>(200),
        Endpoint::delete(
            "/connections/{name}/oauth",
            Permission::ConnectionsWrite,
            "Give a grant up, here and at the provider",
            disconnect,
        )
        .answers::<GivenUp>(200),
        Endpoint::post(
            "/connections/{name}/oauth/start",
            Permission::ConnectionsWrite,
            "Begin a login: where a person consents",
            start,
        )
        .answers::<Begun>(200),
        Endpoint::post(
            "/connections/{name}/oauth/finish",
            Permission::ConnectionsWrite,
            "End a login that this token began",
            finish,
        )
        .body::<Answer>()
        .answers::<Grant>(200),
    ]
}

/// A login that was begun.
#[derive(Serialize, JsonSchema)]
struct Begun {
    /// Where a person consents, within ten minutes.
    authorize_url: String,
}

/// What the browser was sent back with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// The whole address: `https://…/oauth/callback?code=…&state=…`
    callback: String,
}

/// How the provider took it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum AtProvider {
    Confirmed,
    /// Nothing is kept here, but the provider was not reached or refused: end the access there.
    NotConfirmed,
    /// There is nowhere to say it: end the access at the provider.
    NotAsked,
}

#[derive(Serialize, JsonSchema)]
struct GivenUp {
    connection: String,
    at_provider: AtProvider,
}

fn desk(state: &ServerState) -> Result<&Desk, Problem> {
    state.oauth.as_ref().ok_or_else(|| {
        Error::not_found("this server connects nothing")
            .hint("use `weir auth login` where the project is")
            .into()
    })
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Grant>>, Problem> {
    let items = oauth::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, |item| {
        item.connection.clone()
    })?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<Grant>, Problem> {
    Ok(Json(oauth::get(&state.store, &access.tenant, &name).await?))
}

async fn disconnect(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<GivenUp>, Problem> {
    let done = desk(&state)?.disconnect(&access, &name).await?;
    Ok(Json(GivenUp {
        connection: name,
        at_provider: match done.at_provider {
            Some(Ok(())) => AtProvider::Confirmed,
            Some(Err(error)) => {
                tracing::warn!(%error, "the provider did not confirm that a grant is given up");
                AtProvider::NotConfirmed
            }
            None => AtProvider::NotAsked,
        },
    }))
}

async fn start(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<Begun>, Problem> {
    let started = desk(&state)?.start(&access, &name).await?;
    Ok(Json(Begun {
        authorize_url: started.authorize_url,
    }))
}

async fn finish(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
    input::Json(answer): input::Json<Answer>,
) -> Result<Json<Grant>, Problem> {
    let callback = Callback::parse(&answer.callback)?;
    let desk = desk(&state)?;
    let pending = desk.pending(&callback).await?;
    if pending.connection != name {
        return Err(Error::denied("the answer belongs to another connection's login")
            .with("connection", &pending.connection)
            .hint("send it to the connection for which the login was begun")
            .into());
    }
    Ok(Json(desk.finish(&access, &callback).await?))
}
