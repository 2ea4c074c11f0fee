//! Changing names: flattening and case.

use serde_json::{Map, Value};
use weir_protocol::name;
use weir_protocol::spec::KeyCase;

use crate::extract::{Path, Step};

/// Lifts members of nested objects to the top, their names joined. A name that is taken stays as it is.
pub(super) fn flatten(record: &mut Value, paths: &[Path], separator: &str) {
    let Value::Object(members) = record else {
        return;
    };
    let mut flat = Map::with_capacity(members.len());
    for (key, member) in std::mem::take(members) {
        let mut way = vec![key.clone()];
        lift(&mut flat, &mut way, key, member, paths, separator);
    }
    *members = flat;
}

fn lift(
    flat: &mut Map<String, Value>,
    way: &mut Vec<String>,
    name: String,
    value: Value,
    paths: &[Path],
    separator: &str,
) {
    match value {
        Value::Object(members) if !members.is_empty() && is_meant(way, paths) => {
            for (key, member) in members {
                let name = format!("{name}{separator}{key}");
                way.push(key);
                lift(flat, way, name, member, paths, separator);
                way.pop();
            }
        }
        other => {
            flat.entry(name).or_insert(other);
        }
    }
}

pub(super) fn is_meant(way: &[String], paths: &[Path]) -> bool {
    let same = |path: &Path| {
        path.steps.len() == way.len()
            && path
                .steps
                .iter()
                .zip(way)
                .all(|(step, key)| matches!(step, Step::Key(name) if name == key))
    };
    paths.is_empty() || paths.iter().any(same)
}

/// All names at any depth. Of two that become the same the first stays.
pub(super) fn rename_all(value: &mut Value, case: KeyCase) {
    match value {
        Value::Object(members) => {
            let mut renamed = Map::with_capacity(members.len());
            for (key, mut member) in std::mem::take(members) {
                rename_all(&mut member, case);
                renamed.entry(rename(&key, case)).or_insert(member);
            }
            *members = renamed;
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_all(item, case)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(super) fn rename(key: &str, case: KeyCase) -> String {
    match case {
        KeyCase::Lower => key.to_lowercase(),
        KeyCase::Snake => {
            let snake = name::sanitize(key);
            if snake.is_empty() {
                key.to_lowercase()
            } else {
                snake
            }
        }
    }
}
