//! ISO 8601 date-times as the reference's templates read them.

use super::civil::{days_of, wall_of};
use super::{DAY, Moment, SECOND};

/// `2025-06`, `20250615`, `2025-06-15T12:00:00.123Z`, `2025-06-15 12:00+02:00`; None otherwise.
pub(crate) fn isoparse(text: &str) -> Option<Moment> {
    let mut reader = Reader { rest: text };
    let year = reader.digits(4)?;
    let dashed = reader.eat('-');
    let (mut month, mut day) = (1, 1);
    let mut week = None;
    if reader.eat('W') {
        let number = reader.digits(2)?;
        let weekday = if dashed && reader.eat('-') || !dashed && reader.is_digit() {
            reader.digits(1)?
        } else {
            1
        };
        week = Some((number, weekday));
    } else if reader.is_digit() {
        month = reader.digits(2)?;
        if dashed && reader.eat('-') || !dashed && reader.is_digit() {
            day = reader.digits(2)?;
        }
    }
    let date = match week {
        Some((number, weekday)) => {
            let fourth = days_of(year, 1, 4);
            let monday = fourth - (fourth + 3).rem_euclid(7);
            (monday + (number - 1) * 7 + weekday - 1) * DAY
        }
        None => wall_of((year, month, day), (0, 0, 0, 0))?,
    };
    if reader.rest.is_empty() {
        return Some(Moment {
            micros: date,
            offset: None,
        });
    }
    reader.any()?;
    let (time, offset) = reader.time()?;
    reader.rest.is_empty().then_some(Moment {
        micros: date + time - i64::from(offset.unwrap_or(0)) * SECOND,
        offset,
    })
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn eat(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn any(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let found = chars.next();
        self.rest = chars.as_str();
        found
    }

    fn is_digit(&self) -> bool {
        self.rest.starts_with(|c: char| c.is_ascii_digit())
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let head = self.rest.get(..count)?;
        if !head.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.rest = self.rest.get(count..)?;
        head.parse().ok()
    }

    /// Microseconds of the day, and the offset in seconds.
    fn time(&mut self) -> Option<(i64, Option<i32>)> {
        let hour = self.digits(2)?;
        let (mut minute, mut second, mut micro) = (0, 0, 0);
        let coloned = self.eat(':');
        if self.is_digit() {
            minute = self.digits(2)?;
            if coloned && self.eat(':') || !coloned && self.is_digit() {
                second = self.digits(2)?;
                if self.eat('.') || self.eat(',') {
                    micro = self.fraction()?;
                }
            }
        }
        let offset = self.offset()?;
        let day_end = hour == 24 && minute == 0 && second == 0 && micro == 0;
        let hour_is_good = hour < 24 || day_end;
        (hour_is_good && minute < 60 && second < 60)
            .then_some((((hour * 60 + minute) * 60 + second) * SECOND + micro, offset))
    }

    fn fraction(&mut self) -> Option<i64> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.rest.len());
        let digits = self.rest.get(..end).filter(|digits| !digits.is_empty())?;
        let padded: String = digits.chars().chain("000000".chars()).take(6).collect();
        self.rest = self.rest.get(end..)?;
        padded.parse().ok()
    }

    fn offset(&mut self) -> Option<Option<i32>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        if self.eat('Z') || self.eat('z') {
            return Some(Some(0));
        }
        let sign = if self.eat('-') {
            -1
        } else if self.eat('+') {
            1
        } else {
            return None;
        };
        let hours = self.digits(2)?;
        let minutes = if self.eat(':') || self.is_digit() {
            self.digits(2)?
        } else {
            0
        };
        i32::try_from(sign * (hours * 60 + minutes) * 60).ok().map(Some)
    }
}
