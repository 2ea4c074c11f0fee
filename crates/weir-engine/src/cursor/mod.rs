//! Cursor values: how they are written, compared and moved.

mod bounds;
mod format;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_protocol::spec::CursorFormats;
use weir_protocol::units::Span;
use weir_protocol::{Error, Result};

pub use bounds::{Bounds, CursorPlan};
pub use format::Format;

/// A cursor's value in a form that compares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    Instant(Timestamp),
    Integer(i128),
    Text(String),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant(at) => at.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Point {
    /// Points of different kinds, which only a change of format makes, do not compare.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Instant(a), Self::Instant(b)) => Some(a.cmp(b)),
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    pub fn is_before(&self, other: &Self) -> bool {
        self.compare(other) == Some(Ordering::Less)
    }

    pub fn is_after(&self, other: &Self) -> bool {
        self.compare(other) == Some(Ordering::Greater)
    }
}

/// The formats in which a cursor may be written, tried in order.
#[derive(Debug, Clone)]
pub struct Formats(Vec<Format>);

impl Formats {
    pub fn new(spec: &CursorFormats) -> Result<Self> {
        let formats: Vec<Format> = spec.iter().map(str::parse).collect::<Result<_>>()?;
        if formats.is_empty() {
            return Err(Error::spec("cursor.format is an empty list")
                .hint("name a format, as in rfc3339, or leave it out"));
        }
        Ok(Self(formats))
    }

    /// From the raw JSON of a value, without allocating for the usual formats.
    pub fn parse_raw(&self, raw: &[u8]) -> Option<Point> {
        self.0.iter().find_map(|format| format.parse_raw(raw))
    }

    pub fn parse(&self, value: &Value) -> Option<Point> {
        self.0.iter().find_map(|format| format.parse_value(value))
    }

    /// Whether all values are moments, which compare with a clock: not times of day of which nobody says where.
    pub fn are_times(&self) -> bool {
        let has_one = |pattern: &str, parts: &[&str]| parts.iter().any(|part| pattern.contains(part));
        self.0.iter().all(|format| match format {
            Format::Integer | Format::Text => false,
            Format::Pattern(pattern) => has_one(pattern, ZONES) || !has_one(pattern, HOURS),
            _ => true,
        })
    }

    /// The format in which bounds are written where nothing else is declared.
    pub fn main(&self) -> &Format {
        &self.0[0]
    }
}

/// Parts of a pattern that say where a time holds, and that say an hour.
const ZONES: &[&str] = &["%z", "%:z", "%::z", "%Z", "%Q", "%:Q", "%s"];
const HOURS: &[&str] = &["%H", "%I", "%k", "%l", "%T", "%R", "%r", "%X", "%c"];

/// How far before the stored cursor a read begins.
#[derive(Debug, Clone, Copy)]
pub enum Lookback {
    Time(Span),
    Count(i64),
}

impl std::str::FromStr for Lookback {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let count = text.parse().map(Self::Count);
        count.or_else(|_| text.parse().map(Self::Time))
    }
}

impl Lookback {
    fn apply(self, point: &Point) -> Result<Point> {
        let mismatch = || {
            Error::spec("cursor.lookback does not fit cursor.format")
                .hint("a duration (10m) fits times, a number fits integers, neither fits text")
        };
        match (self, point) {
            (Self::Time(span), Point::Instant(at)) => {
                let moved = at.checked_sub(span.get());
                Ok(Point::Instant(moved.unwrap_or(Timestamp::MIN)))
            }
            (Self::Count(count), Point::Integer(number)) => Ok(Point::Integer(number - i128::from(count))),
            _ => Err(mismatch()),
        }
    }
}
