//! Writing date-times by format.

use super::civil::Fields;
use super::{Moment, SECOND};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

pub(super) fn month_name(index: i64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|at| MONTHS.get(at))
        .copied()
        .unwrap_or_default()
}

pub(super) fn day_name(index: i64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|at| DAYS.get(at))
        .copied()
        .unwrap_or_default()
}

pub(super) fn short(name: &'static str) -> &'static str {
    name.get(..3).unwrap_or(name)
}

pub(super) fn offset_text(offset: i32, colon: &str) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let seconds = offset.unsigned_abs();
    let mut text = format!("{sign}{:02}{colon}{:02}", seconds / 3600, seconds / 60 % 60);
    if !seconds.is_multiple_of(60) {
        text.push_str(&format!("{colon}{:02}", seconds % 60));
    }
    text
}

pub(super) fn format(at: Moment, format: &str) -> String {
    let fields = at.fields();
    let mut out = String::with_capacity(format.len() + 16);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flag = None;
        let mut directive = chars.next();
        while let Some(found @ ('-' | '_' | '0' | '^' | '#' | ':')) = directive {
            flag = Some(found);
            directive = chars.next();
        }
        match directive {
            Some(directive) => write(&mut out, at, &fields, flag, directive),
            None => out.push('%'),
        }
    }
    out
}

fn write(out: &mut String, at: Moment, fields: &Fields, flag: Option<char>, directive: char) {
    let mut number = |value: i64, width: usize, fill: char| {
        out.push_str(&match flag {
            Some('-') => value.to_string(),
            Some('_') => format!("{value:>width$}"),
            Some('0') => format!("{value:0width$}"),
            _ if fill == ' ' => format!("{value:>width$}"),
            _ => format!("{value:0width$}"),
        });
    };
    let hour12 = if fields.hour % 12 == 0 {
        12
    } else {
        fields.hour % 12
    };
    match directive {
        'd' => number(fields.day, 2, '0'),
        'e' => number(fields.day, 2, ' '),
        'm' => number(fields.month, 2, '0'),
        'Y' => number(fields.year, 4, '0'),
        'y' => number(fields.year.rem_euclid(100), 2, '0'),
        'C' => number(fields.year / 100, 2, '0'),
        'H' => number(fields.hour, 2, '0'),
        'k' => number(fields.hour, 2, ' '),
        'I' => number(hour12, 2, '0'),
        'l' => number(hour12, 2, ' '),
        'M' => number(fields.minute, 2, '0'),
        'S' => number(fields.second, 2, '0'),
        'f' => number(fields.micro, 6, '0'),
        'j' => number(fields.yearday, 3, '0'),
        'u' => number(fields.weekday + 1, 1, '0'),
        'w' => number((fields.weekday + 1) % 7, 1, '0'),
        'U' => number((fields.yearday + 6 - (fields.weekday + 1) % 7) / 7, 2, '0'),
        'W' => number((fields.yearday + 6 - fields.weekday) / 7, 2, '0'),
        'V' => number(iso_week(fields).1, 2, '0'),
        'G' => number(iso_week(fields).0, 4, '0'),
        'g' => number(iso_week(fields).0.rem_euclid(100), 2, '0'),
        's' => number(at.wall().div_euclid(SECOND), 1, '0'),
        _ => words(out, at, fields, flag, directive),
    }
}

fn words(out: &mut String, at: Moment, fields: &Fields, flag: Option<char>, directive: char) {
    let half = if fields.hour < 12 { "AM" } else { "PM" };
    let nested = |format: &str| at.strftime(format);
    let text = match directive {
        'a' => short(day_name(fields.weekday)).to_owned(),
        'A' => day_name(fields.weekday).to_owned(),
        'b' | 'h' => short(month_name(fields.month - 1)).to_owned(),
        'B' => month_name(fields.month - 1).to_owned(),
        'p' => half.to_owned(),
        'P' => half.to_lowercase(),
        'z' => {
            let colon = if flag == Some(':') { ":" } else { "" };
            at.offset
                .map_or_else(String::new, |offset| offset_text(offset, colon))
        }
        'Z' => match at.offset {
            None => String::new(),
            Some(0) => "UTC".to_owned(),
            Some(offset) => format!("UTC{}", offset_text(offset, ":")),
        },
        'c' => nested("%a %b %e %H:%M:%S %Y"),
        'D' | 'x' => nested("%m/%d/%y"),
        'F' => nested("%Y-%m-%d"),
        'R' => nested("%H:%M"),
        'r' => nested("%I:%M:%S %p"),
        'T' | 'X' => nested("%H:%M:%S"),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        '%' => "%".to_owned(),
        other => format!("%{other}"),
    };
    match flag {
        Some('^') => out.push_str(&text.to_uppercase()),
        _ => out.push_str(&text),
    }
}

/// The year and number of the week that ISO 8601 counts a day to.
fn iso_week(fields: &Fields) -> (i64, i64) {
    let week = (fields.yearday - 1 - fields.weekday + 10) / 7;
    let weeks_in = |year: i64| {
        let first = (super::civil::days_of(year, 1, 1) + 3).rem_euclid(7);
        let leap = super::civil::days_of(year + 1, 1, 1) - super::civil::days_of(year, 1, 1) == 366;
        if first == 3 || (first == 2 && leap) {
            53
        } else {
            52
        }
    };
    match week {
        0 => (fields.year - 1, weeks_in(fields.year - 1)),
        53 if weeks_in(fields.year) == 52 => (fields.year + 1, 1),
        week => (fields.year, week),
    }
}
