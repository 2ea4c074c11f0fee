//! Whether a reader accepts all that a writer may write, keyword by keyword.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Difference, bounds, objects};

const TYPES: [&str; 7] = [
    "null", "boolean", "integer", "number", "string", "array", "object",
];
/// Words whose meaning is not looked into: the same on both sides, or not fitting.
const OPAQUE: [&str; 10] = [
    "not",
    "if",
    "then",
    "else",
    "$ref",
    "$dynamicRef",
    "contains",
    "propertyNames",
    "dependentSchemas",
    "prefixItems",
];
/// More than so many differences help nobody.
const DIFFERENCES_MAX: usize = 100;

/// All ways in which `reader` refuses what `writer` may write. Both are expanded.
pub(super) fn differences(writer: &Value, reader: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(writer, reader, "$", &mut found);
    found.truncate(DIFFERENCES_MAX);
    found
}

pub(super) fn fits(writer: &Value, reader: &Value) -> bool {
    differences(writer, reader).is_empty()
}

pub(super) fn compare(writer: &Value, reader: &Value, field: &str, found: &mut Vec<Difference>) {
    if found.len() >= DIFFERENCES_MAX || writer == reader || is_anything(reader) || is_nothing(writer) {
        return;
    }
    let none = Map::new();
    let (Some(writes), Some(reads)) = (words(writer, &none), words(reader, &none)) else {
        found.push(Difference {
            field: field.to_owned(),
            rule: "false",
            writes: "has this field".to_owned(),
            wants: "refuses it".to_owned(),
            mend_reader: "allow it, or remove it in a mode that lets you".to_owned(),
            mend_writer: "leave the field out".to_owned(),
        });
        return;
    };
    if let Some(values) = finite(writes) {
        return each_value(&values, reader, field, found);
    }
    if branches(writes, reads, writer, reader, field, found) {
        return;
    }
    let types = types(writes);
    kinds(&types, reads, field, found);
    if reads.contains_key("enum") || reads.contains_key("const") {
        found.push(Difference {
            field: field.to_owned(),
            rule: "enum",
            writes: "may have any value here".to_owned(),
            wants: format!("allows only {}", shown(&listed(reads))),
            mend_reader: "drop `enum` and `const` here".to_owned(),
            mend_writer: "list the allowed values with `enum`".to_owned(),
        });
    }
    bounds::compare(&types, writes, reads, field, found);
    if types.contains("object") {
        objects::compare(writes, reads, field, found);
    }
    if types.contains("array") {
        let any = Value::Bool(true);
        let (from, to) = (
            writes.get("items").unwrap_or(&any),
            reads.get("items").unwrap_or(&any),
        );
        compare(from, to, &format!("{field}[]"), found);
    }
    for word in OPAQUE {
        if let Some(wanted) = reads.get(word).filter(|wanted| writes.get(word) != Some(*wanted)) {
            found.push(undecided(word, wanted, field));
        }
    }
}

fn undecided(word: &'static str, wanted: &Value, field: &str) -> Difference {
    Difference {
        field: field.to_owned(),
        rule: word,
        writes: "may be anything its own schema allows".to_owned(),
        wants: format!("has `{word}: {}`, which cannot be compared", short(wanted)),
        mend_reader: format!("leave `{word}` as it was"),
        mend_writer: format!("leave `{word}` as it was"),
    }
}

fn is_anything(schema: &Value) -> bool {
    matches!(schema, Value::Bool(true)) || schema.as_object().is_some_and(Map::is_empty)
}

fn is_nothing(schema: &Value) -> bool {
    matches!(schema, Value::Bool(false))
}

fn words<'a>(schema: &'a Value, none: &'a Map<String, Value>) -> Option<&'a Map<String, Value>> {
    match schema {
        Value::Object(words) => Some(words),
        Value::Bool(true) => Some(none),
        _ => None,
    }
}

/// `allOf`, `anyOf` and `oneOf`. True where they decided everything.
fn branches(
    writes: &Map<String, Value>,
    reads: &Map<String, Value>,
    writer: &Value,
    reader: &Value,
    field: &str,
    found: &mut Vec<Difference>,
) -> bool {
    for word in ["anyOf", "oneOf"] {
        // Each of the writer's branches has to fit, together with what stands beside it.
        if let Some(parts) = list(writes, word) {
            for part in parts {
                match merged(&without(writes, word), part) {
                    Some(whole) => compare(&whole, reader, field, found),
                    None => found.push(undecided(word_of(word), part, field)),
                }
            }
            return true;
        }
    }
    if let Some(parts) = list(writes, "allOf") {
        let base = Value::Object(without(writes, "allOf"));
        let whole = parts.iter().try_fold(base, |base, part| {
            base.as_object().and_then(|base| merged(base, part))
        });
        match whole {
            Some(whole) => compare(&whole, reader, field, found),
            None => found.push(undecided("allOf", &writes["allOf"], field)),
        }
        return true;
    }
    if let Some(parts) = list(reads, "allOf") {
        compare(writer, &Value::Object(without(reads, "allOf")), field, found);
        for part in parts {
            compare(writer, part, field, found);
        }
        return true;
    }
    for word in ["anyOf", "oneOf"] {
        let Some(parts) = list(reads, word) else { continue };
        let mut fitting = parts.iter().filter(|part| fits(writer, part));
        let is_one = fitting.next().is_some();
        // With `oneOf` no other branch may take it too.
        let others = parts.iter().filter(|part| !fits(writer, part));
        let is_alone = word == "anyOf"
            || (fitting.next().is_none() && others.into_iter().all(|part| are_apart(writes, part)));
        if !(is_one && is_alone) {
            found.push(Difference {
                field: field.to_owned(),
                rule: word_of(word),
                writes: "may be something that fits none of the alternatives as a whole".to_owned(),
                wants: format!("has {} alternatives", parts.len()),
                mend_reader: "add an alternative that takes all that was allowed before".to_owned(),
                mend_writer: "stay within one of the alternatives there were".to_owned(),
            });
        }
        compare(writer, &Value::Object(without(reads, word)), field, found);
        return true;
    }
    false
}

fn word_of(word: &str) -> &'static str {
    if word == "oneOf" { "oneOf" } else { "anyOf" }
}

fn list<'a>(words: &'a Map<String, Value>, word: &str) -> Option<&'a Vec<Value>> {
    words.get(word).and_then(Value::as_array)
}

fn without(words: &Map<String, Value>, word: &str) -> Map<String, Value> {
    let mut rest = words.clone();
    rest.remove(word);
    rest
}

/// Both at once, where no word stands in both with another value.
fn merged(base: &Map<String, Value>, part: &Value) -> Option<Value> {
    let part = match part {
        Value::Bool(true) => return Some(Value::Object(base.clone())),
        Value::Object(part) => part,
        _ => return None,
    };
    let mut whole = base.clone();
    for (word, value) in part {
        match (word.as_str(), whole.get_mut(word)) {
            (_, None) => {
                whole.insert(word.clone(), value.clone());
            }
            (_, Some(known)) if known == value => {}
            ("required", Some(Value::Array(known))) => {
                known.extend(value.as_array()?.iter().cloned());
            }
            ("properties", Some(Value::Object(known))) => {
                for (name, schema) in value.as_object()? {
                    if known.get(name).is_some_and(|known| known != schema) {
                        return None;
                    }
                    known.insert(name.clone(), schema.clone());
                }
            }
            _ => return None,
        }
    }
    Some(Value::Object(whole))
}

/// Whether nothing can be both: no type in common.
fn are_apart(writes: &Map<String, Value>, other: &Value) -> bool {
    let none = Map::new();
    let Some(other) = words(other, &none) else {
        return true;
    };
    let (one, other) = (types(writes), types(other));
    one.is_disjoint(&other)
}

/// The types that are allowed; an integer is a number too.
pub(super) fn types(words: &Map<String, Value>) -> BTreeSet<&str> {
    let mut found: BTreeSet<&str> = match words.get("type") {
        Some(Value::String(one)) => BTreeSet::from([one.as_str()]),
        Some(Value::Array(some)) => some.iter().filter_map(Value::as_str).collect(),
        _ => TYPES.into_iter().collect(),
    };
    if found.contains("number") {
        found.insert("integer");
    }
    found
}

fn kinds(written: &BTreeSet<&str>, reads: &Map<String, Value>, field: &str, found: &mut Vec<Difference>) {
    let wanted = types(reads);
    let mut refused: Vec<&str> = written.difference(&wanted).copied().collect();
    if refused.contains(&"number") {
        refused.retain(|kind| *kind != "integer");
    }
    if refused.is_empty() {
        return;
    }
    let names: Vec<&str> = wanted.into_iter().collect();
    found.push(Difference {
        field: field.to_owned(),
        rule: "type",
        writes: format!("may be {} here", refused.join(" or ")),
        wants: format!("allows only {}", names.join(", ")),
        mend_reader: format!(
            "allow {} too, or add a field of another name",
            refused.join(" and ")
        ),
        mend_writer: "keep the type, or add a field of another name".to_owned(),
    });
}

/// The values that are allowed, where they are listed.
fn finite(words: &Map<String, Value>) -> Option<Vec<Value>> {
    let has_list = words.contains_key("enum") || words.contains_key("const");
    has_list.then(|| {
        let whole = Value::Object(words.clone());
        // Only those that the other words allow too. Where these cannot be read by themselves, as a
        // reference out of them, all listed values count: that may refuse a schema, and lets none pass.
        let allowed = jsonschema::validator_for(&whole).ok();
        let is_allowed = |value: &Value| allowed.as_ref().is_none_or(|allowed| allowed.is_valid(value));
        listed(words).into_iter().filter(is_allowed).collect()
    })
}

fn listed(words: &Map<String, Value>) -> Vec<Value> {
    match (words.get("const"), words.get("enum")) {
        (Some(one), _) => vec![one.clone()],
        (None, Some(Value::Array(some))) => some.clone(),
        _ => Vec::new(),
    }
}

fn each_value(values: &[Value], reader: &Value, field: &str, found: &mut Vec<Difference>) {
    let Ok(allowed) = jsonschema::validator_for(reader) else {
        found.push(undecided("$ref", reader, field));
        return;
    };
    let refused: Vec<Value> = values
        .iter()
        .filter(|value| !allowed.is_valid(value))
        .cloned()
        .collect();
    if refused.is_empty() {
        return;
    }
    found.push(Difference {
        field: field.to_owned(),
        rule: "enum",
        writes: format!("may be {}", shown(&refused)),
        wants: "refuses that".to_owned(),
        mend_reader: "keep all values that were allowed".to_owned(),
        mend_writer: "add no values here; a new field can have them".to_owned(),
    });
}

/// Values as a message shows them.
fn shown(values: &[Value]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut texts: Vec<String> = values.iter().take(SHOWN_MAX).map(short).collect();
    if values.len() > SHOWN_MAX {
        texts.push(format!("{} more", values.len() - SHOWN_MAX));
    }
    texts.join(", ")
}

fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= CHARS_MAX {
        return text;
    }
    let cut: String = text.chars().take(CHARS_MAX).collect();
    format!("{cut}…")
}
