//! Filters and functions of templates besides minijinja's own.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value};
use regex::Regex;
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::cursor::{Format, Point};
use crate::duration::Step;

/// Compiled patterns kept; a template that makes more of them than this has each compiled anew.
const PATTERNS_MAX: usize = 256;

pub(super) fn add(environment: &mut Environment<'static>, clock: &Clock) {
    add_time(environment, clock);
    environment.add_filter("hash", hash);
    environment.add_filter("base64encode", |text: String| STANDARD.encode(text));
    environment.add_filter("base64decode", base64_decode);
    environment.add_filter("base64size", |text: String| match STANDARD.decode(text.trim()) {
        Ok(bytes) => Ok(bytes.len()),
        Err(error) => Err(failed(error.to_string())),
    });
    let patterns = Mutex::new(HashMap::new());
    environment.add_filter("regex_search", move |text: String, pattern: String| {
        search(&patterns, &text, &pattern)
    });
}

fn add_time(environment: &mut Environment<'static>, clock: &Clock) {
    let now = clock.clone();
    environment.add_function("now_utc", move || now.now().to_string());
    let now = clock.clone();
    environment.add_function("today", move || now.now().strftime("%Y-%m-%d").to_string());
    environment.add_function("timestamp", |value: Value| {
        instant(&value, None).map(Timestamp::as_second)
    });
    environment.add_function("duration", |text: String| {
        let step: Step = text.parse().map_err(|error| failed(format!("{error}")))?;
        let from = Timestamp::UNIX_EPOCH;
        let until = step
            .after(from)
            .ok_or_else(|| failed("duration is out of range"))?;
        Ok::<i64, Error>(until.as_second())
    });
    let now = clock.clone();
    environment.add_function("day_delta", move |days: i64, format: Option<String>| {
        let at = days
            .checked_mul(24)
            .and_then(|hours| now.now().checked_add(SignedDuration::from_hours(hours)).ok());
        let at = at.ok_or_else(|| failed("day_delta is out of range"))?;
        format_instant(at, format.as_deref().unwrap_or("rfc3339"))
    });
    let format = |value: Value, format: String, from: Option<String>| {
        format_instant(instant(&value, from.as_deref())?, &format)
    };
    environment.add_function("format_datetime", format);
    environment.add_filter("format_datetime", format);
}

fn instant(value: &Value, from: Option<&str>) -> Result<Timestamp, Error> {
    let value = serde_json::to_value(value).map_err(|error| failed(error.to_string()))?;
    let formats: Vec<Format> = match from {
        Some(format) => vec![parse_format(format)?],
        None => vec![Format::Rfc3339, Format::Date, Format::EpochS],
    };
    let found = formats
        .iter()
        .find_map(|format| match format.parse_value(&value) {
            Some(Point::Instant(at)) => Some(at),
            _ => None,
        });
    found.ok_or_else(|| failed(format!("{value} is not a date-time")))
}

fn format_instant(at: Timestamp, format: &str) -> Result<Value, Error> {
    parse_format(format)?
        .write(&Point::Instant(at))
        .map(|written| Value::from(Serde(written)))
        .map_err(|error| failed(error.to_string()))
}

fn parse_format(format: &str) -> Result<Format, Error> {
    format
        .parse()
        .map_err(|error: weir_protocol::Error| failed(error.to_string()))
}

fn hash(text: String, algorithm: Option<String>) -> Result<String, Error> {
    match algorithm.as_deref().unwrap_or("sha256") {
        "sha256" => Ok(hex(&Sha256::digest(text.as_bytes()))),
        "md5" => Ok(hex(&md5::Md5::digest(text.as_bytes()))),
        other => Err(failed(format!("hash knows sha256 and md5, not '{other}'"))),
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

fn base64_decode(text: String) -> Result<String, Error> {
    let bytes = STANDARD
        .decode(text.trim())
        .map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| failed("what base64decode gives is not UTF-8 text"))
}

/// The first group of the first match, the whole match where the pattern has no group, else none.
fn search(patterns: &Mutex<HashMap<String, Regex>>, text: &str, pattern: &str) -> Result<Value, Error> {
    let mut patterns = patterns.lock().map_err(|_| failed("regex_search broke off"))?;
    if !patterns.contains_key(pattern) {
        let compiled = Regex::new(pattern).map_err(|error| failed(error.to_string()))?;
        if patterns.len() >= PATTERNS_MAX {
            patterns.clear();
        }
        patterns.insert(pattern.to_owned(), compiled);
    }
    let found = patterns.get(pattern).and_then(|regex| regex.captures(text));
    let part = found.and_then(|found| found.get(1).or_else(|| found.get(0)));
    Ok(part.map_or(Value::from(()), |part| Value::from(part.as_str())))
}

fn failed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}
