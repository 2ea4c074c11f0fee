//! What `fixtures.json` holds, in the protocol's own form.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rmcp::model::{
    CallToolResult, GetPromptResult, InputRequests, JsonObject, ReadResourceResult, ResourceContents, Tool,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

static FIXTURES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("fixtures.json")).unwrap_or_default());

fn find<T: DeserializeOwned>(kind: &str, name: &str) -> Option<T> {
    serde_json::from_value(FIXTURES.get(kind)?.get(name)?.clone()).ok()
}

pub(super) fn list<T: DeserializeOwned>(kind: &str) -> Vec<T> {
    serde_json::from_value(FIXTURES[kind].clone()).unwrap_or_default()
}

pub(super) fn tools() -> Vec<Tool> {
    list("tools")
}

pub(super) fn answer(tool: &str) -> Option<CallToolResult> {
    let mut found: CallToolResult = find("answers", tool)?;
    found.result_type = Some(rmcp::model::ResultType::COMPLETE);
    Some(found)
}

/// What a tool or prompt asks for before it answers.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Rounds {
    /// Whether it has the client show its state back.
    pub(super) keeps_state: bool,
    /// The beginning of its answer.
    pub(super) says: String,
    pub(super) rounds: Vec<InputRequests>,
}

pub(super) fn rounds(name: &str) -> Option<Rounds> {
    find("rounds", name)
}

/// What a job asks for while it runs.
pub(super) fn asks(job: &str) -> Option<InputRequests> {
    find("asks", job)
}

/// Properties that a person is asked for.
pub(super) fn elicitation(tool: &str) -> Option<Value> {
    find("elicitations", tool)
}

pub(super) fn content(uri: &str) -> Option<ReadResourceResult> {
    let found: Option<ResourceContents> = find("contents", uri);
    let content = found.or_else(|| {
        let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
        let text = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
        Some(ResourceContents::text(text.to_string(), uri).with_mime_type("application/json"))
    })?;
    Some(ReadResourceResult::new(vec![content]).with_cache_scope(rmcp::model::CacheScope::Private))
}

/// With its arguments in their places.
pub(super) fn prompt(name: &str, arguments: &JsonObject) -> Option<GetPromptResult> {
    let mut messages: Value = find("messages", name)?;
    let arguments: BTreeMap<String, String> = arguments
        .iter()
        .filter_map(|(key, value)| Some((format!("{{{key}}}"), value.as_str()?.to_owned())))
        .collect();
    fill(&mut messages, &arguments);
    let messages = serde_json::from_value(messages).ok()?;
    Some(GetPromptResult::new(messages))
}

fn fill(value: &mut Value, arguments: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            for (place, argument) in arguments {
                *text = text.replace(place, argument);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, arguments)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, arguments)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fixtures_can_be_read() {
        let keys = |kind: &str| -> Vec<String> {
            let found = FIXTURES[kind].as_object().expect(kind);
            assert!(!found.is_empty());
            found.keys().cloned().collect()
        };
        assert_eq!(tools().len(), FIXTURES["tools"].as_array().unwrap().len());
        for name in keys("answers") {
            assert!(answer(&name).is_some(), "{name}");
        }
        for name in keys("rounds") {
            assert!(rounds(&name).is_some(), "{name}");
        }
        for name in keys("asks") {
            assert!(asks(&name).is_some(), "{name}");
        }
        for uri in keys("contents") {
            assert!(content(&uri).is_some(), "{uri}");
        }
        for name in keys("messages") {
            assert!(prompt(&name, &JsonObject::new()).is_some(), "{name}");
        }
        for kind in ["resources", "templates", "prompts"] {
            assert!(!FIXTURES[kind].as_array().unwrap().is_empty());
        }
        assert_eq!(list::<rmcp::model::Resource>("resources").len(), 3);
        assert_eq!(list::<rmcp::model::ResourceTemplate>("templates").len(), 1);
        assert_eq!(list::<rmcp::model::Prompt>("prompts").len(), 5);
    }
}
