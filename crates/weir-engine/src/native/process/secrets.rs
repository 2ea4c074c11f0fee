//! Which of a program's settings are sensitive.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_protocol::Secret;

/// Parts of names whose values are taken for sensitive.
const SENSITIVE: &[&str] = &[
    "token",
    "key",
    "secret",
    "password",
    "passwd",
    "credential",
    "auth",
    "private",
];
/// Shorter values of variables are too common to be blotted out wherever they occur.
const VARIABLE_CHARS_MIN: usize = 6;
/// A number of fewer digits is taken for a size or a count.
const DIGITS_MIN: usize = 6;
/// Word by which a specification marks a setting as secret.
const MARK: &str = "airbyte_secret";

/// What looks sensitive without anybody saying so: values under telling names, values of the
/// environment that the connection's file names, and what goes into the program's environment.
pub(in crate::native) fn suspected(
    settings: &Value,
    variables: &[Secret],
    env: &BTreeMap<String, String>,
) -> Vec<Secret> {
    let mut found = named(settings);
    let telling =
        |text: &str| text.len() >= VARIABLE_CHARS_MIN && (text.parse::<f64>().is_err() || has_digits(text));
    found.extend(variables.iter().filter(|value| telling(value.expose())).cloned());
    let named = env.iter().filter(|(name, _)| is_sensitive(name));
    found.extend(named.map(|(_, value)| Secret::new(value.clone())));
    found
}

/// Values under telling names.
pub(in crate::native) fn named(settings: &Value) -> Vec<Secret> {
    let mut found = Vec::new();
    by_name(settings, false, &mut found);
    found
}

/// Whether a number is long enough to be a secret.
fn has_digits(number: &str) -> bool {
    number.bytes().filter(u8::is_ascii_digit).count() >= DIGITS_MIN
}

fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SENSITIVE.iter().any(|word| name.contains(word))
}

fn by_name(value: &Value, is_named: bool, found: &mut Vec<Secret>) {
    match value {
        Value::String(text) if is_named => found.push(Secret::new(text.clone())),
        Value::Number(number) if is_named && has_digits(&number.to_string()) => {
            found.push(Secret::new(number.to_string()));
        }
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| by_name(value, is_named || is_sensitive(name), found)),
        Value::Array(items) => items.iter().for_each(|item| by_name(item, is_named, found)),
        _ => {}
    }
}

/// Path and value of the settings that the program's own specification marks as secret.
pub(in crate::native) fn marked(schema: &Value, settings: &Value) -> Vec<(String, Secret)> {
    let mut found = Vec::new();
    collect(schema, settings, "", &mut found);
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.dedup_by(|(one, _), (other, _)| one == other);
    found
}

fn collect(schema: &Value, value: &Value, path: &str, found: &mut Vec<(String, Secret)>) {
    let is_secret = schema[MARK] == Value::Bool(true);
    let text = match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    if let Some(text) = text.filter(|_| is_secret) {
        found.push((path.to_owned(), Secret::new(text)));
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        for branch in schema[choice].as_array().into_iter().flatten() {
            collect(branch, value, path, found);
        }
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                collect(
                    &schema["properties"][name.as_str()],
                    member,
                    &format!("{path}.{name}"),
                    found,
                );
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(&schema["items"], item, path, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn exposed(found: &[Secret]) -> Vec<&str> {
        found.iter().map(Secret::expose).collect()
    }

    #[test]
    fn what_looks_sensitive_is_found() {
        let settings = json!({
            "count": 10_000_000, "credentials": { "user": "ann", "more": ["x1", 99_999, 482_913] }, "api_key": "k1",
        });
        let variables = ["hunter2", "1000000", "eu", "10.000", "true"].map(Secret::new);
        let env = [
            ("DB_PASSWORD".to_owned(), "p1".to_owned()),
            ("MODE".to_owned(), "fast".to_owned()),
        ]
        .into();
        assert_eq!(
            exposed(&suspected(&settings, &variables, &env)),
            ["ann", "x1", "482913", "k1", "hunter2", "1000000", "p1"]
        );
    }

    #[test]
    fn what_is_marked_is_found_in_every_branch() {
        let secret = json!({ "type": "string", "airbyte_secret": true });
        let schema = json!({ "properties": {
            "plain": { "type": "string" },
            "login": { "oneOf": [{ "properties": { "password": secret } }, { "properties": { "token": secret } }] },
        } });
        let found = marked(&schema, &json!({ "plain": "a", "login": { "token": "t1" } }));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0.as_str(), found[0].1.expose()), (".login.token", "t1"));
        let found = marked(&schema, &json!({ "login": { "token": 4711 } }));
        assert_eq!(found[0].1.expose(), "4711");
    }
}
