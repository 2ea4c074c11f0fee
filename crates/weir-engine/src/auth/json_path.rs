//! Looks a dotted path up in a small JSON answer.

use serde_json::Value;

pub(super) fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .try_fold(value, |value, part| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        })
}

/// A token as text: strings as they are, numbers by their digits.
pub(super) fn text(value: &Value, path: &str) -> Option<String> {
    match find(value, path)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
