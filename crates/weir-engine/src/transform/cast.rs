//! Changing a value's type. What cannot be changed stays as it is, and the lake puts the record into
//! quarantine: it knows the casts by the stream's policy.

use serde_json::{Number, Value};
use weir_protocol::spec::CastType;

use crate::cursor::{Format, Point};

/// Formats in which a moment is looked for, in order. Numbers above this many seconds are milliseconds.
const MOMENTS: [Format; 2] = [Format::Rfc3339, Format::Date];
const EPOCH_SECONDS_MAX: f64 = 100_000_000_000.0;

pub(super) fn cast(value: &mut Value, to: CastType) {
    let cast = match to {
        CastType::String => to_text(value),
        CastType::Integer => to_integer(value),
        CastType::Number => to_number(value),
        CastType::Boolean => to_boolean(value),
        CastType::Timestamp => to_timestamp(value),
        CastType::Json => to_json(value),
    };
    if let Some(cast) = cast {
        *value = cast;
    }
}

fn to_text(value: &Value) -> Option<Value> {
    match value {
        Value::Null | Value::String(_) => None,
        other => Some(Value::from(other.to_string())),
    }
}

fn to_integer(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            let whole = text.parse::<i64>().ok().or_else(|| whole(text.parse().ok()?));
            whole.map(Value::from)
        }
        Value::Number(number) if number.is_f64() => whole(number.as_f64()?).map(Value::from),
        Value::Bool(truth) => Some(Value::from(i64::from(*truth))),
        _ => None,
    }
}

/// Only a number without a fraction, in the range where floats are exact.
fn whole(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    exact.then(|| format!("{number:.0}").parse().ok()).flatten()
}

fn to_number(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => {
            let number: Number = serde_json::from_str(text.trim()).ok()?;
            Some(Value::Number(number))
        }
        Value::Bool(truth) => Some(Value::from(i64::from(*truth))),
        _ => None,
    }
}

fn to_boolean(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "t" | "on" | "1" => Some(Value::Bool(true)),
            "false" | "no" | "n" | "f" | "off" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(Value::Bool(true)),
            Some(0.0) => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

fn to_timestamp(value: &Value) -> Option<Value> {
    let point = match value {
        Value::String(text) => MOMENTS
            .iter()
            .find_map(|format| format.parse_text(text))
            .or_else(|| epoch(value))
            .or_else(|| by_mail(text)),
        Value::Number(_) => epoch(value),
        _ => None,
    };
    match point {
        Some(Point::Instant(at)) => Some(Value::from(at.to_string())),
        _ => None,
    }
}

/// As mail and HTTP write moments (RFC 2822): `Fri, 24 May 2019 17:44:46 +0000`.
fn by_mail(text: &str) -> Option<Point> {
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(Point::Instant(at.timestamp()))
}

fn epoch(value: &Value) -> Option<Point> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let format = match seconds.abs() {
        size if size <= EPOCH_SECONDS_MAX => Format::EpochS,
        size if size <= EPOCH_SECONDS_MAX * 1_000.0 => Format::EpochMs,
        _ => Format::EpochUs,
    };
    format.parse_value(value)
}

fn to_json(value: &Value) -> Option<Value> {
    let Value::String(text) = value else {
        return None;
    };
    serde_json::from_str(text).ok()
}
