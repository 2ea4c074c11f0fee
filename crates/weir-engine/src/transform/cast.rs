//! Changing a value's type. What cannot be changed stays as it is, and the lake puts the record into
//! quarantine: it knows the casts by the stream's policy.

use serde_json::Value;
use weir_protocol::spec::CastType;

use crate::cursor::{Format, Point};
use crate::extract::{Exact, is_inexact};

/// Formats in which a moment is looked for, in order. Numbers above this many seconds are milliseconds.
const MOMENTS: [Format; 2] = [Format::Rfc3339, Format::Date];
const EPOCH_SECONDS_MAX: f64 = 100_000_000_000.0;

/// `exact` knows the numbers that values only stand for: those are cast by their digits, or not at all.
pub(super) fn cast(value: &mut Value, to: CastType, exact: &Exact) {
    let cast = match to {
        CastType::String => to_text(value, exact),
        CastType::Integer => to_integer(value, exact),
        CastType::Number => to_number(value, exact),
        CastType::Boolean => to_boolean(value, exact),
        CastType::Timestamp => to_timestamp(value, exact),
        CastType::Json => to_json(value, exact),
    };
    if let Some(cast) = cast {
        *value = cast;
    }
}

fn to_text(value: &Value, exact: &Exact) -> Option<Value> {
    match value {
        Value::Null | Value::String(_) => None,
        other => exact.text(other).ok().map(Value::from),
    }
}

fn to_integer(value: &Value, exact: &Exact) -> Option<Value> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            let whole = text.parse::<i64>().ok().or_else(|| {
                // Its double may be whole where the text is not.
                let double = text.parse::<f64>().ok().filter(|_| !is_inexact(text.as_bytes()));
                whole(double?)
            });
            whole.map(Value::from)
        }
        Value::Number(_) if exact.digits(value).is_some() => None,
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

fn to_number(value: &Value, exact: &Exact) -> Option<Value> {
    match value {
        Value::String(text) => {
            let number = exact.parse(text.trim().as_bytes()).ok()?;
            number.is_number().then_some(number)
        }
        Value::Bool(truth) => Some(Value::from(i64::from(*truth))),
        _ => None,
    }
}

fn to_boolean(value: &Value, exact: &Exact) -> Option<Value> {
    match value {
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "t" | "on" | "1" => Some(Value::Bool(true)),
            "false" | "no" | "n" | "f" | "off" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        Value::Number(_) if exact.digits(value).is_some() => None,
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(Value::Bool(true)),
            Some(0.0) => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

fn to_timestamp(value: &Value, exact: &Exact) -> Option<Value> {
    let point = match value {
        Value::String(text) => MOMENTS
            .iter()
            .find_map(|format| format.parse_text(text))
            .or_else(|| epoch(value))
            .or_else(|| by_mail(text)),
        Value::Number(_) => match exact.digits(value) {
            Some(digits) => epoch(&Value::from(digits)),
            None => epoch(value),
        },
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

fn to_json(value: &Value, exact: &Exact) -> Option<Value> {
    let Value::String(text) = value else {
        return None;
    };
    exact.parse(text.as_bytes()).ok()
}
