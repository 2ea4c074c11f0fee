//! One way to write a cursor's value.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};
use serde_json::Value;
use weir_protocol::{Error, Result};

use super::Point;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    Rfc3339,
    Date,
    EpochS,
    EpochMs,
    EpochUs,
    Integer,
    Text,
    /// A strftime pattern. Without an offset in it, times are UTC.
    Pattern(String),
}

/// Names and what they stand for; everything else must hold a `%`.
const NAMES: &[(&str, Format)] = &[
    ("rfc3339", Format::Rfc3339),
    ("date", Format::Date),
    ("epoch_s", Format::EpochS),
    ("epoch_ms", Format::EpochMs),
    ("epoch_us", Format::EpochUs),
    ("integer", Format::Integer),
    ("string", Format::Text),
];

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, format)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(format.clone());
        }
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        let is_pattern = text.contains('%')
            && strtime::format(text, &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC)).is_ok();
        if is_pattern {
            return Ok(Self::Pattern(text.to_owned()));
        }
        let error = Error::spec(format!("'{text}' is not a cursor format"));
        Err(match weir_protocol::yaml::closest(text, &names) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!(
                "use one of {}, or a strftime pattern such as %Y-%m-%d %H:%M:%S",
                names.join(", ")
            )),
        })
    }
}

impl Format {
    pub fn parse_raw(&self, raw: &[u8]) -> Option<Point> {
        match raw {
            [b'"', text @ .., b'"'] if !text.contains(&b'\\') => {
                self.parse_text(std::str::from_utf8(text).ok()?)
            }
            [b'"', ..] => self.parse_text(&serde_json::from_slice::<String>(raw).ok()?),
            [b'-' | b'0'..=b'9', ..] => self.parse_number(std::str::from_utf8(raw).ok()?),
            _ => None,
        }
    }

    pub fn parse_value(&self, value: &Value) -> Option<Point> {
        match value {
            Value::String(text) => self.parse_text(text),
            Value::Number(number) => self.parse_number(&number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub fn parse_text(&self, text: &str) -> Option<Point> {
        match self {
            Self::Rfc3339 => rfc3339(text).map(Point::Instant),
            Self::Date => text.parse::<Date>().ok().and_then(midnight).map(Point::Instant),
            Self::EpochS | Self::EpochMs | Self::EpochUs | Self::Integer => self.parse_number(text.trim()),
            Self::Text => (!text.is_empty()).then(|| Point::Text(text.to_owned())),
            Self::Pattern(pattern) => by_pattern(pattern, text).map(Point::Instant),
        }
    }

    fn parse_number(&self, digits: &str) -> Option<Point> {
        match self {
            Self::EpochS => epoch(digits, 9),
            Self::EpochMs => epoch(digits, 6),
            Self::EpochUs => epoch(digits, 3),
            Self::Integer => digits.parse().ok().map(Point::Integer),
            Self::Text => Some(Point::Text(digits.to_owned())),
            Self::Pattern(pattern) => by_pattern(pattern, digits).map(Point::Instant),
            Self::Rfc3339 | Self::Date => None,
        }
    }

    /// As it is sent to the vendor, or stored.
    pub fn write(&self, point: &Point) -> Result<Value> {
        let at = match (self, point) {
            (_, Point::Instant(at)) => *at,
            (_, Point::Integer(number)) => {
                return Ok(
                    i64::try_from(*number).map_or_else(|_| Value::from(number.to_string()), Value::from)
                );
            }
            (_, Point::Text(text)) => return Ok(Value::from(text.as_str())),
        };
        Ok(match self {
            Self::Rfc3339 => Value::from(at.to_string()),
            Self::Date => Value::from(at.strftime("%Y-%m-%d").to_string()),
            Self::EpochS => Value::from(at.as_second()),
            Self::EpochMs => Value::from(at.as_millisecond()),
            Self::EpochUs => Value::from(at.as_microsecond()),
            Self::Pattern(pattern) => {
                let text = strtime::format(pattern, &at.to_zoned(TimeZone::UTC)).map_err(|error| {
                    Error::spec(format!("the format '{pattern}' cannot write a time"))
                        .caused_by(error)
                        .hint("use strftime directives only")
                })?;
                Value::from(text)
            }
            Self::Integer | Self::Text => {
                return Err(Error::spec("a time cannot be written as integer or string")
                    .hint("set cursor.request.format to epoch_s, rfc3339, date or a strftime pattern"));
            }
        })
    }

    /// The last moment that reads the same as this one when it is written with this format's precision.
    pub fn truncate(&self, at: Timestamp) -> Timestamp {
        let unit = match self {
            Self::EpochS => Unit::Second,
            Self::EpochMs => Unit::Millisecond,
            Self::EpochUs => Unit::Microsecond,
            Self::Date => {
                return at
                    .to_zoned(TimeZone::UTC)
                    .date()
                    .to_zoned(TimeZone::UTC)
                    .map_or(at, |day| day.timestamp());
            }
            Self::Rfc3339 | Self::Integer | Self::Text | Self::Pattern(_) => return at,
        };
        at.round(
            jiff::TimestampRound::new()
                .smallest(unit)
                .mode(jiff::RoundMode::Floor),
        )
        .unwrap_or(at)
    }
}

/// RFC 3339 and what vendors take for it: no offset (UTC), a space instead of `T`, `+0000`.
fn rfc3339(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    if let Ok(local) = text.parse::<jiff::civil::DateTime>() {
        // A text with an offset that jiff's civil parser would drop does not come here: `Timestamp` reads it.
        return local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    }
    None
}

fn midnight(date: Date) -> Option<Timestamp> {
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn by_pattern(pattern: &str, text: &str) -> Option<Timestamp> {
    let parts = strtime::parse(pattern, text).ok()?;
    if let Ok(at) = parts.to_timestamp() {
        return Some(at);
    }
    if let Ok(local) = parts.to_datetime() {
        return local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    }
    if let Ok(date) = parts.to_date() {
        return midnight(date);
    }
    // A pattern such as %Y-%m names a month: its first day.
    let (year, month) = (parts.year()?, parts.month().unwrap_or(1));
    Date::new(year, month, 1).ok().and_then(midnight)
}

/// Digits with an optional fraction, `scale` decimal places above a nanosecond.
fn epoch(digits: &str, scale: u32) -> Option<Point> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let negative = whole.starts_with('-');
    let unit = 10_i128.pow(scale);
    let mut nanos = whole.parse::<i128>().ok()?.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        let digit = i128::from(char::from(digit).to_digit(10)?);
        nanos += if negative { -digit * place } else { digit * place };
    }
    Timestamp::from_nanosecond(nanos).ok().map(Point::Instant)
}
