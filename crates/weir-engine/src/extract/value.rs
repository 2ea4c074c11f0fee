//! Paths into values that were parsed already.

use serde_json::Value;

use super::Step;

/// What a path leads to; null where it leads nowhere. A `*` collects what the rest finds in each element.
pub(crate) fn value_at(value: &Value, steps: &[Step]) -> Value {
    let Some((step, rest)) = steps.split_first() else {
        return value.clone();
    };
    match step {
        Step::Key(key) => {
            let next = match value {
                Value::Array(items) => key.parse::<usize>().ok().and_then(|at| items.get(at)),
                other => other.get(key),
            };
            next.map_or(Value::Null, |next| value_at(next, rest))
        }
        Step::Any => {
            let collect = |items: &mut dyn Iterator<Item = &Value>| {
                Value::Array(items.map(|item| value_at(item, rest)).collect())
            };
            match value {
                Value::Array(items) => collect(&mut items.iter()),
                Value::Object(members) => collect(&mut members.values()),
                _ => Value::Array(Vec::new()),
            }
        }
    }
}
