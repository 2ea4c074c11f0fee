//! How a range is cut into chunks.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use weir_protocol::units::Span;
use weir_protocol::{Error, Result};

/// Chunks of one backfill: more would be days of runs, and a wrong number typed.
pub(super) const CHUNKS_MAX: usize = 10_000;

/// Where chunks begin and end. Dates and times are cut by a span of time (`7d`), whole numbers by a
/// number; without a chunk the range stays whole.
pub(super) fn edges(from: &str, to: &str, chunk: Option<&str>) -> Result<Vec<String>> {
    if let (Ok(first), Ok(last)) = (from.parse::<i64>(), to.parse::<i64>()) {
        return numbers(first, last, chunk);
    }
    let whole_day = end_of_day(to)?;
    let to = whole_day.as_deref().unwrap_or(to);
    let (first, last) = (moment(from)?, moment(to)?);
    if first >= last {
        return Err(empty(from, to));
    }
    let Some(chunk) = chunk else {
        return Ok(vec![from.to_owned(), to.to_owned()]);
    };
    let step: Span = chunk
        .parse()
        .map_err(|_| wrong_chunk(chunk, "a span of time, as in 7d or 12h"))?;
    let step = SignedDuration::try_from(step.get())
        .ok()
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| wrong_chunk(chunk, "more than nothing"))?;
    let is_date = from.parse::<Date>().is_ok() && whole_day.is_some();
    let whole_days = step.as_secs() % 86_400 == 0 && step.subsec_nanos() == 0;
    let written = |at: Timestamp| {
        if is_date && whole_days {
            at.to_zoned(TimeZone::UTC).date().to_string()
        } else {
            at.to_string()
        }
    };
    let mut edges = vec![from.to_owned()];
    let mut at = first.checked_add(step).map_err(|_| too_many())?;
    while at < last {
        if edges.len() >= CHUNKS_MAX {
            return Err(too_many());
        }
        edges.push(written(at));
        at = at.checked_add(step).map_err(|_| too_many())?;
    }
    edges.push(to.to_owned());
    Ok(edges)
}

fn numbers(first: i64, last: i64, chunk: Option<&str>) -> Result<Vec<String>> {
    if first >= last {
        return Err(empty(&first.to_string(), &last.to_string()));
    }
    let step: i64 = match chunk {
        None => return Ok(vec![first.to_string(), last.to_string()]),
        Some(chunk) => chunk
            .parse()
            .ok()
            .filter(|step| *step > 0)
            .ok_or_else(|| wrong_chunk(chunk, "a whole number, as the range is one of numbers"))?,
    };
    let mut edges = vec![first.to_string()];
    let mut at = first.saturating_add(step);
    while at < last {
        if edges.len() >= CHUNKS_MAX {
            return Err(too_many());
        }
        edges.push(at.to_string());
        at = at.saturating_add(step);
    }
    edges.push(last.to_string());
    Ok(edges)
}

/// The last moment of a day that is named as the end of a range: all of it is meant. None where it is no date.
fn end_of_day(text: &str) -> Result<Option<String>> {
    let Ok(date) = text.parse::<Date>() else {
        return Ok(None);
    };
    let next = date.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
    let last = next.and_then(|next| next.timestamp().checked_sub(SignedDuration::from_micros(1)));
    let last = last.map_err(|_| wrong_moment(text))?;
    Ok(Some(last.to_string()))
}

fn moment(text: &str) -> Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let date: Option<Date> = text.parse().ok();
    let at = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    at.map(|at| at.timestamp()).ok_or_else(|| wrong_moment(text))
}

fn wrong_moment(text: &str) -> Error {
    Error::usage(format!("'{text}' is no beginning or end of a range"))
        .hint("write a date (2026-01-31), a time (2026-01-31T12:00:00Z), or whole numbers for both ends")
}

fn empty(from: &str, to: &str) -> Error {
    Error::usage(format!("there is nothing from {from} to {to}")).hint("let the range end after it begins")
}

fn wrong_chunk(chunk: &str, needs: &str) -> Error {
    Error::usage(format!("'{chunk}' cannot be a chunk")).hint(format!("write {needs}"))
}

fn too_many() -> Error {
    Error::limit(format!("the range has more than {CHUNKS_MAX} chunks"))
        .hint("make the chunks larger, or the range shorter")
}
