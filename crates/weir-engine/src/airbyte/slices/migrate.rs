//! States of older formats.

use serde_json::{Value, json};
use weir_protocol::Result;

use super::super::env::Env;
use super::super::node::Node;

/// The state of a stream without cursor.
pub(crate) const NO_CURSOR: &str = "__ab_no_cursor_state_message";

/// The stream's state, brought to the format that its cursor writes.
pub(crate) fn migrations(env: &Env, stream: &Node<'_>, state: Value) -> Result<Value> {
    let mut state = state;
    for migration in stream.list("state_migrations") {
        state = match migration.kind() {
            "LegacyToPerPartitionStateMigration" => legacy(env, stream, state)?,
            _ => return Err(migration.unknown("a state migration")),
        };
    }
    Ok(state)
}

/// `{partition: {cursor field: value}}`.
fn legacy(env: &Env, stream: &Node<'_>, state: Value) -> Result<Value> {
    let Some(members) = state
        .as_object()
        .filter(|members| !members.is_empty() && !members.contains_key("states"))
    else {
        return Ok(state);
    };
    let Some(router) = stream
        .get("retriever")
        .and_then(|retriever| retriever.get("partition_router"))
    else {
        return Ok(state);
    };
    if !matches!(router.kind(), "SubstreamPartitionRouter" | "UnionPartitionRouter") {
        return Err(router.error(
            "LegacyToPerPartitionStateMigration is for a SubstreamPartitionRouter or a UnionPartitionRouter",
        ));
    }
    let parents = router.list("parent_stream_configs");
    let scope = env.scope();
    let partition_field = match parents.as_slice() {
        [parent] => parent.need_text("partition_field")?.eval_text(&scope)?,
        _ => match router.text("partition_field")? {
            Some(field) => field.eval_text(&scope)?,
            None => return Ok(state),
        },
    };
    let Some(cursor) = stream.get("incremental_sync") else {
        return Ok(state);
    };
    let cursor_field = cursor.need_text("cursor_field")?.eval_text(&scope)?;
    let is_legacy = members.values().all(|value| {
        value
            .as_object()
            .is_some_and(|value| value.len() == 1 && value.contains_key(&cursor_field))
    });
    if !is_legacy {
        return Ok(state);
    }
    let states = members
        .iter()
        .map(|(key, cursor)| json!({ "partition": { &partition_field: key }, "cursor": cursor }));
    Ok(json!({ "states": states.collect::<Vec<_>>() }))
}
