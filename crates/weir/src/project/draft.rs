//! A connection file for a connector, as far as the connector tells what belongs in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use weir_engine::catalog::Connector;
use weir_protocol::spec::AuthSpec;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

/// What stands where the connector names neither a default nor an example.
const PLACEHOLDER: &str = "CHANGE_ME";

/// Text of a connection file. `settings` are `name=value` pairs of its config.
pub(crate) fn draft_connection(connector: &Connector, settings: &[String]) -> Result<String> {
    let empty = Map::new();
    let schema = connector.spec.config.as_ref();
    let properties = schema
        .and_then(|schema| schema["properties"].as_object())
        .unwrap_or(&empty);
    let settings = parse_settings(settings, properties)?;
    let required: Vec<&str> = schema
        .and_then(|schema| schema["required"].as_array())
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();

    let mut out = String::new();
    if let Some(docs) = &connector.spec.docs {
        out.push_str(&format!("# {docs}\n"));
    }
    out.push_str(&format!("connector: {}\n", connector.key()));
    if !properties.is_empty() {
        out.push_str("config:\n");
    }
    for (name, property) in properties {
        let title = property["title"].as_str().unwrap_or_default();
        let note = if title.is_empty() {
            String::new()
        } else {
            format!("  # {title}")
        };
        let set = settings.get(name.as_str());
        let mark = if set.is_some() || required.contains(&name.as_str()) {
            ""
        } else {
            "# "
        };
        let value = set.cloned().unwrap_or_else(|| suggestion(property));
        out.push_str(&format!("  {mark}{name}: {value}{note}\n"));
    }
    push_credential(&mut out, connector);
    push_streams(&mut out, connector);
    Ok(out)
}

fn parse_settings(settings: &[String], properties: &Map<String, Value>) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for setting in settings {
        let (name, value) = setting.split_once('=').ok_or_else(|| {
            Error::usage(format!("'{setting}' is not NAME=VALUE")).hint("write --set name=value")
        })?;
        let Some(property) = properties.get(name) else {
            let names: Vec<&str> = properties.keys().map(String::as_str).collect();
            let error = Error::usage(format!("the connector has no setting '{name}'"));
            return Err(match closest(name, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("its settings are {}", names.join(", "))),
            });
        };
        let is_text = property["type"] == "string";
        let value = match serde_json::from_str(value) {
            Ok(parsed) if !is_text => parsed,
            _ => Value::from(value),
        };
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

fn suggestion(property: &Value) -> Value {
    let first = |key: &str| property[key].as_array().and_then(|all| all.first()).cloned();
    property
        .get("default")
        .cloned()
        .or_else(|| first("examples"))
        .or_else(|| first("enum"))
        .unwrap_or_else(|| Value::from(PLACEHOLDER))
}

fn push_credential(out: &mut String, connector: &Connector) {
    let Some(auth) = connector
        .spec
        .auth
        .iter()
        .find(|auth| !matches!(auth, AuthSpec::None {}))
    else {
        return;
    };
    out.push_str(&format!("credential:\n  method: {}\n", auth.method()));
    for name in credential_names(auth) {
        let variable = format!("{}_{name}", connector.key()).to_uppercase();
        out.push_str(&format!("  {name}: ${{{variable}}}\n"));
    }
}

/// The names that the method's templates read from the credential.
pub(crate) fn credential_names(auth: &AuthSpec) -> Vec<String> {
    let text = serde_json::to_string(auth).unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for part in text.split("credential.").skip(1) {
        let name: String = part
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn push_streams(out: &mut String, connector: &Connector) {
    if connector.spec.streams.is_empty() {
        return;
    }
    out.push_str("# Only these streams; without this part, all of them.\n# streams:\n");
    for stream in &connector.spec.streams {
        let about = stream.description.as_deref().unwrap_or_default();
        // Writing to a string cannot fail.
        let _written = writeln!(out, "#   {}: {{}}  # {about}", stream.name);
    }
}
