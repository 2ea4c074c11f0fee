use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use weir_control::connectors::{self, BoardLine, ConnectorInfo, Health, Probed};
use weir_control::principals::Permission;
use weir_protocol::Error;

use super::Endpoint;
use super::page::{Page, Paging};
use crate::input::{Asked, Caller, ForCaller};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/connectors",
            Permission::ConnectorsRead,
            "The catalog of connectors",
            list,
        )
        .query::<Paging>()
        .answers::<Page<ConnectorInfo>>(200),
        Endpoint::get(
            "/connectors/governance",
            Permission::ConnectorsRead,
            "The health board: how every connector and connection stands",
            governance,
        )
        .query::<Paging>()
        .answers::<Page<BoardLine>>(200),
        Endpoint::get(
            "/connectors/health",
            Permission::ConnectorsRead,
            "Whether every connection answers now",
            health,
        )
        .answers::<Answering>(200),
    ]
}

/// How all connections of a tenant are at this moment.
#[derive(Serialize, JsonSchema)]
struct Answering {
    /// `ok` where all are, `error` where none is, `degraded` between.
    status: Health,
    connections: Vec<Probed>,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(_): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<ConnectorInfo>>, Problem> {
    let items = state.catalog.to_vec();
    std::future::ready(Ok(Json(Page::by_key(items, &paging, |item| item.key.clone())?))).await
}

async fn governance(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<BoardLine>>, Problem> {
    let lines = connectors::board(&state.store, &access.tenant, &state.catalog).await?;
    Ok(Json(Page::by_key(lines, &paging, |line| {
        format!(
            "{} {}",
            line.connector,
            line.connection.as_deref().unwrap_or_default()
        )
    })?))
}

async fn health(ForCaller(state): ForCaller, Caller(access): Caller) -> Result<Json<Answering>, Problem> {
    let prober = state.prober.as_ref().ok_or_else(|| {
        Error::unavailable("this server has no connections to ask").hint(
            "start `weir serve` in the project folder; /api/v1/connectors/governance tells how runs went",
        )
    })?;
    let connections = prober.probe(&state.store, &access.tenant).await?;
    Ok(Json(Answering {
        status: connectors::overall(connections.iter().map(|probed| probed.status)),
        connections,
    }))
}
