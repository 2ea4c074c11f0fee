//! Durations and sizes as people write them: `30s`, `1h`, `30d`, `1y`; `64MiB`, `10MB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;

const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 24 * 60 * 60 * SECOND_MS;

/// Unit name and its length in milliseconds, longest first so that printing finds the largest that fits.
const TIME_UNITS: &[(&str, u64)] = &[
    ("y", 365 * DAY_MS),
    ("w", 7 * DAY_MS),
    ("d", DAY_MS),
    ("h", 60 * 60 * SECOND_MS),
    ("m", 60 * SECOND_MS),
    ("s", SECOND_MS),
    ("ms", 1),
];

/// Unit name and its size in bytes.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// A length of time, exact to the millisecond. A year is 365 days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^\d+(ms|s|m|h|d|w|y)$"))]
pub struct Span(Duration);

impl Span {
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    pub const fn from_secs(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }

    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (number, unit) = split_number(text);
        let factor = TIME_UNITS.iter().find(|(name, _)| *name == unit);
        let millis = number.zip(factor).and_then(|(n, (_, ms))| n.checked_mul(*ms));
        millis.map(Self::from_millis).ok_or_else(|| {
            Error::spec(format!("'{text}' is not a duration"))
                .hint("write a whole number and a unit: ms, s, m, h, d, w or y, as in 30s")
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, factor) = TIME_UNITS
            .iter()
            .find(|(_, ms)| millis != 0 && millis.is_multiple_of(*ms))
            .unwrap_or(&("s", 1));
        write!(f, "{}{unit}", millis / factor)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^\d+(B|KB|KiB|MB|MiB|GB|GiB)$"))]
pub struct ByteSize(u64);

impl ByteSize {
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (number, unit) = split_number(text);
        let factor = SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let bytes = number.zip(factor).and_then(|(n, (_, b))| n.checked_mul(*b));
        bytes.map(Self).ok_or_else(|| {
            Error::spec(format!("'{text}' is not a size"))
                .hint("write a whole number and a unit: B, KB, KiB, MB, MiB, GB or GiB, as in 256MiB")
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZE_UNITS
            .iter()
            .find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size))
            .unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

fn split_number(text: &str) -> (Option<u64>, &str) {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number.parse().ok(), unit.trim())
}

macro_rules! text_conversions {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
text_conversions!(Span, ByteSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for text in ["30s", "1h", "90m", "30d", "1y", "250ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["256MiB", "1GiB", "10MB", "7B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_has_no_unit() {
        assert!("30".parse::<Span>().is_err());
        assert!("1.5h".parse::<Span>().is_err());
        assert!("99999999999999999999y".parse::<Span>().is_err());
        assert!("12 parsecs".parse::<ByteSize>().is_err());
    }
}
