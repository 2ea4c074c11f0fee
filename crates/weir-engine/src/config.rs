//! A connection's settings against the connector's `config` schema.

use jsonschema::Validator;
use serde_json::{Map, Value};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

/// The settings with the schema's defaults filled in; an error names the field and what is allowed.
pub(crate) fn validate(schema: Option<&Value>, config: &Map<String, Value>) -> Result<Map<String, Value>> {
    validate_at("config", schema, config)
}

/// The same for settings that stand elsewhere in a connection, or come with a call.
pub(crate) fn validate_at(
    place: &str,
    schema: Option<&Value>,
    config: &Map<String, Value>,
) -> Result<Map<String, Value>> {
    let Some(schema) = schema else {
        return Ok(config.clone());
    };
    let filled = filled(schema, config);
    let validator = jsonschema::validator_for(schema).map_err(|error| {
        Error::spec("the connector's config schema is invalid")
            .with("problem", error.to_string())
            .hint("mend 'config' in the connector's connector.yaml")
    })?;
    check(schema, &validator, &filled, place)?;
    match filled {
        Value::Object(filled) => Ok(filled),
        _ => Ok(config.clone()),
    }
}

/// The settings with the schema's defaults.
pub(crate) fn filled(schema: &Value, config: &Map<String, Value>) -> Value {
    let mut filled = Value::Object(config.clone());
    fill_defaults(schema, &mut filled);
    filled
}

/// The first fault, named by its place, with what is allowed there.
pub(crate) fn check(schema: &Value, validator: &Validator, filled: &Value, place: &str) -> Result<()> {
    check_names(schema, filled, place)?;
    let Some(error) = validator.iter_errors(filled).next() else {
        return Ok(());
    };
    let path = format!("{place}{}", error.instance_path().as_str().replace('/', "."));
    let part = subschema(schema, error.instance_path().as_str());
    // The value itself may be sensitive; the schema's words are not.
    let problem = error.masked_with("the value").to_string();
    Err(Error::spec(format!("{path}: {problem}")).hint(allowed(part.unwrap_or(schema))))
}

fn fill_defaults(schema: &Value, value: &mut Value) {
    let (Some(properties), Value::Object(members)) = (schema["properties"].as_object(), value) else {
        return;
    };
    for (name, property) in properties {
        match (members.get_mut(name), property.get("default")) {
            (Some(member), _) => fill_defaults(property, member),
            (None, Some(default)) => {
                members.insert(name.clone(), default.clone());
            }
            (None, None) => {}
        }
    }
}

/// Unknown and missing names, told better than a validator tells them.
fn check_names(schema: &Value, value: &Value, path: &str) -> Result<()> {
    let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object()) else {
        return Ok(());
    };
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    let is_closed = schema["additionalProperties"] == Value::Bool(false);
    let required = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let missing = required.into_iter().find(|name| !members.contains_key(*name));
    let unknown = members.keys().find(|name| !properties.contains_key(*name));
    if let Some(unknown) = unknown.filter(|_| is_closed || missing.is_some()) {
        let near = closest(unknown, &names);
        if is_closed || near.is_some() {
            let what = if path.starts_with("config") {
                "no setting of this connector"
            } else {
                "not known here"
            };
            let error = Error::spec(format!("{path}.{unknown} is {what}"));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("its settings are {}", names.join(", "))),
            });
        }
    }
    if let Some(missing) = missing {
        let hint = match properties.get(missing) {
            Some(property) => format!("add {missing} under {path}; {}", allowed(property)),
            None => format!("add {missing} under {path}"),
        };
        return Err(Error::spec(format!("{path}.{missing} is missing")).hint(hint));
    }
    for (name, property) in properties {
        if let Some(member) = members.get(name) {
            check_names(property, member, &format!("{path}.{name}"))?;
        }
    }
    Ok(())
}

/// The schema of the place that a JSON pointer into the value names.
fn subschema<'a>(schema: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer.split('/').skip(1).try_fold(schema, |schema, step| {
        schema["properties"].get(step).or_else(|| schema.get("items"))
    })
}

/// What a schema allows, in a few words.
fn allowed(schema: &Value) -> String {
    let list = |values: &Vec<Value>| {
        values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(values) = schema["enum"].as_array() {
        return format!("write one of {}", list(values));
    }
    let mut words = Vec::new();
    match (&schema["type"], schema["format"].as_str()) {
        (_, Some("date-time")) => words.push("write a time, as in 2026-01-31T00:00:00Z".to_owned()),
        (_, Some("date")) => words.push("write a date, as in 2026-01-31".to_owned()),
        (Value::String(kind), _) => words.push(format!("write a value of type {kind}")),
        _ => {}
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        words.push(format!("it must match {pattern}"));
    }
    if let Some(examples) = schema["examples"].as_array() {
        words.push(format!("for example {}", list(examples)));
    }
    if let Some(text) = schema["description"].as_str() {
        words.push(text.to_owned());
    }
    if words.is_empty() {
        return "see what the connector's README says about its settings".to_owned();
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object", "required": ["repository"], "additionalProperties": false,
            "properties": {
                "repository": { "type": "string", "examples": ["apache/datafusion"], "pattern": "^[^/]+/[^/]+$" },
                "size": { "type": "integer", "default": 100, "maximum": 100 },
                "kind": { "enum": ["a", "b"] },
                "nested": { "type": "object", "properties": { "deep": { "type": "boolean", "default": true } } },
            },
        })
    }

    fn run(config: Value) -> Result<Value> {
        let Value::Object(config) = config else {
            panic!("an object")
        };
        validate(Some(&schema()), &config).map(Value::Object)
    }

    fn failure(config: Value) -> String {
        format!("{:?}", run(config).unwrap_err())
    }

    #[test]
    fn defaults_are_filled_in() {
        assert_eq!(
            run(json!({ "repository": "a/b", "nested": {} })).unwrap(),
            json!({ "repository": "a/b", "nested": { "deep": true }, "size": 100 })
        );
    }

    #[test]
    fn faults_are_named() {
        insta::assert_snapshot!(failure(json!({})), @r#"[spec] config.repository is missing -> add repository under config; write a value of type string; it must match ^[^/]+/[^/]+$; for example "apache/datafusion""#);
        insta::assert_snapshot!(failure(json!({ "repositry": "a/b" })), @"[spec] config.repositry is no setting of this connector -> did you mean 'repository'?");
        insta::assert_snapshot!(failure(json!({ "repository": "s3cret" })), @r#"[spec] config.repository: the value does not match "^[^/]+/[^/]+$" -> write a value of type string; it must match ^[^/]+/[^/]+$; for example "apache/datafusion""#);
        insta::assert_snapshot!(failure(json!({ "repository": "a/b", "size": 1000 })), @"[spec] config.size: the value is greater than the maximum of 100 -> write a value of type integer");
        insta::assert_snapshot!(failure(json!({ "repository": "a/b", "kind": "c" })), @r#"[spec] config.kind: the value is not one of "a" or "b" -> write one of "a", "b""#);
        insta::assert_snapshot!(failure(json!({ "repository": "a/b", "nested": { "deep": "x" } })), @r#"[spec] config.nested.deep: the value is not of type "boolean" -> write a value of type boolean"#);
    }
}
