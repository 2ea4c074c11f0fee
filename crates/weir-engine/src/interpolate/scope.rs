//! What a template may name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::{Serde, ValueKind};
use serde::Serialize;
use weir_protocol::{Error, Result};

/// What comes from outside, so that it could lead out of its place in a path.
pub(crate) const OUTSIDE: &[&str] = &["slice", "input"];
/// Stands in a path for a value that cannot be a segment of one.
pub(crate) const NO_SEGMENT: char = '\0';
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Names and their values. Cloning is cheap: values are shared.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    values: BTreeMap<Cow<'static, str>, Value>,
}

impl Scope {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Serialize) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Serialize) {
        self.values.insert(name.into(), Value::from(Serde(value)));
    }

    /// The same with the texts in `slice` and `input` encoded to stand as one segment of a URL's path.
    pub(crate) fn with_encoded_segments(&self) -> Result<Self> {
        let mut scope = self.clone();
        for name in OUTSIDE {
            if let Some(value) = self.values.get(*name) {
                let mut value = serde_json::to_value(value).map_err(|error| {
                    Error::internal(format!("`{name}` of a template cannot be written as JSON"))
                        .caused_by(error)
                        .hint("report this as a bug of weir")
                })?;
                encode_texts(&mut value);
                scope.set(*name, value);
            }
        }
        Ok(scope)
    }

    pub(super) fn to_value(&self) -> Value {
        Value::from_pairs(
            self.values
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        )
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

fn encode_texts(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = encode_segment(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(encode_texts),
        serde_json::Value::Object(members) => members.values_mut().for_each(encode_texts),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// Percent-encodes everything but unreserved characters.
fn encode_segment(text: &str) -> String {
    // These lead elsewhere even when encoded.
    if matches!(text, "." | "..") {
        return NO_SEGMENT.to_string();
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}
