//! Types of CSV columns: found in a sample, used to write values as JSON.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde_json::{Map, Value, json};

/// Most significant digits that a 64-bit floating point number keeps apart.
const DIGITS_MAX: usize = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    Integer,
    Number,
    Boolean,
    Date,
    Timestamp,
    Text,
    /// No value was seen.
    Unknown,
}

/// Whether a value is of a type.
type Test = fn(&str) -> bool;

/// Tried in this order: a column has the first type that all its values fit.
const CANDIDATES: [(ColumnType, Test); 5] = [
    (ColumnType::Integer, is_integer),
    (ColumnType::Number, is_number),
    (ColumnType::Boolean, is_boolean),
    (ColumnType::Date, is_date),
    (ColumnType::Timestamp, is_timestamp),
];

/// Narrows a column's type with every value seen.
#[derive(Debug, Clone)]
pub(super) struct Guess {
    fits: [bool; CANDIDATES.len()],
    seen: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self {
            fits: [true; CANDIDATES.len()],
            seen: false,
        }
    }
}

impl Guess {
    pub(super) fn see(&mut self, value: &str) {
        if value.is_empty() {
            return;
        }
        self.seen = true;
        for (fits, (_, test)) in self.fits.iter_mut().zip(CANDIDATES) {
            *fits = *fits && test(value);
        }
    }

    /// Takes on what another sample of the same column said.
    pub(super) fn join(&mut self, other: &Self) {
        if !other.seen {
            return;
        }
        self.seen = true;
        for (fits, other) in self.fits.iter_mut().zip(other.fits) {
            *fits = *fits && other;
        }
    }

    pub(super) fn decide(&self) -> ColumnType {
        if !self.seen {
            return ColumnType::Unknown;
        }
        let fitting = self.fits.iter().zip(CANDIDATES).find(|(fits, _)| **fits);
        fitting.map_or(ColumnType::Text, |(_, (kind, _))| kind)
    }
}

impl ColumnType {
    /// JSON Schema of the column; none where nothing is known of it.
    fn schema(self) -> Option<Value> {
        Some(match self {
            Self::Integer => json!({ "type": ["integer", "null"] }),
            Self::Number => json!({ "type": ["number", "null"] }),
            Self::Boolean => json!({ "type": ["boolean", "null"] }),
            Self::Date => json!({ "type": ["string", "null"], "format": "date" }),
            Self::Timestamp => json!({ "type": ["string", "null"], "format": "date-time" }),
            Self::Text => json!({ "type": ["string", "null"] }),
            Self::Unknown => return None,
        })
    }

    /// The type that a JSON Schema's property says.
    fn of(schema: &Value) -> Self {
        let named = |name: &str| match &schema["type"] {
            Value::String(kind) => kind == name,
            Value::Array(kinds) => kinds.iter().any(|kind| kind == name),
            _ => false,
        };
        match schema["format"].as_str() {
            Some("date") => Self::Date,
            Some("date-time") => Self::Timestamp,
            _ if named("integer") => Self::Integer,
            _ if named("number") => Self::Number,
            _ if named("boolean") => Self::Boolean,
            _ if named("string") => Self::Text,
            _ => Self::Unknown,
        }
    }

    /// Appends a value as JSON. A value that does not fit is written as text: the lake sees the
    /// difference and puts the record into quarantine.
    pub(super) fn write(self, value: &str, out: &mut Vec<u8>) {
        if value.is_empty() && self != Self::Text {
            out.extend_from_slice(b"null");
            return;
        }
        match self {
            Self::Integer | Self::Number if is_number(value) || is_integer(value) => {
                out.extend_from_slice(value.as_bytes());
            }
            Self::Boolean if is_boolean(value) => {
                out.extend_from_slice(value.to_ascii_lowercase().as_bytes());
            }
            Self::Timestamp => match civil(value) {
                Some(civil) => write_text(&format!("{civil}Z"), out),
                None => write_text(value, out),
            },
            _ => write_text(value, out),
        }
    }
}

pub(super) fn schema(columns: &[String], types: &[ColumnType]) -> Value {
    let properties: Map<String, Value> = columns
        .iter()
        .zip(types)
        .filter_map(|(column, kind)| Some((column.clone(), kind.schema()?)))
        .collect();
    json!({ "type": "object", "properties": properties })
}

/// Types of these columns by a schema; unknown where it does not name them.
pub(super) fn types_of(columns: &[String], schema: Option<&Value>) -> Vec<ColumnType> {
    columns
        .iter()
        .map(|column| {
            schema.map_or(ColumnType::Unknown, |schema| {
                ColumnType::of(&schema["properties"][column.as_str()])
            })
        })
        .collect()
}

/// Appends text as a JSON string.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = 0;
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let escaped: Option<&[u8]> = match byte {
            b'"' => Some(b"\\\""),
            b'\\' => Some(b"\\\\"),
            b'\n' => Some(b"\\n"),
            b'\r' => Some(b"\\r"),
            b'\t' => Some(b"\\t"),
            0..=0x1f => None,
            _ => continue,
        };
        out.extend_from_slice(&bytes[rest..index]);
        match escaped {
            Some(escaped) => out.extend_from_slice(escaped),
            None => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        rest = index + 1;
    }
    out.extend_from_slice(&bytes[rest..]);
    out.push(b'"');
}

/// A whole number as JSON writes it: no leading zero, no plus sign, within 64 bits.
fn is_integer(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    is_plain_digits(digits) && value.parse::<i64>().is_ok()
}

/// A number as JSON writes it, if a 64-bit floating point number can hold it.
fn is_number(value: &str) -> bool {
    let unsigned = value.strip_prefix('-').unwrap_or(value);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits =
        exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    let significant = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // Fractions carry noise past the last digit that counts; whole numbers are often identifiers.
    let exact = fraction.is_some() || exponent.is_some() || significant <= DIGITS_MAX;
    is_plain_digits(whole)
        && fraction.is_none_or(digits)
        && exponent_fits
        && exact
        && value.parse::<f64>().is_ok_and(f64::is_finite)
}

fn is_plain_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

fn is_boolean(value: &str) -> bool {
    ["true", "false", "True", "False", "TRUE", "FALSE"].contains(&value)
}

fn is_date(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-' && value.parse::<Date>().is_ok()
}

fn is_timestamp(value: &str) -> bool {
    looks_like_timestamp(value) && (value.parse::<Timestamp>().is_ok() || civil(value).is_some())
}

fn looks_like_timestamp(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.len() >= 16 && bytes[4] == b'-' && bytes[7] == b'-' && matches!(bytes[10], b'T' | b' ')
}

/// A time without a zone, which is taken as UTC.
fn civil(value: &str) -> Option<DateTime> {
    if !looks_like_timestamp(value) || value.parse::<Timestamp>().is_ok() {
        return None;
    }
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guess(values: &[&str]) -> ColumnType {
        let mut guess = Guess::default();
        for value in values {
            guess.see(value);
        }
        guess.decide()
    }

    fn written(kind: ColumnType, value: &str) -> String {
        let mut out = Vec::new();
        kind.write(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_type_is_given_only_when_all_values_fit() {
        assert_eq!(guess(&["1", "-20", "", "0"]), ColumnType::Integer);
        assert_eq!(guess(&["1", "2.50"]), ColumnType::Number);
        assert_eq!(guess(&["007", "12"]), ColumnType::Text);
        assert_eq!(guess(&["1", "x"]), ColumnType::Text);
        assert_eq!(guess(&["+1"]), ColumnType::Text);
        assert_eq!(guess(&["12345678901234567890"]), ColumnType::Text);
        assert_eq!(guess(&["true", "FALSE"]), ColumnType::Boolean);
        assert_eq!(guess(&["2024-02-29"]), ColumnType::Date);
        assert_eq!(guess(&["2023-02-29"]), ColumnType::Text);
        assert_eq!(
            guess(&["2024-02-29 10:00:00", "2024-02-29T10:00:00.5+01:00"]),
            ColumnType::Timestamp
        );
        assert_eq!(guess(&["", ""]), ColumnType::Unknown);
    }

    #[test]
    fn values_are_written_as_their_type() {
        assert_eq!(written(ColumnType::Integer, "12"), "12");
        assert_eq!(written(ColumnType::Integer, "1.5"), "1.5");
        assert_eq!(written(ColumnType::Integer, "n/a"), r#""n/a""#);
        assert_eq!(written(ColumnType::Integer, ""), "null");
        assert_eq!(written(ColumnType::Boolean, "True"), "true");
        assert_eq!(
            written(ColumnType::Timestamp, "2024-01-02 03:04:05"),
            r#""2024-01-02T03:04:05Z""#
        );
        assert_eq!(written(ColumnType::Text, ""), r#""""#);
        assert_eq!(written(ColumnType::Unknown, "x"), r#""x""#);
    }

    proptest! {
        #[test]
        fn every_value_becomes_json(value in ".*") {
            for kind in [ColumnType::Integer, ColumnType::Number, ColumnType::Boolean, ColumnType::Timestamp, ColumnType::Text] {
                serde_json::from_str::<Value>(&written(kind, &value)).unwrap();
            }
            let text: String = serde_json::from_str(&written(ColumnType::Text, &value)).unwrap();
            prop_assert_eq!(text, value);
        }

        #[test]
        fn numbers_keep_their_value(value in any::<i64>(), float in prop::num::f64::NORMAL) {
            prop_assert_eq!(guess(&[&value.to_string()]), ColumnType::Integer);
            let text = format!("{float:?}");
            if is_number(&text) {
                prop_assert_eq!(written(ColumnType::Number, &text).parse::<f64>().unwrap(), float);
            }
        }
    }
}
