//! What a template may name.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::{Serde, ValueKind};
use serde::Serialize;

/// Names and their values. Cloning is cheap: values are shared.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    values: BTreeMap<&'static str, Value>,
}

impl Scope {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &'static str, value: impl Serialize) {
        self.values.insert(name, Value::from(Serde(value)));
    }

    pub(super) fn to_value(&self) -> Value {
        Value::from_pairs(self.values.iter().map(|(name, value)| (*name, value.clone())))
    }

    /// Follows `config.repository`; the first step that is missing, with the names there are in its place.
    pub(super) fn missing(&self, path: &str) -> Option<(String, Vec<String>)> {
        let mut at = self.to_value();
        for step in path.split('.') {
            let next = at.get_attr(step).ok().filter(|next| !next.is_undefined());
            let Some(next) = next else {
                // Names only, never values: those may be secret.
                let names = at.try_iter().ok().filter(|_| at.kind() == ValueKind::Map);
                let names = names.map(|names| names.map(|name| name.to_string()).collect());
                return Some((step.to_owned(), names.unwrap_or_default()));
            };
            at = next;
        }
        None
    }
}
