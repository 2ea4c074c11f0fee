//! References inside of a schema, put in their places, so that each part stands for itself.

use serde_json::{Map, Value};

/// A schema that is deeper is left as it is there, and then only the same text fits it.
const DEPTH_MAX: usize = 32;
/// Words that say nothing about what is allowed.
const SILENT: [&str; 12] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// The schema without what says nothing, and with `$ref`s to its own parts replaced by these. A part
/// that holds itself keeps its reference.
pub(super) fn expand(schema: &Value) -> Value {
    part(schema, schema, &mut Vec::new(), 0)
}

fn part(schema: &Value, root: &Value, open: &mut Vec<String>, depth: usize) -> Value {
    let Value::Object(words) = schema else {
        return schema.clone();
    };
    if depth >= DEPTH_MAX {
        return schema.clone();
    }
    let mut out = Map::new();
    for (word, value) in words {
        if SILENT.contains(&word.as_str()) {
            continue;
        }
        let value = match word.as_str() {
            "properties" | "patternProperties" | "dependentSchemas" => named(value, root, open, depth),
            "items"
            | "additionalProperties"
            | "contains"
            | "not"
            | "if"
            | "then"
            | "else"
            | "propertyNames"
            | "unevaluatedProperties"
            | "unevaluatedItems" => part(value, root, open, depth + 1),
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => listed(value, root, open, depth),
            _ => value.clone(),
        };
        out.insert(word.clone(), value);
    }
    let Some(Value::String(reference)) = words.get("$ref") else {
        return Value::Object(out);
    };
    if open.contains(reference) {
        return Value::Object(out);
    }
    let Some(target) = reference.strip_prefix('#').and_then(|path| root.pointer(path)) else {
        return Value::Object(out);
    };
    open.push(reference.clone());
    let target = part(target, root, open, depth + 1);
    open.pop();
    out.remove("$ref");
    if out.is_empty() {
        return target;
    }
    // Both hold: what stands beside the reference, and what it names.
    let parts = out.entry("allOf").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(parts) = parts {
        parts.push(target);
    }
    Value::Object(out)
}

fn named(value: &Value, root: &Value, open: &mut Vec<String>, depth: usize) -> Value {
    match value {
        Value::Object(parts) => parts
            .iter()
            .map(|(name, value)| (name.clone(), part(value, root, open, depth + 1)))
            .collect(),
        other => other.clone(),
    }
}

fn listed(value: &Value, root: &Value, open: &mut Vec<String>, depth: usize) -> Value {
    match value {
        Value::Array(parts) => parts
            .iter()
            .map(|value| part(value, root, open, depth + 1))
            .collect(),
        other => other.clone(),
    }
}
