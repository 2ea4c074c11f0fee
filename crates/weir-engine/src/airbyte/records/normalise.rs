//! Values cast to their schema's types, by Python's rules; what cannot be cast stays as it is.

use serde_json::{Number, Value};

use super::super::template::{int_json, json_is_true, py_text};
use crate::extract::Exact;

/// Nesting of schemas that are followed.
const DEPTH_MAX: usize = 64;

/// `exact` is what the record was parsed by.
pub(super) fn normalise(record: &mut Value, schema: &Value, exact: &Exact) {
    let root = Root { schema, exact };
    root.descend(record, schema, 0);
}

struct Root<'r> {
    schema: &'r Value,
    exact: &'r Exact,
}

impl Root<'_> {
    fn descend(&self, value: &mut Value, schema: &Value, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = reference
                .strip_prefix('#')
                .and_then(|pointer| self.schema.pointer(pointer));
            if let Some(target) = target {
                self.descend(value, target, depth + 1);
            }
            return;
        }
        match value {
            Value::Object(members) => {
                let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                    return;
                };
                for (name, below) in properties {
                    if let Some(member) = members.get_mut(name) {
                        convert(member, below, self.exact);
                        self.descend(member, below, depth + 1);
                    }
                }
            }
            Value::Array(items) => {
                let Some(below) = schema.get("items").filter(|items| items.is_object()) else {
                    return;
                };
                for item in items {
                    convert(item, below, self.exact);
                    self.descend(item, below, depth + 1);
                }
            }
            _ => {}
        }
    }
}

fn convert(value: &mut Value, schema: &Value, exact: &Exact) {
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    if value.is_null() && kinds.contains(&"null") {
        return;
    }
    let is_list = schema.get("type").is_some_and(Value::is_array);
    let mut named = kinds.iter().filter(|kind| !is_list || **kind != "null");
    let (Some(kind), None) = (named.next(), named.next()) else {
        return;
    };
    let cast = match *kind {
        "string" if value.is_string() => None,
        "string" => {
            let digits = exact.digits(value).filter(|digits| is_integer(digits));
            Some(Value::String(
                digits.map_or_else(|| py_text(value), str::to_owned),
            ))
        }
        "number" => float(value),
        "integer" => integer(value),
        "boolean" => boolean(value),
        "array" => listed(value, schema),
        _ => None,
    };
    if let Some(cast) = cast {
        *value = cast;
    }
}

/// Which Python knows to the last digit, however many there are; of a fraction it knows those of a double.
fn is_integer(digits: &str) -> bool {
    digits.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

fn float(value: &Value) -> Option<Value> {
    let number = match value {
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().replace('_', "").parse().ok()?,
        _ => return None,
    };
    Number::from_f64(number).map(Value::Number)
}

fn integer(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(flag) => Some(Value::from(i64::from(*flag))),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64()?.trunc();
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
            (number.abs() < 1e18).then(|| Value::from(number as i64))
        }
        Value::String(text) => text.trim().replace('_', "").parse::<i128>().ok().map(int_json),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<Value> {
    let Value::String(text) = value else {
        return Some(Value::Bool(json_is_true(value)));
    };
    match text.trim().to_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Some(Value::Bool(true)),
        "n" | "no" | "f" | "false" | "off" | "0" => Some(Value::Bool(false)),
        _ => None,
    }
}

/// A single simple value where a list of simple values is declared.
fn listed(value: &Value, schema: &Value) -> Option<Value> {
    let simple = |kind: &Value| {
        matches!(
            kind.as_str(),
            Some("string" | "number" | "integer" | "boolean" | "null")
        )
    };
    let declared = match schema.get("items").and_then(|items| items.get("type")) {
        None => true,
        Some(Value::Array(kinds)) => kinds.iter().all(simple),
        Some(_) => false,
    };
    (declared && !value.is_array() && !value.is_object()).then(|| Value::Array(vec![value.clone()]))
}
