use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_control::connections;
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_protocol::{Result, name};

use super::{About, Own};
use crate::mcp::caller::Caller;

pub(super) fn tool() -> Own {
    Own::new(
        &About {
            name: "list_streams",
            title: "List connections and their streams",
            description: "Without a connection: the connections there are. With one: its streams, with the table that each one is in.",
            permission: Permission::ConnectionsRead,
        },
        run,
    )
    .of_data()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Name of a connection.
    #[serde(default)]
    #[schemars(with = "String")]
    connection: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Known {
    name: String,
    connector: String,
}

#[derive(Serialize, JsonSchema)]
struct Stream {
    name: String,
    /// As `query` names it.
    table: String,
    primary_key: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", default)]
    description: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    connections: Vec<Known>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    streams: Vec<Stream>,
}

async fn run(caller: Caller, input: Input) -> Result<Output> {
    let Some(wanted) = input.connection else {
        return known(&caller).await;
    };
    let target = Target::Connection(wanted.clone());
    caller.check(Permission::ConnectionsRead, &target).await?;
    let (store, tenant) = (&caller.state.store, &caller.access.tenant);
    let found = connections::get(store, tenant, &wanted).await;
    // One that was never synced is in its file alone.
    let source = found.map_or_else(|_| wanted.clone(), |connection| connection.source);
    let streams = caller.data()?.streams(&wanted).await?;
    let streams = streams.into_iter().map(|stream| Stream {
        table: name::silver(&source, &stream.entity),
        name: stream.name,
        primary_key: stream.primary_key,
        description: stream.description,
    });
    Ok(Output {
        connections: Vec::new(),
        streams: streams.collect(),
    })
}

async fn known(caller: &Caller) -> Result<Output> {
    caller.check(Permission::ConnectionsRead, &Target::Tenant).await?;
    let mut seen = Vec::new();
    for connection in connections::list(&caller.state.store, &caller.access.tenant).await? {
        let target = Target::Connection(connection.name.clone());
        if caller.allows(Permission::ConnectionsRead, &target).await? {
            seen.push(Known {
                name: connection.name,
                connector: connection.connector,
            });
        }
    }
    Ok(Output {
        connections: seen,
        streams: Vec::new(),
    })
}
