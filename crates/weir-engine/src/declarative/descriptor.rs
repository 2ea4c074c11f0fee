//! What is known of the streams before they are read: connector and connection merged.

use weir_protocol::connection::{ConnectionSpec, StreamChoice};
use weir_protocol::spec::StreamSpec;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result, StreamDescriptor};

use crate::catalog::Connector;
use crate::transform::landed;

/// All streams in their order; those that the connection changes, changed.
pub(crate) fn describe(connector: &Connector, connection: &ConnectionSpec) -> Result<Vec<StreamDescriptor>> {
    let streams = &connector.spec.streams;
    for name in connection.streams.keys() {
        let received = connector.spec.hook.as_ref();
        if !streams.iter().any(|stream| stream.name == *name)
            && received.is_none_or(|hook| hook.stream != *name)
        {
            return Err(unknown(connector, connection, name));
        }
    }
    let describe = |stream: &StreamSpec| {
        let schema = connector.schema(&stream.name);
        let choice = connection.streams.get(&stream.name);
        merged(stream, schema, choice)
    };
    streams.iter().map(describe).collect()
}

fn merged(
    stream: &StreamSpec,
    schema: Option<&serde_json::Value>,
    choice: Option<&StreamChoice>,
) -> Result<StreamDescriptor> {
    let mut policy = stream.policy();
    policy.casts = landed(&stream.transform).map_err(|error| error.with("stream", &stream.name))?;
    let mut primary_key = stream.primary_key.clone();
    let mut schema = schema.cloned();
    let mut mode = stream.mode;
    if let Some(choice) = choice {
        policy.contract = choice.contract.unwrap_or(policy.contract);
        // What a connection says about fields comes on top of what the connector says.
        policy.pii.extend(choice.pii.clone().unwrap_or_default());
        policy.partition_by = choice.partition_by.clone().unwrap_or(policy.partition_by);
        policy.explode = choice.explode.clone().unwrap_or(policy.explode);
        primary_key = choice.primary_key.clone().unwrap_or(primary_key);
        schema = choice.schema.clone().or(schema);
        mode = choice.mode.or(mode);
    }
    let cursor_field = stream.cursor.as_ref().map(|cursor| cursor.field.clone());
    if let Some(choice) = choice {
        choice
            .keeps_cursor(cursor_field.as_deref())
            .map_err(|error| error.with("stream", &stream.name))?;
    }
    let default = weir_protocol::SyncMode::default_for(!primary_key.is_empty(), cursor_field.is_some());
    Ok(StreamDescriptor {
        name: stream.name.clone(),
        entity: stream.entity().to_owned(),
        description: stream.description.clone(),
        schema,
        primary_key,
        cursor_field,
        mode: Some(mode.unwrap_or(default)),
        is_received: false,
        policy,
    })
}

fn unknown(connector: &Connector, connection: &ConnectionSpec, name: &str) -> Error {
    let names: Vec<&str> = connector
        .spec
        .streams
        .iter()
        .map(|stream| stream.name.as_str())
        .collect();
    let error = Error::spec(format!("connector '{}' has no stream '{name}'", connector.key()))
        .with("connection", &connection.connection);
    match closest(name, &names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint(format!("its streams are {}", names.join(", "))),
    }
}
