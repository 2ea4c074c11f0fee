//! Functions that templates call by name.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::time::{Delta, Moment, isoparse, parse_duration};
use super::eval::Args;
use super::text::quote;
use super::value::Py;
use super::{Fault, ops};

const GLOBALS: [&str; 16] = [
    "now_utc",
    "today_utc",
    "timestamp",
    "max",
    "min",
    "day_delta",
    "duration",
    "format_datetime",
    "today_with_timezone",
    "str_to_datetime",
    "sanitize_url",
    "camel_case_to_snake_case",
    "generate_uuid",
    "namespace",
    "dict",
    "json_loads",
];

/// `json_loads` exists only where the caller puts it into the scope.
pub(super) fn is_global(name: &str) -> bool {
    name != "json_loads" && GLOBALS.contains(&name)
}

pub(super) fn call<'a>(name: &str, args: &Args<'a>, now: Moment) -> Result<Py<'a>, Fault> {
    match name {
        "now_utc" => Ok(Py::Moment(now)),
        "today_utc" => Ok(Py::Date(now.date())),
        "today_with_timezone" => today_in(args.text(0, "timezone")?, now),
        "timestamp" => timestamp(args.need(0, "dt")?),
        "str_to_datetime" => to_datetime(args.text(0, "s")?).map(Py::Moment),
        "max" => extreme(args, true),
        "min" => extreme(args, false),
        "day_delta" => day_delta(args, now),
        "duration" => {
            let text = args.text(0, "datestring")?;
            parse_duration(text)
                .map(Py::Delta)
                .ok_or_else(|| Fault::other(format!("'{text}' is not an ISO 8601 duration, such as P1D")))
        }
        "format_datetime" => format_datetime(args),
        "sanitize_url" => Ok(Py::string(quote(args.text(0, "value")?, "", true))),
        "camel_case_to_snake_case" => Ok(Py::string(snake_case(args.text(0, "value")?))),
        "generate_uuid" => Ok(Py::string(uuid::Uuid::new_v4().to_string())),
        "namespace" | "dict" => Ok(dict(args)),
        "json_loads" => serde_json::from_str(args.text(0, "s")?)
            .map(|value| Py::owned(&value))
            .map_err(|error| Fault::other(format!("not JSON: {error}"))),
        other => Err(Fault::undefined(other)),
    }
}

fn dict<'a>(args: &Args<'a>) -> Py<'a> {
    let mut members = args.positional.first().and_then(Py::members).unwrap_or_default();
    members.extend(
        args.named
            .iter()
            .map(|(name, value)| (Py::str(name), value.clone())),
    );
    Py::dict(members)
}

fn today_in<'a>(zone: &str, now: Moment) -> Result<Py<'a>, Fault> {
    let known = TimeZone::get(zone).map_err(|_| Fault::other(format!("there is no time zone '{zone}'")))?;
    let at = Timestamp::from_microsecond(now.micros).map_err(|error| Fault::other(error.to_string()))?;
    let offset = known.to_offset(at).seconds();
    let local = Moment {
        offset: Some(offset),
        ..now
    };
    Ok(Py::Date(local.date()))
}

pub(super) fn to_datetime(text: &str) -> Result<Moment, Fault> {
    isoparse(text)
        .map(|at| Moment::utc(at.micros))
        .ok_or_else(|| Fault::other(format!("'{text}' is not an ISO 8601 date-time")))
}

fn timestamp<'a>(value: &Py<'a>) -> Result<Py<'a>, Fault> {
    match value {
        Py::Undefined(name) => Err(Fault::undefined(name)),
        Py::Float(number) => {
            #[expect(clippy::cast_possible_truncation, reason = "cut off as the reference does")]
            let whole = *number as i64;
            Ok(Py::Int(i128::from(whole)))
        }
        other => match (other.as_int(), other.as_str()) {
            (Some(number), _) => Ok(Py::Int(number)),
            (None, Some(text)) => Ok(Py::Float(to_datetime(text)?.seconds())),
            (None, None) => Err(Fault::kind(format!(
                "timestamp takes a number or text, not {}",
                other.type_name()
            ))),
        },
    }
}

fn extreme<'a>(args: &Args<'a>, greatest: bool) -> Result<Py<'a>, Fault> {
    let items = match args.positional.as_slice() {
        [only] => only.iterate()?,
        several => several.to_vec(),
    };
    let mut items = items.into_iter();
    let mut best = items
        .next()
        .ok_or_else(|| Fault::other("max and min need at least one value"))?;
    for item in items {
        let order = ops::order(&item, &best)?;
        if (greatest && order.is_gt()) || (!greatest && order.is_lt()) {
            best = item;
        }
    }
    Ok(best)
}

fn day_delta<'a>(args: &Args<'a>, now: Moment) -> Result<Py<'a>, Fault> {
    let days = args.need(0, "num_days")?;
    let days = days
        .as_float()
        .ok_or_else(|| Fault::kind("day_delta takes a number of days"))?;
    let format = match args.get(1, "format") {
        Some(_) => args.text(1, "format")?,
        None => "%Y-%m-%dT%H:%M:%S.%f%z",
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "what leaves the calendar is refused"
    )]
    let micros = (days * super::super::time::DAY as f64).round() as i64;
    let at = now
        .plus(Delta::micros(micros))
        .ok_or_else(|| Fault::other("day_delta leaves the calendar"))?;
    Ok(Py::string(at.strftime(format)))
}

fn format_datetime<'a>(args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let value = args.need(0, "dt")?;
    let format = args.text(1, "format")?;
    let input = match args.get(2, "input_format") {
        None | Some(Py::None) => None,
        Some(_) => Some(args.text(2, "input_format")?),
    };
    let bad = |text: &str| Fault::other(format!("'{text}' is not a date-time of the format given"));
    let at = match value {
        Py::Undefined(name) => return Err(Fault::undefined(name)),
        Py::Moment(at) => return Ok(Py::string(at.strftime(format))),
        // The reference takes a day without time for text, which it is not.
        Py::Date(_) => return Err(Fault::kind("format_datetime takes a date-time, not a date")),
        other => match (other.as_int(), other.as_str()) {
            (Some(number), _) => {
                let text = number.to_string();
                Moment::parse(&text, input.unwrap_or("%s")).ok_or_else(|| bad(&text))?
            }
            (None, Some(text)) => match input {
                Some(input) => Moment::strptime(text, input).ok_or_else(|| bad(text))?,
                None => to_datetime(text)?,
            },
            (None, None) => {
                return Err(Fault::kind(format!(
                    "format_datetime takes a date-time, number or text, not {}",
                    other.type_name()
                )));
            }
        },
    };
    Ok(Py::string(at.or_utc().format(format)))
}

fn snake_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (index, c) in text.chars().enumerate() {
        if index > 0 && c.is_ascii_uppercase() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}
