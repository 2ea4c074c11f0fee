//! Whether every template of a spec can be compiled.

use minijinja::Environment;
use serde_json::Value;
use weir_protocol::Error;
use weir_protocol::spec::ConnectorSpec;

/// Fields of the spec that hold JSON Schemas, in which braces are only text.
const SCHEMAS: &[&str] = &["config", "schema"];

/// One error for each template that is not well formed, naming its field.
pub(super) fn check(spec: &ConnectorSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    match serde_json::to_value(spec) {
        Ok(tree) => walk(&Environment::new(), &tree, "", &mut errors),
        Err(error) => errors.push(
            Error::internal("a connector spec cannot be written as JSON")
                .caused_by(error)
                .hint("report this as a bug of weir"),
        ),
    }
    errors
}

fn walk(environment: &Environment<'_>, value: &Value, path: &str, errors: &mut Vec<Error>) {
    match value {
        Value::String(text) if text.contains("{{") || text.contains("{%") => {
            if let Err(error) = environment.template_from_str(text) {
                errors.push(
                    Error::template(format!("{path}: the template cannot be compiled"))
                        .with("template", text)
                        .with("problem", error)
                        .hint("write {{ config.name }} for a value, as in /items/{{ config.account }}"),
                );
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = item.get("name").and_then(Value::as_str);
                let step = name.map_or_else(|| index.to_string(), str::to_owned);
                walk(environment, item, &format!("{path}[{step}]"), errors);
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
                walk(environment, member, &step, errors);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
