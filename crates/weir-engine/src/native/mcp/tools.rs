//! What a server says that it can do: read within bounds, judged, and named by a digest.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use weir_protocol::tools::{SeenTool, ToolDefinition, is_unseen};
use weir_protocol::{Error, Result};

use super::headers;
use super::line::Line;

/// Pages of a list that are read.
const PAGES_MAX: usize = 50;
/// Tools of one server.
const TOOLS_MAX: usize = 500;
const NAME_CHARS_MAX: usize = 128;
const DESCRIPTION_CHARS_MAX: usize = 8_000;
/// Of all definitions of a server, as JSON.
const LIST_BYTES_MAX: usize = 8 << 20;
/// Of one tool's definition, as JSON.
const DEFINITION_BYTES_MAX: usize = 64 << 10;

/// Asks a server for its tools.
pub(super) async fn list(line: &Line) -> Result<Vec<SeenTool>> {
    let (mut found, mut cursor, mut bytes) = (Vec::new(), None, 0);
    for _ in 0..PAGES_MAX {
        let params = match &cursor {
            None => json!({}),
            Some(cursor) => json!({ "cursor": cursor }),
        };
        let mut page = line.read("tools/list", params).await?;
        let Some(Value::Array(tools)) = page.remove("tools") else {
            return Err(Error::decode("the server's list of tools is none")
                .hint("check config.url: it has to be the server's MCP endpoint"));
        };
        bytes += tools.iter().map(|tool| tool.to_string().len()).sum::<usize>();
        found.extend(tools);
        if found.len() > TOOLS_MAX || bytes > LIST_BYTES_MAX {
            return Err(Error::limit("the server has more tools than are taken")
                .with("tools_max", TOOLS_MAX)
                .with("bytes_max", LIST_BYTES_MAX)
                .hint("ask for a server, or an address of it, with fewer tools"));
        }
        cursor = match page.remove("nextCursor") {
            Some(Value::String(next)) => Some(next),
            _ => return Ok(judged(&found, |text| line.tells(text))),
        };
    }
    Err(Error::limit("the server's list of tools does not end")
        .with("pages_max", PAGES_MAX)
        .hint("tell whoever keeps the server"))
}

/// `tells` finds a secret of the connection in a text.
fn judged(tools: &[Value], tells: impl Fn(&str) -> bool) -> Vec<SeenTool> {
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for tool in tools {
        let Some(definition) = definition(tool) else {
            tracing::warn!("a tool without name or input schema is left out");
            continue;
        };
        if !names.insert(definition.name.clone()) {
            tracing::warn!(tool = definition.name, "a second tool of this name is left out");
            continue;
        }
        let whole = json!(definition).to_string();
        let is_telling = tells(&whole);
        if is_telling && tells(&definition.name) {
            tracing::warn!("a tool whose name is a secret of the connection is left out");
            continue;
        }
        let problem = if is_telling {
            Some("it repeats a secret of the connection".to_owned())
        } else {
            problem(&definition, whole.len()).err()
        };
        all.push(SeenTool {
            digest: digest(&definition),
            problem,
            definition: if is_telling || whole.len() > DEFINITION_BYTES_MAX {
                without_detail(definition)
            } else {
                definition
            },
        });
    }
    all
}

/// What is kept of a definition that is too large to be kept, or must not be.
fn without_detail(definition: ToolDefinition) -> ToolDefinition {
    ToolDefinition {
        name: definition.name,
        title: None,
        description: None,
        input: json!({ "type": "object" }),
        output: None,
        annotations: None,
    }
}

/// None where it has no name by which it could be called.
fn definition(tool: &Value) -> Option<ToolDefinition> {
    let text = |name: &str| tool.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let name = text("name")?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(is_plain) {
        return None;
    }
    let given = |name: &str| tool.get(name).filter(|value| !value.is_null()).cloned();
    Some(ToolDefinition {
        name,
        title: text("title"),
        description: text("description"),
        input: given("inputSchema")?,
        output: given("outputSchema"),
        annotations: given("annotations"),
    })
}

/// Names a definition, whatever the order of its keys.
fn digest(definition: &ToolDefinition) -> String {
    let mut whole = json!(definition);
    whole.sort_all_objects();
    format!("{:x}", Sha256::digest(whole.to_string()))
}

/// Why a tool can never be offered. What a server writes goes to models and people: all of it has to be seen.
fn problem(definition: &ToolDefinition, bytes: usize) -> Result<(), String> {
    if bytes > DEFINITION_BYTES_MAX {
        return Err(format!(
            "its definition has {bytes} bytes; {DEFINITION_BYTES_MAX} are taken"
        ));
    }
    let about = definition.description.as_deref().unwrap_or_default();
    if about.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(format!(
            "its description has more than {DESCRIPTION_CHARS_MAX} characters"
        ));
    }
    if let Some(letter) = unseen(&json!(definition)) {
        return Err(format!(
            "it has a character that nobody sees (U+{:04X})",
            u32::from(letter)
        ));
    }
    if definition.input["type"] != "object" {
        return Err("its input schema is not one of an object".to_owned());
    }
    let schemas = [Some(&definition.input), definition.output.as_ref()];
    for schema in schemas.into_iter().flatten() {
        if let Err(error) = jsonschema::validator_for(schema) {
            return Err(format!("a schema of it cannot be used: {}", error.masked()));
        }
    }
    headers::params(&definition.input).map(drop)
}

/// The first letter in it that a reader cannot see, or that turns what they see around.
fn unseen(value: &Value) -> Option<char> {
    let in_text = |text: &str| text.chars().find(|letter| is_unseen(*letter));
    match value {
        Value::String(text) => in_text(text),
        Value::Array(items) => items.iter().find_map(unseen),
        Value::Object(members) => in_members(members, in_text),
        _ => None,
    }
}

fn in_members(members: &Map<String, Value>, in_text: impl Fn(&str) -> Option<char>) -> Option<char> {
    members
        .iter()
        .find_map(|(name, value)| in_text(name).or_else(|| unseen(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(tool: Value) -> SeenTool {
        judged(&[tool], |_| false).remove(0)
    }

    #[test]
    fn what_repeats_a_secret_is_not_kept() {
        let tool = |name: &str, about: &str| json!({ "name": name, "description": about, "inputSchema": { "type": "object" } });
        let tools = [
            tool("a", "sent with s3cr3t-of-the-line"),
            tool("s3cr3t-of-the-line", ""),
            tool("b", ""),
        ];
        let found = judged(&tools, |text| text.contains("s3cr3t"));
        let names: Vec<&str> = found.iter().map(|tool| tool.definition.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(found[0].problem.as_deref().unwrap().contains("repeats a secret"));
        assert!(found[1].problem.is_none());
        assert!(!json!(found).to_string().contains("s3cr3t"));
    }

    #[test]
    fn a_digest_names_all_that_counts() {
        let base = json!({ "name": "a", "inputSchema": { "type": "object", "title": "x" } });
        let same =
            json!({ "inputSchema": { "title": "x", "type": "object" }, "name": "a", "_meta": { "n": 1 } });
        assert_eq!(seen(base.clone()).digest, seen(same).digest);
        for (field, value) in [
            ("description", json!("other")),
            ("title", json!("other")),
            ("annotations", json!({ "readOnlyHint": true })),
            ("outputSchema", json!({ "type": "object" })),
            ("inputSchema", json!({ "type": "object" })),
        ] {
            let mut other = base.clone();
            other[field] = value;
            assert_ne!(seen(base.clone()).digest, seen(other).digest, "{field}");
        }
    }

    #[test]
    fn what_nobody_sees_is_not_offered() {
        let described = |text: &str| {
            seen(json!({ "name": "a", "description": text, "inputSchema": { "type": "object" } })).problem
        };
        assert_eq!(described("Reads a page.\n\tIn Arabic: يقرأ صفحة."), None);
        for hidden in ["a\u{200b}b", "\u{202e}txet", "\u{1b}[8m", "\u{e0041}", "a\u{0}"] {
            assert!(described(hidden).unwrap().contains("nobody sees"), "{hidden:?}");
        }
        let deep = json!({ "name": "a", "inputSchema": {
            "type": "object", "properties": { "x": { "description": "\u{2066}" } } } });
        assert!(seen(deep).problem.is_some());
        assert!(described(&"x".repeat(9_000)).is_some());
        let large = json!({ "name": "a", "inputSchema": { "type": "object", "title": "x".repeat(70_000) } });
        let large = seen(large);
        assert!(large.problem.is_some() && json!(large).to_string().len() < 1_000);
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_a_problem() {
        for schema in [
            json!({ "type": "array" }),
            json!({ "type": "object", "properties": { "a": { "pattern": "(" } } }),
            json!({ "type": "object", "properties": { "a": { "$ref": "https://example.com/other.json" } } }),
        ] {
            let found = seen(json!({ "name": "a", "inputSchema": schema }));
            assert!(found.problem.is_some(), "{:?}", found.definition.input);
        }
    }

    #[test]
    fn names_that_cannot_be_called_are_left_out() {
        let tools = [
            json!({ "name": "a b", "inputSchema": { "type": "object" } }),
            json!({ "name": "", "inputSchema": { "type": "object" } }),
            json!({ "name": "none" }),
            json!({ "name": "twice", "inputSchema": { "type": "object" } }),
            json!({ "name": "twice", "inputSchema": { "type": "object", "title": "another" } }),
        ];
        let names: Vec<String> = judged(&tools, |_| false)
            .into_iter()
            .map(|tool| tool.definition.name)
            .collect();
        assert_eq!(names, ["twice"]);
    }
}
