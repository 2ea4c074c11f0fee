use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_control::principals::Permission;
use weir_protocol::{Error, Result};

use super::{About, Own};

const NAME: &str = "call_action";

pub(super) fn tool() -> Own {
    Own::described::<Input, Output>(&About {
        name: NAME,
        title: "Call an action",
        description: "Calls an action that search_tools found, with the arguments that it takes.",
        permission: Permission::ActionsWrite,
    })
    .for_searching()
    .hints(|hints| {
        hints
            .read_only(false)
            .destructive(true)
            .idempotent(false)
            .open_world(true)
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// As search_tools names it.
    name: String,
    /// As its input_schema says.
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// As the tools of actions answer.
#[derive(Serialize, JsonSchema)]
struct Output {
    /// Id of the call.
    call: String,
    status: String,
    #[schemars(default)]
    output: Value,
}

/// Which action a call of a tool is about, and with what: its own tool's, or what `call_action` is given.
pub(in crate::mcp) fn named_action(tool: &str, arguments: JsonObject) -> Result<(String, JsonObject)> {
    if tool != NAME {
        return Ok((tool.to_owned(), arguments));
    }
    let input: Input = serde_json::from_value(Value::Object(arguments)).map_err(|error| {
        Error::usage(format!("the arguments do not fit: {error}"))
            .hint("send {\"name\": …, \"arguments\": {…}}; search_tools says which there are")
    })?;
    Ok((input.name, input.arguments))
}
