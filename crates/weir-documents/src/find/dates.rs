//! Dates: ISO, in figures, with names of months, in words; Gregorian and Hijri.

use jiff::civil::Date as Civil;
use regex::Captures;

use super::pattern::{group, pattern, text, whole};
use super::{Passage, months, words};
use crate::document::{Calendar, Date, Language, Place};

/// Years that are Gregorian, and those that are Hijri.
const GREGORIAN: std::ops::RangeInclusive<i16> = 1800..=2200;
const HIJRI: std::ops::RangeInclusive<i16> = 1300..=1500;
/// How far the tabular calendar may be off what was seen, and still be the same day; days.
const SEEN_DAYS: i32 = 2;

/// Characters between two such dates.
const BESIDE_CHARS: u32 = 25;

/// What says which calendar it is, after a date.
const ERA: &str = r"(?:\s?(هـ|ه|م|AH|A\.H\.|H|CE|AD|G)(?:$|[^\p{L}])|$|[^\d-])";

pattern!(
    YEAR_FIRST,
    format!(r"(?:^|[^\d./-])(\d{{4}})\s?([-/.])\s?(\d{{1,2}})\s?[-/.]\s?(\d{{1,2}}){ERA}")
);
pattern!(
    YEAR_LAST,
    format!(r"(?:^|[^\d./-])((\d{{1,2}})\s?([-/.])\s?(\d{{1,2}})\s?[-/.]\s?(\d{{4}})){ERA}")
);
pattern!(
    SHORT_YEAR,
    r"(?:^|[^\d./-])((\d{1,2})/(\d{1,2})/(\d{2}))(?:$|[^\d/])"
);
pattern!(
    DAY_FIRST,
    format!(
        r"(?i)\b(\d{{1,2}})(?:\s?(?:st|nd|rd|th))?(?:\s+day)?(?:\s+of)?(?:\s+من)?(?:\s+شهر)?[\s,.-]+({m})\.?(?:\s*[/(-]\s*{m}\s*\)?)?[\s,-]+(?:of\s+)?(?:(?:من\s+)?(?:لل|ل|ال)?(?:عام|سنه)\s+)?(\d{{4}}){ERA}",
        m = months::any()
    )
);
pattern!(
    MONTH_FIRST,
    format!(
        r"(?i)\b({m})\.?\s+(\d{{1,2}})(?:\s?(?:st|nd|rd|th))?\s*,?\s+(\d{{4}}){ERA}",
        m = months::any()
    )
);
pattern!(
    IN_WORDS,
    format!(
        r"(?i)\b({day})(?:\s+day)?\s+(?:of|من)\s+(?:شهر\s+)?({m})(?:\s*[/(-]\s*{m}\s*\)?)?[\s,]+(?:of\s+|in the year\s+)?(?:(?:من\s+)?(?:لل|ل|ال)?(?:عام|سنه)\s+)?(\d{{4}}|{en}|{ar}){ERA}",
        day = months::ordinal(),
        m = months::any(),
        en = words::english_number(),
        ar = words::arabic_number()
    )
);
pattern!(
    BRITISH,
    r"(?i)\b(?:england|wales|scotland|united kingdom|ireland|india|australia|new zealand|saudi|emirates|dubai|egypt|kuwait|qatar|jordan|lebanon|oman|bahrain)\b"
);

/// What was read of a date before the document as a whole was asked.
struct Candidate {
    passage: usize,
    start: usize,
    end: usize,
    calendar: Calendar,
    year: i16,
    month: u8,
    day: u8,
    /// Day and month could be the other way round.
    is_ambiguous: bool,
    /// Written so that the day comes first, where it is known.
    is_day_first: Option<bool>,
    sure: f64,
}

pub(super) fn find(passages: &[Passage], language: Language) -> Vec<Date> {
    let mut found: Vec<Candidate> = Vec::new();
    for (index, passage) in passages.iter().enumerate() {
        let mut here = candidates(passage, index);
        here.sort_by_key(|one| (one.start, std::cmp::Reverse(one.end)));
        let mut end = 0;
        here.retain(|one| {
            let is_free = one.start >= end;
            if is_free {
                end = one.end;
            }
            is_free
        });
        found.append(&mut here);
    }
    let is_day_first = order(&found, passages, language);
    let mut dates: Vec<Date> = found
        .into_iter()
        .filter_map(|one| date(one, passages, is_day_first))
        .collect();
    pair(&mut dates);
    dates
}

/// Whether the day comes first in this document, and how sure that is.
fn order(found: &[Candidate], passages: &[Passage], language: Language) -> (bool, f64) {
    let count = |wanted: bool| {
        found
            .iter()
            .filter(|one| one.is_day_first == Some(wanted))
            .count()
    };
    let (day, month) = (count(true), count(false));
    if day != month {
        return (day > month, 0.9);
    }
    if !matches!(language, Language::En) {
        return (true, 0.6);
    }
    (passages.iter().any(|passage| BRITISH.is_in(passage.text())), 0.6)
}

fn candidates(passage: &Passage, index: usize) -> Vec<Candidate> {
    let text = passage.text();
    let mut found = Vec::new();
    found.extend(
        YEAR_FIRST
            .all(text)
            .iter()
            .filter_map(|caught| year_first(caught, index)),
    );
    found.extend(
        YEAR_LAST
            .all(text)
            .iter()
            .filter_map(|caught| year_last(caught, index)),
    );
    found.extend(
        SHORT_YEAR
            .all(text)
            .iter()
            .filter_map(|caught| short_year(caught, index)),
    );
    let of_month = |caught: &Captures<'_>, groups: [usize; 3]| {
        let [day, month, year] = groups.map(|group| self::text(caught, group));
        let day = day.parse().ok().or_else(|| months::day(day))?;
        let year = year_of(year)?;
        let (month, calendar) = months::number(month)?;
        let (start, end) = trimmed(caught);
        Some(Candidate {
            is_ambiguous: false,
            is_day_first: None,
            ..candidate(index, (start, end), calendar, (year, month, day), 0.98)?
        })
    };
    found.extend(
        DAY_FIRST
            .all(text)
            .iter()
            .filter_map(|caught| of_month(caught, [1, 2, 3])),
    );
    found.extend(
        MONTH_FIRST
            .all(text)
            .iter()
            .filter_map(|caught| of_month(caught, [2, 1, 3])),
    );
    found.extend(
        IN_WORDS
            .all(text)
            .iter()
            .filter_map(|caught| of_month(caught, [1, 2, 3])),
    );
    found
}

/// From the first group to the end, without what only shows where it ends.
fn trimmed(caught: &Captures<'_>) -> (usize, usize) {
    let (_, end) = whole(caught);
    let start = group(caught, 1).map_or(0, |(start, ..)| start);
    let last = (1..caught.len())
        .filter_map(|index| group(caught, index))
        .map(|(_, end, _)| end)
        .max();
    (start, last.unwrap_or(end))
}

fn year_of(text: &str) -> Option<i16> {
    let number = text
        .parse::<u64>()
        .ok()
        .or_else(|| words::english(text))
        .or_else(|| words::arabic(text))?;
    i16::try_from(number).ok()
}

fn candidate(
    passage: usize,
    (start, end): (usize, usize),
    calendar: Calendar,
    (year, month, day): (i16, u8, u8),
    sure: f64,
) -> Option<Candidate> {
    let years = match calendar {
        Calendar::Gregorian => GREGORIAN,
        Calendar::Hijri => HIJRI,
    };
    (years.contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)).then_some(Candidate {
        passage,
        start,
        end,
        calendar,
        year,
        month,
        day,
        is_ambiguous: false,
        is_day_first: None,
        sure,
    })
}

fn calendar_of(year: i16, era: &str) -> (Calendar, f64) {
    match era {
        "ه" | "هـ" | "AH" | "A.H." | "H" => (Calendar::Hijri, 0.98),
        _ if HIJRI.contains(&year) => (Calendar::Hijri, 0.8),
        _ => (Calendar::Gregorian, 0.97),
    }
}

fn year_first(caught: &Captures<'_>, index: usize) -> Option<Candidate> {
    let year = text(caught, 1).parse().ok()?;
    let (calendar, sure) = calendar_of(year, text(caught, 5));
    let (month, day) = (text(caught, 3).parse().ok()?, text(caught, 4).parse().ok()?);
    candidate(index, trimmed(caught), calendar, (year, month, day), sure)
}

fn year_last(caught: &Captures<'_>, index: usize) -> Option<Candidate> {
    let year = text(caught, 5).parse().ok()?;
    let (calendar, sure) = calendar_of(year, text(caught, 6));
    let (first, second): (u8, u8) = (text(caught, 2).parse().ok()?, text(caught, 4).parse().ok()?);
    // Hijri dates and those with points have the day first.
    let is_settled = calendar == Calendar::Hijri || text(caught, 3) == ".";
    figures(
        index,
        trimmed(caught),
        calendar,
        (year, first, second),
        is_settled,
        sure,
    )
}

fn short_year(caught: &Captures<'_>, index: usize) -> Option<Candidate> {
    let year = 2000 + text(caught, 4).parse::<i16>().ok()?;
    let (first, second): (u8, u8) = (text(caught, 2).parse().ok()?, text(caught, 3).parse().ok()?);
    let place = trimmed(caught);
    figures(
        index,
        place,
        Calendar::Gregorian,
        (year, first, second),
        false,
        0.6,
    )
}

fn figures(
    index: usize,
    place: (usize, usize),
    calendar: Calendar,
    (year, first, second): (i16, u8, u8),
    is_settled: bool,
    sure: f64,
) -> Option<Candidate> {
    let (month, day, is_day_first) = match (first > 12, second > 12) {
        (true, _) => (second, first, Some(true)),
        (_, true) => (first, second, Some(false)),
        _ => (second, first, None),
    };
    Some(Candidate {
        is_ambiguous: is_day_first.is_none() && first != second && !is_settled,
        is_day_first: is_day_first.filter(|_| !is_settled),
        ..candidate(index, place, calendar, (year, month, day), sure)?
    })
}

fn date(one: Candidate, passages: &[Passage], (is_day_first, order_sure): (bool, f64)) -> Option<Date> {
    let passage = passages.get(one.passage)?;
    let (place, text) = passage.place(one.start, one.end);
    let written = |month: u8, day: u8| format!("{:04}-{month:02}-{day:02}", one.year);
    if one.calendar == Calendar::Hijri {
        return (one.day <= 30).then(|| Date {
            confidence: passage.confidence_in_figures(&text, one.sure),
            text,
            calendar: Calendar::Hijri,
            value: None,
            hijri: Some(written(one.month, one.day)),
            about: gregorian(one.year, one.month, one.day).map(|date| date.to_string()),
            or: None,
            place,
        });
    }
    let exists = |month: u8, day: u8| {
        Civil::new(one.year, i8::try_from(month).ok()?, i8::try_from(day).ok()?)
            .ok()
            .map(|date| date.to_string())
    };
    let (value, or, sure) = if !one.is_ambiguous {
        (exists(one.month, one.day)?, None, one.sure)
    } else if is_day_first {
        (
            exists(one.month, one.day)?,
            exists(one.day, one.month),
            one.sure.min(order_sure),
        )
    } else {
        (
            exists(one.day, one.month)?,
            exists(one.month, one.day),
            one.sure.min(order_sure),
        )
    };
    Some(Date {
        confidence: passage.confidence_in_figures(&text, sure),
        text,
        calendar: Calendar::Gregorian,
        value: Some(value),
        hijri: None,
        about: None,
        or,
        place,
    })
}

/// The Gregorian day of a Hijri one by the tabular calendar.
fn gregorian(year: i16, month: u8, day: u8) -> Option<Civil> {
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let day_number = (11 * year + 3) / 30 + 354 * year + 30 * month - (month - 1) / 2 + day + 1_948_439 - 385;
    let epoch = Civil::new(1970, 1, 1).ok()?;
    epoch
        .checked_add(jiff::Span::new().try_days(day_number - 2_440_588).ok()?)
        .ok()
}

/// A Gregorian date beside a Hijri one, as contracts have them, says for certain which day it is.
fn pair(dates: &mut [Date]) {
    for index in 0..dates.len() {
        let Some((place, about)) = dates
            .get(index)
            .filter(|date| date.calendar == Calendar::Hijri)
            .and_then(|date| Some((date.place, date.about.clone()?)))
        else {
            continue;
        };
        let neighbours = [index.checked_sub(1), Some(index + 1)];
        let same = neighbours
            .into_iter()
            .flatten()
            .filter_map(|other| dates.get(other))
            .filter(|other| is_beside(place, other.place))
            .find_map(|other| {
                let near = |value: &String| is_near(&about, value).then(|| value.clone());
                other
                    .value
                    .as_ref()
                    .and_then(near)
                    .or_else(|| other.or.as_ref().and_then(near))
            });
        if let (Some(value), Some(date)) = (same, dates.get_mut(index)) {
            date.value = Some(value);
            date.about = None;
        }
    }
}

/// Whether two dates stand side by side, as one day in two calendars does.
fn is_beside(one: Place, other: Place) -> bool {
    let apart = other
        .start
        .saturating_sub(one.end)
        .max(one.start.saturating_sub(other.end));
    one.element == other.element && apart <= BESIDE_CHARS
}

fn is_near(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (one.parse::<Civil>(), other.parse::<Civil>()) else {
        return false;
    };
    one.since(other)
        .is_ok_and(|span| span.get_days().abs() <= SEEN_DAYS)
}
