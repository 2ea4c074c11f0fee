//! Whether every template of a spec can be compiled.

use serde_json::Value;
use weir_protocol::Error;
use weir_protocol::spec::ConnectorSpec;

use crate::clock::Clock;
use crate::interpolate::{Templates, is_template};

/// Fields of the spec that hold JSON Schemas, in which braces are only text.
const SCHEMAS: &[&str] = &["config", "schema"];

/// One error for each template that is not well formed, naming its field.
pub(super) fn check(spec: &ConnectorSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    match serde_json::to_value(spec) {
        Ok(tree) => walk(&Templates::new(&Clock::system()), &tree, "", &mut errors),
        Err(error) => errors.push(
            Error::internal("a connector spec cannot be written as JSON")
                .caused_by(error)
                .hint("report this as a bug of weir"),
        ),
    }
    errors
}

fn walk(templates: &Templates, value: &Value, path: &str, errors: &mut Vec<Error>) {
    match value {
        Value::String(text) if is_template(text) => {
            if let Err(error) = templates.compile(path, text) {
                errors.push(error);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = item.get("name").and_then(Value::as_str);
                let step = name.map_or_else(|| index.to_string(), str::to_owned);
                walk(templates, item, &format!("{path}[{step}]"), errors);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                if SCHEMAS.contains(&key.as_str()) {
                    continue;
                }
                let step = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                walk(templates, member, &step, errors);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
