//! Changing names: flattening and case. Fields that come to one name are kept apart.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use weir_protocol::name;
use weir_protocol::spec::KeyCase;

use crate::extract::{Path, Step};

/// A field on its way to a new name.
struct Moved {
    name: String,
    /// Where it was, which orders those that want one name.
    from: String,
    /// It had this name before.
    stands: bool,
    value: Value,
}

/// Lifts members of nested objects to the top, their names joined.
pub(super) fn flatten(record: &mut Value, paths: &[Path], separator: &str) {
    let Value::Object(members) = record else {
        return;
    };
    let mut flat = Vec::with_capacity(members.len());
    for (key, member) in std::mem::take(members) {
        let mut way = vec![key.clone()];
        lift(&mut flat, &mut way, key, member, paths, separator);
    }
    *members = apart(flat);
}

fn lift(
    flat: &mut Vec<Moved>,
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
        other => flat.push(Moved {
            name,
            from: way.join("\0"),
            stands: way.len() == 1,
            value: other,
        }),
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

/// All names at any depth.
pub(super) fn rename_all(value: &mut Value, case: KeyCase) {
    match value {
        Value::Object(members) => {
            let moved = std::mem::take(members).into_iter().map(|(key, mut member)| {
                rename_all(&mut member, case);
                let name = rename(&key, case);
                Moved {
                    stands: name == key,
                    name,
                    from: key,
                    value: member,
                }
            });
            *members = apart(moved.collect());
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_all(item, case)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The fields by their new names, none of them lost. Of several that want one name the field that had it before keeps
/// it, else the first by where it was; the others get the suffix `_2`, `_3` …, as columns do. The order in which a record
/// has its fields decides nothing, so that records with the same fields come to the same names.
fn apart(mut fields: Vec<Moved>) -> Map<String, Value> {
    let are_distinct = {
        let mut names = HashSet::with_capacity(fields.len());
        fields.iter().all(|field| names.insert(field.name.as_str()))
    };
    if !are_distinct {
        number(&mut fields);
    }
    fields
        .into_iter()
        .map(|field| (field.name, field.value))
        .collect()
}

fn number(fields: &mut [Moved]) {
    // A suffix makes no name that another field wants as it is.
    let mut taken: HashSet<String> = fields.iter().map(|field| field.name.clone()).collect();
    let mut given: HashMap<String, u32> = HashMap::new();
    let mut order: Vec<&mut Moved> = fields.iter_mut().collect();
    order.sort_by(|a, b| b.stands.cmp(&a.stands).then_with(|| a.from.cmp(&b.from)));
    for field in order {
        let Some(suffix) = given.get_mut(&field.name) else {
            given.insert(field.name.clone(), 1);
            continue;
        };
        let name = loop {
            *suffix += 1;
            let name = format!("{}_{suffix}", field.name);
            if taken.insert(name.clone()) {
                break name;
            }
        };
        field.name = name;
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
