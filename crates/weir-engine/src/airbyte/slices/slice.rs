//! One slice.

use serde_json::{Map, Value};

use super::super::template::SliceView;

/// Field of a slice's `extra` with the first page of a child, which came with its parent's record.
pub(crate) const CHILD_RESPONSE: &str = "child_response";
/// That page as it came, where values do not hold all of its numbers.
pub(crate) const CHILD_TEXT: &str = "child_response_text";

/// A part of a stream that is read on its own.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    pub(crate) view: SliceView,
    /// Canonical text of the partition.
    pub(crate) key: String,
}

impl Slice {
    /// All three are objects.
    pub(crate) fn new(partition: Value, cursor: Value, extra: Value) -> Self {
        let mut all = partition.clone();
        if let (Value::Object(all), Value::Object(cursor)) = (&mut all, &cursor) {
            all.extend(cursor.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Self {
            key: canonical(&partition),
            view: SliceView {
                partition,
                cursor,
                extra,
                all,
            },
        }
    }

    /// The slice of a stream that is read in one piece.
    pub(crate) fn whole() -> Self {
        let nothing = || Value::Object(Map::new());
        Self::new(nothing(), nothing(), nothing())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.view.all.get(name)
    }

    /// The same partition with a window.
    pub(crate) fn with_cursor(&self, cursor: Value) -> Self {
        Self::new(self.view.partition.clone(), cursor, self.view.extra.clone())
    }

    /// The same slice with further fields that are no part of it.
    pub(crate) fn with_extra(&self, name: &str, value: Value) -> Self {
        let mut extra = self.view.extra.clone();
        if let Value::Object(extra) = &mut extra {
            extra.insert(name.to_owned(), value);
        }
        Self::new(self.view.partition.clone(), self.view.cursor.clone(), extra)
    }
}

/// JSON with its members in order.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let members = members
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}
