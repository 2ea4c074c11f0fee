use std::collections::BTreeMap;

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use weir_control::hooks::{self, Note};
use weir_control::principals::Permission;
use weir_control::{DEFAULT_TENANT, connections};
use weir_protocol::{Error, Result};

use super::Endpoint;
use super::page::{Page, Paging, limit};
use crate::input::{Asked, Caller, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/hooks",
            Permission::ConnectionsRead,
            "Connections that outside systems may send messages to, and when the last one came",
            list,
        )
        .query::<Paging>()
        .answers::<Page<Hook>>(200),
        Endpoint::get(
            "/hooks/{connection}/messages",
            Permission::EventsRead,
            "Messages that a connection was sent and that are kept, newest first, without their bodies",
            list_messages,
        )
        .query::<Paging>()
        .answers::<Page<Note>>(200),
    ]
}

/// Where messages of a connection come in.
#[derive(Serialize, JsonSchema)]
struct Hook {
    connection: String,
    connector: String,
    /// Where senders post to, behind the server's address.
    path: String,
    /// How they sign; null where the connector takes no messages any more.
    scheme: Option<String>,
    /// Of the newest message that is kept.
    last_received_at_ms: Option<i64>,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Hook>>, Problem> {
    let inflows = hooks::inflows(&state.store, &access.tenant).await?.into_iter();
    let last: BTreeMap<String, Option<i64>> = inflows
        .map(|inflow| (inflow.connection, inflow.last_received_at_ms))
        .collect();
    let known = connections::list(&state.store, &access.tenant).await?;
    let found = known.into_iter().filter_map(|connection| {
        let info = state.catalog.iter().find(|info| info.key == connection.connector);
        let scheme = info.and_then(|info| info.hook.clone());
        let last = last.get(&connection.name);
        (scheme.is_some() || last.is_some()).then(|| Hook {
            path: path(&access.tenant, &connection.name),
            connection: connection.name,
            connector: connection.connector,
            scheme,
            last_received_at_ms: last.copied().flatten(),
        })
    });
    Ok(Json(Page::by_key(found.collect(), &paging, |hook| {
        hook.connection.clone()
    })?))
}

fn path(tenant: &str, connection: &str) -> String {
    match tenant {
        DEFAULT_TENANT => format!("/hooks/{connection}"),
        other => format!("/hooks/{other}/{connection}"),
    }
}

async fn list_messages(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Note>>, Problem> {
    let limit = limit(paging.limit)?;
    let before = paging.after.as_deref().map(place).transpose()?;
    let connection = connections::get(&state.store, &access.tenant, &name).await?;
    let found = hooks::notes(&state.store, &access.tenant, &connection.name, before, limit + 1);
    Ok(Json(Page::cut(found.await?, limit, |note| {
        note.place.to_string()
    })))
}

/// Which message the `next` of a page names.
fn place(next: &str) -> Result<i64> {
    next.parse().map_err(|_| {
        Error::usage(format!("'{next}' is not the `next` of a page"))
            .hint("leave `after` out to begin at the newest message")
    })
}
