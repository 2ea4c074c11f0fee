//! Singer's messages.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use weir_protocol::Result;

use super::super::process::{Stray, bare};

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
    time_extracted: Option<&'a RawValue>,
    #[serde(borrow, default)]
    version: Option<&'a RawValue>,
}

impl Message<'_> {
    /// When the record was read at the source; none where it is no time.
    pub(super) fn time_extracted(&self) -> Option<Timestamp> {
        serde_json::from_str::<Cow<'_, str>>(self.time_extracted?.get())
            .ok()?
            .parse()
            .ok()
    }

    /// Version of the table, a number for most taps. It is only compared.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.map(|version| version.get().trim_matches('"'))
    }
}

/// Messages that must not be lost.
const KINDS: [&str; 5] = [
    "\"RECORD\"",
    "\"STATE\"",
    "\"SCHEMA\"",
    "\"BATCH\"",
    "\"ACTIVATE_VERSION\"",
];

/// A line as a message; none where it is something else that the tap printed. What begins as a
/// message and breaks off is a loss.
pub(super) fn told<'a>(
    line: &'a [u8],
    is_cut: bool,
    show: impl Fn(&[u8]) -> String,
) -> Result<Option<Message<'a>>> {
    let line = bare(line);
    let error = match serde_json::from_slice::<Message<'a>>(line) {
        Ok(message) => return Ok(Some(message)),
        Err(error) => error,
    };
    let stray = Stray {
        line,
        is_cut,
        column: error.column(),
        kinds: &KINDS,
        // A record whose type is missing would be lost.
        allows_objects: false,
        program: "tap",
    };
    stray.judge(show).map(|()| None)
}
