//! Reaching into a tree of values by path.

use serde_json::{Map, Value};

use crate::extract::Step;

/// Sets the value at a path; objects on the way are made, anything else in the way is replaced.
pub(crate) fn set(at: &mut Value, steps: &[Step], value: Value) {
    let Some((step, rest)) = steps.split_first() else {
        *at = value;
        return;
    };
    let Step::Key(key) = step else {
        return;
    };
    if let Value::Array(items) = at
        && let Some(item) = key.parse::<usize>().ok().and_then(|index| items.get_mut(index))
    {
        return set(item, rest, value);
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    if let Value::Object(members) = at {
        set(members.entry(key.clone()).or_insert(Value::Null), rest, value);
    }
}

/// Takes the value at a path out of its object.
pub(super) fn take(at: &mut Value, steps: &[Step]) -> Option<Value> {
    let (step, rest) = steps.split_first()?;
    let Step::Key(key) = step else {
        return None;
    };
    match at {
        Value::Object(members) if rest.is_empty() => members.shift_remove(key),
        Value::Object(members) => take(members.get_mut(key)?, rest),
        Value::Array(items) if !rest.is_empty() => take(items.get_mut(key.parse::<usize>().ok()?)?, rest),
        _ => None,
    }
}

/// Removes whatever lies at a path; `*` stands for all.
pub(super) fn remove(at: &mut Value, steps: &[Step]) {
    let Some((step, rest)) = steps.split_first() else {
        return;
    };
    match (at, step) {
        (Value::Object(members), Step::Any) if rest.is_empty() => members.clear(),
        (Value::Array(items), Step::Any) if rest.is_empty() => items.clear(),
        (Value::Object(members), Step::Any) => members.values_mut().for_each(|member| remove(member, rest)),
        (Value::Array(items), Step::Any) => items.iter_mut().for_each(|item| remove(item, rest)),
        (Value::Object(members), Step::Key(key)) if rest.is_empty() => {
            members.shift_remove(key);
        }
        (Value::Object(members), Step::Key(key)) => {
            if let Some(member) = members.get_mut(key) {
                remove(member, rest);
            }
        }
        (Value::Array(items), Step::Key(key)) => {
            let index = key.parse::<usize>().ok().filter(|index| *index < items.len());
            match index {
                Some(index) if rest.is_empty() => {
                    items.remove(index);
                }
                Some(index) => remove(&mut items[index], rest),
                None => {}
            }
        }
        _ => {}
    }
}

/// Changes every value at a path.
pub(super) fn change(at: &mut Value, steps: &[Step], how: &mut dyn FnMut(&mut Value)) {
    let Some((step, rest)) = steps.split_first() else {
        how(at);
        return;
    };
    match (at, step) {
        (Value::Object(members), Step::Any) => {
            members.values_mut().for_each(|member| change(member, rest, how));
        }
        (Value::Array(items), Step::Any) => items.iter_mut().for_each(|item| change(item, rest, how)),
        (Value::Object(members), Step::Key(key)) => {
            if let Some(member) = members.get_mut(key) {
                change(member, rest, how);
            }
        }
        (Value::Array(items), Step::Key(key)) => {
            if let Some(item) = key.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                change(item, rest, how);
            }
        }
        _ => {}
    }
}
