//! JSON in the one form that is hashed: keys in order, no space between, whole numbers only (RFC 8785
//! for what is left).

use std::fmt;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use weir_protocol::{Error, Result};

/// Whole numbers up to here are the same in every JSON reader.
const NUMBER_MAX: u64 = 1 << 53;

pub(super) fn canonical_object(object: &Map<String, Value>) -> Result<String> {
    let mut out = String::new();
    write_object(object, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String) -> Result<()> {
    match value {
        Value::Number(number) => {
            let fits = number.as_i64().is_some_and(|n| n.unsigned_abs() <= NUMBER_MAX);
            if !fits {
                return Err(Error::internal("an audit record holds no number but whole ones")
                    .with("number", number)
                    .hint("report it: fractions and large numbers belong into a text"));
            }
            out.push_str(&number.to_string());
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(object) => write_object(object, out)?,
        Value::String(text) => out.push_str(&quoted(text.as_str()).to_string()),
        Value::Null | Value::Bool(_) => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn write_object(object: &Map<String, Value>, out: &mut String) -> Result<()> {
    let mut keys: Vec<&String> = object.keys().collect();
    // By UTF-16, as RFC 8785 asks for.
    keys.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    out.push('{');
    for (place, key) in keys.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(&quoted(key.as_str()).to_string());
        out.push(':');
        if let Some(value) = object.get(key) {
            write(value, out)?;
        }
    }
    out.push('}');
    Ok(())
}

/// A text as JSON writes it: `"`, `\` and control characters are escaped, nothing else. None is `null`.
pub(super) struct Quoted<'a>(Option<&'a str>);

pub(super) fn quoted<'a>(text: impl Into<Option<&'a str>>) -> Quoted<'a> {
    Quoted(text.into())
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(text) = self.0 else {
            return out.write_str("null");
        };
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if !text.bytes().all(is_plain) {
            return write!(out, "{}", Value::from(text));
        }
        out.write_str("\"")?;
        out.write_str(text)?;
        out.write_str("\"")
    }
}

/// SHA-256 in lower-case hexadecimal digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_meaning_has_one_form() {
        let read = |text: &str| -> Result<String> {
            let mut out = String::new();
            write(&serde_json::from_str(text).unwrap(), &mut out)?;
            Ok(out)
        };
        assert_eq!(
            read("{ \"b\": [1, -2, null],\n \"a\": {\"y\": true, \"x\": \"\\u00e9\\u0001\\n\\/\"} }")
                .unwrap(),
            "{\"a\":{\"x\":\"é\\u0001\\n/\",\"y\":true},\"b\":[1,-2,null]}"
        );
        // U+FB33 sorts after U+1F600, whose first UTF-16 unit is D83D.
        assert_eq!(
            read("{\"\u{fb33}\":1,\"\u{1f600}\":2}").unwrap(),
            "{\"\u{1f600}\":2,\"\u{fb33}\":1}"
        );
        assert!(read("1.5").is_err());
        assert!(read("9007199254740993").is_err());
    }
}
