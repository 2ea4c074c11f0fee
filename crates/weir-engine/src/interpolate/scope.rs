//! What a template may name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::{Serde, ValueKind};
use serde::Serialize;
use weir_protocol::{Error, Result};

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

    /// The same with the texts in `slice` encoded to stand as one segment of a URL's path.
    pub(crate) fn with_encoded_slice(&self) -> Result<Self> {
        let mut scope = self.clone();
        let Some(slice) = self.values.get("slice") else {
            return Ok(scope);
        };
        let mut fields = serde_json::to_value(slice).map_err(|error| {
            Error::internal("a slice cannot be written as JSON")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?;
        if let Some(fields) = fields.as_object_mut() {
            for (name, value) in fields {
                if let serde_json::Value::String(text) = value {
                    *text = encode_segment(name, text)?;
                }
            }
        }
        scope.set("slice", fields);
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

/// Percent-encodes everything but unreserved characters.
fn encode_segment(name: &str, text: &str) -> Result<String> {
    use std::fmt::Write as _;
    if matches!(text, "." | "..") {
        return Err(Error::template(format!(
            "slice.{name} is '{text}', which is no name in a URL's path"
        ))
        .hint("leave such values out with 'when' of the slices, or send the value as a parameter"));
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").map_err(|error| {
                Error::internal("text cannot be encoded")
                    .caused_by(error)
                    .hint("report this as a bug of weir")
            })?;
        }
    }
    Ok(encoded)
}
