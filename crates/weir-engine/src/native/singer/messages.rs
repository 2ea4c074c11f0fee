//! Singer's messages.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_protocol::{Error, Result};

/// A message whose parts are not parsed before they are needed.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) stream: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) record: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) value: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) key_properties: Option<Vec<String>>,
    #[serde(borrow, default)]
    pub(super) time_extracted: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) version: Option<i64>,
}

/// A line as a message; none where it is something else that the tap printed. What begins as a
/// message and breaks off is a loss.
pub(super) fn told<'a>(
    line: &'a [u8],
    is_cut: bool,
    show: impl Fn(&[u8]) -> String,
) -> Result<Option<Message<'a>>> {
    let error = match serde_json::from_slice::<Message<'a>>(line) {
        Ok(message) => return Ok(Some(message)),
        Err(error) => error,
    };
    let begins = line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let broken = |message: &str, hint: &str| {
        Err(Error::decode(message)
            .with("line", show(line))
            .with("column", error.column())
            .hint(hint))
    };
    if begins && is_cut {
        return broken(
            "the output ends in the middle of a message",
            "the tap was ended while it wrote; run again. What was committed stays",
        );
    }
    if begins {
        return broken(
            "a line of output is a broken message",
            "the tap writes what is no JSON (NaN, or two lines in one); nothing after the last checkpoint was taken",
        );
    }
    Ok(None)
}
