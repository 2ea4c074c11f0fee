//! One line of an object. A record stands in it as received where it is JSON, as text or base64 where it is not.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use weir_protocol::{Error, Result};

/// The three ways in which a record's bytes stand in a line; exactly one is set.
#[derive(Debug, Default)]
pub(crate) struct RawRecord<'a> {
    pub(crate) record: Option<&'a RawValue>,
    pub(crate) raw: Option<Cow<'a, str>>,
    pub(crate) raw_base64: Option<Cow<'a, str>>,
}

impl RawRecord<'_> {
    /// The bytes as they were received.
    pub(crate) fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match (&self.record, &self.raw, &self.raw_base64) {
            (Some(json), ..) => Ok(Cow::Borrowed(json.get().as_bytes())),
            (_, Some(text), _) => Ok(Cow::Borrowed(text.as_bytes())),
            (_, _, Some(text)) => STANDARD
                .decode(text.as_bytes())
                .map(Cow::Owned)
                .map_err(|error| Error::destination("a stored record is not base64").caused_by(error)),
            _ => Err(Error::destination("a stored line has no record")
                .hint("the object was changed by hand: restore it from a copy")),
        }
    }
}

/// A member that is there: `null` is a record too.
pub(crate) fn present<'de: 'a, 'a, D>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error>
where
    D: Deserializer<'de>,
{
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A line of Bronze, read back. The record's members stand here by name: `flatten` would buffer
/// values and could not borrow raw ones.
#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    pub(super) emitted_at: Timestamp,
    #[serde(borrow, default)]
    pub(super) cursor: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    record: Option<&'a RawValue>,
    #[serde(borrow, default)]
    raw: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    raw_base64: Option<Cow<'a, str>>,
}

impl<'a> Line<'a> {
    pub(super) fn held(self) -> RawRecord<'a> {
        RawRecord {
            record: self.record,
            raw: self.raw,
            raw_base64: self.raw_base64,
        }
    }
}

/// A record's bytes, ready to be put into a line.
pub(crate) enum Held<'a> {
    Json(Cow<'a, [u8]>),
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Held<'a> {
    /// Of a record that was parsed already. A control character is looked at again: parsers differ
    /// on it within texts, and a line end would break the object's lines.
    pub(crate) fn of_json(record: &'a [u8]) -> Self {
        let has_control = record.iter().fold(false, |any, byte| any | (*byte < b' '));
        if has_control {
            Self::of(record)
        } else {
            Self::Json(Cow::Borrowed(record))
        }
    }

    /// Valid JSON stays as it is, but for line ends between its tokens, which become spaces.
    pub(crate) fn of(record: &'a [u8]) -> Self {
        if serde_json::from_slice::<IgnoredAny>(record).is_ok() {
            if memchr::memchr2(b'\n', b'\r', record).is_none() {
                return Self::Json(Cow::Borrowed(record));
            }
            let one_line = record
                .iter()
                .map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b });
            return Self::Json(Cow::Owned(one_line.collect()));
        }
        match std::str::from_utf8(record) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Binary(record),
        }
    }

    /// Appends the member `"record": …` (or its substitute), without braces.
    pub(crate) fn append(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Json(json) => {
                out.extend_from_slice(b"\"record\":");
                out.extend_from_slice(json);
            }
            Self::Text(text) => {
                out.extend_from_slice(b"\"raw\":");
                append_json(out, text)?;
            }
            Self::Binary(bytes) => {
                out.extend_from_slice(b"\"raw_base64\":");
                append_json(out, &STANDARD.encode(bytes))?;
            }
        }
        Ok(())
    }
}

pub(super) fn append_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<()> {
    serde_json::to_writer(out, value)
        .map_err(|error| Error::internal("a line cannot be written as JSON").caused_by(error))
}
