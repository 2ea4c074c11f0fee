//! Fields of objects: which have to be there, which may be, and what they hold.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Difference;
use super::subset;

type Words = Map<String, Value>;

pub(super) fn compare(writes: &Words, reads: &Words, field: &str, found: &mut Vec<Difference>) {
    required(writes, reads, field, found);
    let none = Map::new();
    let (written, wanted) = (properties(writes, &none), properties(reads, &none));
    for (name, reader) in wanted {
        let at = format!("{field}.{name}");
        match (written.get(name), others(writes)) {
            (Some(writer), _) => subset::compare(writer, reader, &at, found),
            // It writes no such field.
            (None, Others::None) => {}
            (None, Others::Some(writer)) => subset::compare(writer, reader, &at, found),
        }
    }
    for (name, writer) in written.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
        let Some(reader) = reads.get("additionalProperties").filter(|_| !has_patterns(reads)) else {
            continue;
        };
        let at = format!("{field}.{name}");
        if reader == &Value::Bool(false) {
            if writer != &Value::Bool(false) {
                found.push(unknown(at, name));
            }
        } else {
            subset::compare(writer, reader, &at, found);
        }
    }
    if let (Others::Some(writer), Some(reader)) = (others(writes), reads.get("additionalProperties")) {
        subset::compare(writer, reader, &format!("{field}.*"), found);
    }
    patterns(writes, reads, field, found);
    dependent(writes, reads, field, found);
}

fn properties<'a>(words: &'a Words, none: &'a Words) -> &'a Words {
    words.get("properties").and_then(Value::as_object).unwrap_or(none)
}

/// Fields that are not declared by name.
enum Others<'a> {
    None,
    Some(&'a Value),
}

fn others(writes: &Words) -> Others<'_> {
    match writes.get("additionalProperties") {
        None | Some(Value::Bool(false)) => Others::None,
        Some(schema) => Others::Some(schema),
    }
}

fn has_patterns(words: &Words) -> bool {
    words
        .get("patternProperties")
        .and_then(Value::as_object)
        .is_some_and(|patterns| !patterns.is_empty())
}

fn names(words: &Words) -> BTreeSet<&str> {
    let required = words.get("required").and_then(Value::as_array);
    required.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn required(writes: &Words, reads: &Words, field: &str, found: &mut Vec<Difference>) {
    for name in names(reads).difference(&names(writes)) {
        found.push(Difference {
            field: format!("{field}.{name}"),
            rule: "required",
            writes: "may lack this field".to_owned(),
            wants: "requires it".to_owned(),
            mend_reader: format!("leave '{name}' out of `required`"),
            mend_writer: format!("keep '{name}' in `required`"),
        });
    }
}

fn unknown(field: String, name: &str) -> Difference {
    Difference {
        field,
        rule: "additionalProperties",
        writes: "has this field".to_owned(),
        wants: "refuses fields that it does not declare".to_owned(),
        mend_reader: format!("keep '{name}', or drop `additionalProperties: false`"),
        mend_writer: format!(
            "leave '{name}' out until a version without `additionalProperties: false` is read everywhere"
        ),
    }
}

/// Fields by pattern are not looked into: both have the same ones, or the reader has none.
fn patterns(writes: &Words, reads: &Words, field: &str, found: &mut Vec<Difference>) {
    let word = "patternProperties";
    if has_patterns(reads) && writes.get(word) != reads.get(word) {
        found.push(same_only(word, field));
    }
    // What a writer's patterns let in, a closed reader does not know.
    let is_closed = reads
        .get("additionalProperties")
        .is_some_and(|others| others != &Value::Bool(true));
    if has_patterns(writes) && is_closed && writes.get(word) != reads.get(word) {
        found.push(same_only(word, field));
    }
}

fn dependent(writes: &Words, reads: &Words, field: &str, found: &mut Vec<Difference>) {
    for word in ["dependentRequired", "dependencies", "unevaluatedProperties"] {
        let wanted = reads.get(word).filter(|wanted| writes.get(word) != Some(*wanted));
        if wanted.is_some_and(|wanted| wanted != &Value::Bool(true)) {
            found.push(same_only(word, field));
        }
    }
}

fn same_only(rule: &'static str, field: &str) -> Difference {
    Difference {
        field: field.to_owned(),
        rule,
        writes: "may be anything its own schema allows".to_owned(),
        wants: format!("has another `{rule}`, which cannot be compared"),
        mend_reader: format!("leave `{rule}` as it was"),
        mend_writer: format!("leave `{rule}` as it was"),
    }
}
