//! JSON that people and programs write, strictly: what names a key twice is refused, as which of its values is meant is not said.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use crate::error::{Error, Result};

/// Characters of a key that a message shows.
const KEY_CHARS_SHOWN: usize = 80;

/// Parses a text. `what` it is begins the message.
pub fn parse(what: &str, text: &[u8]) -> Result<Value> {
    refuse_twice(what, text)?;
    serde_json::from_slice(text).map_err(|error| not_json(what, &error))
}

/// Refuses what names a key twice, and leaves all else to whoever reads the text.
pub fn refuse_twice(what: &str, text: &[u8]) -> Result<()> {
    let checked: serde_json::Result<Unique> = serde_json::from_slice(text);
    match checked {
        Err(error) if error.classify() == Category::Data => {
            Err(Error::usage(format!("{what} is not clear: {error}"))
                .hint("keep one of the two: of a key that is there twice, only one value can count"))
        }
        _ => Ok(()),
    }
}

fn not_json(what: &str, error: &serde_json::Error) -> Error {
    Error::usage(format!("{what} is not JSON: {error}")).hint("check quotes, commas and brackets")
}

/// A value without a key that is there twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Unique;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> std::result::Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Unique, A::Error> {
        while items.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> std::result::Result<Unique, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            if keys.contains(&key) {
                let shown: String = key.chars().take(KEY_CHARS_SHOWN).collect();
                return Err(A::Error::custom(format!("the key '{shown}' is there twice")));
            }
            fields.next_value::<Unique>()?;
            keys.insert(key);
        }
        Ok(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_named_at_any_depth() {
        for (text, wanted) in [
            (
                r#"{"a": 1, "a": 2}"#,
                "the input is not clear: the key 'a' is there twice at line 1 column 12",
            ),
            (
                r#"{"b": [{"to": 1}, {"to": 1, "x": null, "to": 2}]}"#,
                "the input is not clear: the key 'to' is there twice at line 1 column 43",
            ),
            // Written otherwise, and the same.
            (
                r#"{"a": 1, "\u0061": 2}"#,
                "the input is not clear: the key 'a' is there twice at line 1 column 17",
            ),
        ] {
            let error = parse("the input", text.as_bytes()).unwrap_err();
            assert_eq!(error.message(), wanted);
        }
    }

    #[test]
    fn what_is_clear_is_read_as_it_is() {
        let text = r#"{"a": {"a": 1}, "b": [1.5, -2, true, null, "x", {"a": 18446744073709551615}], "c": {"a": 1e3}}"#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse("the input", text.as_bytes()).unwrap(), plain);
    }

    #[test]
    fn what_is_no_json_says_where() {
        let error = parse("the body", b"{\"a\": }").unwrap_err();
        assert_eq!(
            error.message(),
            "the body is not JSON: expected value at line 1 column 7"
        );
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(parse("the body", deep.as_bytes()).is_err());
    }
}
