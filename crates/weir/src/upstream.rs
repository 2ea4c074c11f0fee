//! MCP servers behind connections of the project, and what of them is offered.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_control::permits::Urgency;
use weir_control::upstreams::{self, Tool, Watch};
use weir_control::{DEFAULT_TENANT, Store};
use weir_engine::native::mcp;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::{ActionSpec, Effect};
use weir_protocol::tools::SeenTool;
use weir_protocol::{Error, Result};

use crate::engine::{self, Supplied};
use crate::grants;
use crate::wiring::Wiring;

/// What a connection's actions are made of besides its files: nothing, where no server is behind it.
pub(crate) async fn supplied(
    wiring: &Wiring,
    store: &Store,
    connection: &ConnectionSpec,
) -> Result<Supplied> {
    if !mcp::is_of(wiring.connector(connection)?) {
        return Ok(Supplied::default());
    }
    let name = &connection.connection;
    Ok(Supplied {
        accepted_tools: upstreams::accepted(store, DEFAULT_TENANT, name).await?,
        tool_watch: Some(Arc::new(Watch::new(store, DEFAULT_TENANT, name))),
        ..Supplied::default()
    })
}

/// The actions of a connection as far as its files and the store tell; asks no server.
pub(crate) async fn offered(wiring: &Wiring, connection: &ConnectionSpec) -> Result<Vec<ActionSpec>> {
    let Some(store) = wiring.store_if_any().await? else {
        return Ok(Vec::new());
    };
    let accepted = upstreams::accepted(&store, DEFAULT_TENANT, &connection.connection).await?;
    mcp::offered(connection, &accepted)
}

/// Asks the server behind a connection what it has, and keeps that.
pub(crate) async fn look(wiring: &Wiring, store: &Store, name: &str) -> Result<Vec<SeenTool>> {
    let connection = wiring.connection(name)?;
    let connector = wiring.connector(&connection)?;
    if !mcp::is_of(connector) {
        return Err(
            Error::usage(format!("no MCP server is behind connection '{name}'"))
                .with("connector", connector.key())
                .hint("`weir action list` shows the actions of other connections"),
        );
    }
    let resolved = wiring.resolved(&connection).await?;
    let supplied = Supplied {
        tokens: grants::tokens(wiring, &resolved).await?,
        permits: wiring.permits(&connection, Urgency::Interactive).await?,
        ..supplied(wiring, store, &connection).await?
    };
    engine::tools_with(connector, &resolved, supplied)?.look().await
}

/// What the connection's file says that each tool does; empty where it cannot be read now.
pub(crate) fn effects(wiring: &Wiring, name: &str) -> BTreeMap<String, Effect> {
    let declared = wiring
        .connection(name)
        .and_then(|connection| mcp::effects(&connection));
    declared.unwrap_or_else(|error| {
        tracing::warn!(connection = name, %error, "its file does not say what tools do");
        BTreeMap::new()
    })
}

/// Why a tool is not offered; None where it is.
pub(crate) fn kept_back(tool: &Tool, effect: Option<Effect>) -> Option<&'static str> {
    use upstreams::State;

    match (tool.state, effect) {
        (State::Accepted, Some(_)) => None,
        (State::Accepted | State::New, None) => Some("no effect is declared"),
        (State::New, Some(_)) => Some("nobody accepted it"),
        (State::Changed, _) => Some("it changed after it was accepted"),
        (State::Gone, _) => Some("the server has it no more"),
        (State::Refused, _) => Some("it can never be offered"),
    }
}
