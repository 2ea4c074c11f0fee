//! Paths into values, as the reference walks them: members by name, elements by index, `*` for any.

use serde_json::{Map, Value};

/// The value there; None where the path breaks off.
pub(crate) fn get<'v, S: AsRef<str>>(value: &'v Value, path: &[S]) -> Option<&'v Value> {
    path.iter().try_fold(value, |at, step| child(at, step.as_ref()))
}

fn child<'v>(value: &'v Value, step: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(step),
        Value::Array(items) => items.get(index(step, items.len())?),
        _ => None,
    }
}

fn index(step: &str, length: usize) -> Option<usize> {
    let number: i64 = step.parse().ok()?;
    if number >= 0 {
        return usize::try_from(number).ok();
    }
    length.checked_sub(usize::try_from(number.unsigned_abs()).ok()?)
}

/// A path of one text, with slashes between its steps.
pub(crate) fn split(path: &str) -> Vec<String> {
    path.trim_start_matches('/')
        .split('/')
        .map(str::to_owned)
        .collect()
}

/// All values that a path with wildcards leads to, in order.
pub(crate) fn values<'v, S: AsRef<str>>(value: &'v Value, path: &[S]) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in path {
        let step = step.as_ref();
        let next = found.into_iter().flat_map(|at| match (step, at) {
            ("*", Value::Object(members)) => members.values().collect(),
            ("*", Value::Array(items)) => items.iter().collect(),
            (step, at) => child(at, step).into_iter().collect::<Vec<_>>(),
        });
        found = next.collect();
    }
    found
}

/// Sets the value, making the objects that lead to it.
pub(crate) fn create(value: &mut Value, path: &[String], new: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    if let Value::Array(items) = value {
        if let Ok(at) = first.parse::<usize>()
            && at < 10_000
        {
            while items.len() <= at {
                items.push(Value::Null);
            }
            if let Some(item) = items.get_mut(at) {
                create_below(item, rest, new);
            }
        }
        return;
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Value::Object(members) = value {
        let below = members.entry(first.clone()).or_insert(Value::Null);
        create_below(below, rest, new);
    }
}

fn create_below(value: &mut Value, rest: &[String], new: Value) {
    if rest.is_empty() {
        *value = new;
        return;
    }
    if !value.is_object() && !value.is_array() {
        *value = Value::Object(Map::new());
    }
    create(value, rest, new);
}

/// Sets the values that exist there; how many there were. `**` is any depth.
pub(crate) fn set(value: &mut Value, path: &[String], new: &Value) -> usize {
    let Some((first, rest)) = path.split_first() else {
        *value = new.clone();
        return 1;
    };
    if first == "**" {
        let deeper = each(value, "*", |below| set(below, path, new));
        return deeper + if rest.is_empty() { 0 } else { set(value, rest, new) };
    }
    each(value, first, |below| set(below, rest, new))
}

/// Does something to each value that a step leads to.
pub(crate) fn each(value: &mut Value, step: &str, mut act: impl FnMut(&mut Value) -> usize) -> usize {
    match (step, value) {
        ("*", Value::Object(members)) => members.values_mut().map(act).sum(),
        ("*", Value::Array(items)) => items.iter_mut().map(act).sum(),
        (step, Value::Object(members)) => members.get_mut(step).map_or(0, &mut act),
        (step, Value::Array(items)) => {
            let at = index(step, items.len());
            at.and_then(|at| items.get_mut(at)).map_or(0, &mut act)
        }
        _ => 0,
    }
}

/// Removes what the path leads to where `goes` agrees. `**` is any depth.
pub(crate) fn remove(value: &mut Value, path: &[String], goes: &mut dyn FnMut(&Value) -> bool) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if first == "**" {
        remove(value, rest, goes);
        each(value, "*", |below| {
            remove(below, path, goes);
            1
        });
        return;
    }
    if !rest.is_empty() {
        each(value, first, |below| {
            remove(below, rest, goes);
            1
        });
        return;
    }
    match value {
        Value::Object(members) if first == "*" => members.retain(|_, value| !goes(value)),
        Value::Object(members) if members.get(first).is_some_and(&mut *goes) => {
            members.shift_remove(first);
        }
        Value::Array(items) if first == "*" => items.retain(|value| !goes(value)),
        Value::Array(items) => {
            if let Some(at) = index(first, items.len())
                && items.get(at).is_some_and(goes)
            {
                items.remove(at);
            }
        }
        _ => {}
    }
}
