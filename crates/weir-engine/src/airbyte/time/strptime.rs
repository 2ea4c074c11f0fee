//! Reading date-times by format, as Python does: whole text, numbers with or without leading zero.

use super::civil::wall_of;
use super::strftime::{day_name, month_name, short};
use super::{DAY, Moment, SECOND};

/// What has been read so far.
#[derive(Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    yearday: Option<i64>,
    hour: i64,
    hour12: Option<i64>,
    is_pm: Option<bool>,
    minute: i64,
    second: i64,
    micro: i64,
    offset: Option<i32>,
}

pub(super) fn parse(text: &str, format: &str) -> Option<Moment> {
    let mut read = Read::default();
    let mut rest = text;
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            while chars.peek().is_some_and(|next| next.is_whitespace()) {
                chars.next();
            }
            let trimmed = rest.trim_start();
            if trimmed.len() == rest.len() {
                return None;
            }
            rest = trimmed;
        } else if c == '%' {
            rest = directive(chars.next()?, rest, &mut read)?;
        } else {
            let mut letters = rest.chars();
            let found = letters.next()?;
            if found != c && !found.to_lowercase().eq(c.to_lowercase()) {
                return None;
            }
            rest = letters.as_str();
        }
    }
    if rest.is_empty() { read.finish() } else { None }
}

fn directive<'a>(directive: char, rest: &'a str, read: &mut Read) -> Option<&'a str> {
    let number = |width: usize, low: i64, high: i64| number(rest, width, low, high);
    let (value, rest) = match directive {
        'Y' => {
            let head = rest
                .get(..4)
                .filter(|head| head.bytes().all(|b| b.is_ascii_digit()))?;
            read.year = head.parse().ok();
            return rest.get(4..);
        }
        'y' => number(2, 0, 99)?,
        'm' => number(2, 1, 12)?,
        'd' => number(2, 1, 31)?,
        'H' => number(2, 0, 23)?,
        'I' => number(2, 1, 12)?,
        'M' => number(2, 0, 59)?,
        'S' => number(2, 0, 61)?,
        'j' => number(3, 1, 366)?,
        'w' | 'u' => return number(1, 0, 7).map(|(_, rest)| rest),
        'U' | 'W' | 'V' => return number(2, 0, 53).map(|(_, rest)| rest),
        _ => return words(directive, rest, read),
    };
    match directive {
        'y' => read.year = Some(if value < 69 { 2000 + value } else { 1900 + value }),
        'm' => read.month = Some(value),
        'd' => read.day = Some(value),
        'H' => read.hour = value,
        'I' => read.hour12 = Some(value),
        'M' => read.minute = value,
        'S' => read.second = value,
        _ => read.yearday = Some(value),
    }
    Some(rest)
}

/// The longest number of at most `width` digits that lies within its bounds.
fn number(rest: &str, width: usize, low: i64, high: i64) -> Option<(i64, &str)> {
    let digits = rest.bytes().take(width).take_while(u8::is_ascii_digit).count();
    (1..=digits).rev().find_map(|count| {
        let value: i64 = rest.get(..count)?.parse().ok()?;
        (low..=high)
            .contains(&value)
            .then_some((value, rest.get(count..)?))
    })
}

fn words<'a>(directive: char, rest: &'a str, read: &mut Read) -> Option<&'a str> {
    match directive {
        'f' => {
            let count = rest.bytes().take(6).take_while(u8::is_ascii_digit).count();
            let digits = rest.get(..count).filter(|digits| !digits.is_empty())?;
            let padded: String = digits.chars().chain("00000".chars()).take(6).collect();
            read.micro = padded.parse().ok()?;
            rest.get(count..)
        }
        'z' => {
            let (offset, rest) = offset(rest)?;
            read.offset = Some(offset);
            Some(rest)
        }
        'Z' => ["utc", "gmt"].iter().find_map(|zone| strip(rest, zone)),
        'b' | 'h' => named(rest, 12, |at| short(month_name(at))).map(|(at, rest)| {
            read.month = Some(at + 1);
            rest
        }),
        'B' => named(rest, 12, month_name).map(|(at, rest)| {
            read.month = Some(at + 1);
            rest
        }),
        'a' => named(rest, 7, |at| short(day_name(at))).map(|(_, rest)| rest),
        'A' => named(rest, 7, day_name).map(|(_, rest)| rest),
        'p' => {
            let is_pm = strip(rest, "pm").is_some();
            read.is_pm = Some(is_pm);
            strip(rest, if is_pm { "pm" } else { "am" })
        }
        '%' => rest.strip_prefix('%'),
        _ => None,
    }
}

fn strip<'a>(rest: &'a str, prefix: &str) -> Option<&'a str> {
    let head = rest.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| rest.get(prefix.len()..))?
}

/// The longest of the names that the text begins with.
fn named(rest: &str, count: i64, name: impl Fn(i64) -> &'static str) -> Option<(i64, &str)> {
    (0..count)
        .filter_map(|at| strip(rest, name(at)).map(|rest| (at, rest)))
        .min_by_key(|(_, rest)| rest.len())
}

/// `Z`, `+02:00`, `+0200`, `-05`.
fn offset(rest: &str) -> Option<(i32, &str)> {
    if let Some(rest) = rest.strip_prefix(['Z', 'z']) {
        return Some((0, rest));
    }
    let sign = match rest.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |text: &str| {
        let head = text.get(..2)?;
        let value: i32 = head
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| head.parse().ok())??;
        Some(value)
    };
    let after = rest.get(1..)?;
    let hours = two(after)?;
    let after = after.get(2..)?;
    let minutes_text = after.strip_prefix(':').unwrap_or(after);
    let minutes = two(minutes_text)?;
    Some((sign * (hours * 60 + minutes) * 60, minutes_text.get(2..)?))
}

impl Read {
    fn finish(self) -> Option<Moment> {
        let hour = match (self.hour12, self.is_pm) {
            (Some(hour), Some(true)) => hour % 12 + 12,
            (Some(hour), Some(false)) => hour % 12,
            (Some(hour), None) => hour,
            (None, _) => self.hour,
        };
        let time = (hour, self.minute, self.second, self.micro);
        let year = self.year.unwrap_or(1900);
        let wall = match self.yearday {
            Some(day) if self.month.is_none() => wall_of((year, 1, 1), time)? + (day - 1) * DAY,
            _ => wall_of((year, self.month.unwrap_or(1), self.day.unwrap_or(1)), time)?,
        };
        Some(Moment {
            micros: wall - i64::from(self.offset.unwrap_or(0)) * SECOND,
            offset: self.offset,
        })
    }
}
