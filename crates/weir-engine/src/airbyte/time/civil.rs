//! Days and what calendars make of them.

use super::{DAY, Moment, SECOND};

/// A day, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Date {
    pub(crate) days: i64,
}

impl Date {
    pub(crate) fn fields(self) -> Fields {
        Fields::of(self.days * DAY)
    }

    pub(crate) fn isoformat(self) -> String {
        let fields = self.fields();
        format!("{:04}-{:02}-{:02}", fields.year, fields.month, fields.day)
    }

    /// Its midnight, without offset.
    pub(crate) fn midnight(self) -> Moment {
        Moment {
            micros: self.days * DAY,
            offset: None,
        }
    }
}

/// What a wall clock and a calendar show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) micro: i64,
    /// Monday is 0.
    pub(crate) weekday: i64,
    /// From 1.
    pub(crate) yearday: i64,
}

impl Fields {
    pub(super) fn of(wall: i64) -> Self {
        let days = wall.div_euclid(DAY);
        let rest = wall.rem_euclid(DAY);
        let (year, month, day) = civil(days);
        let seconds = rest / SECOND;
        Self {
            year,
            month,
            day,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micro: rest % SECOND,
            weekday: (days + 3).rem_euclid(7),
            yearday: days - days_of(year, 1, 1) + 1,
        }
    }
}

/// Year, month and day of a day count (Howard Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day count of a date that exists.
pub(super) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month_index = (month + 9) % 12;
    let of_year = (153 * month_index + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The wall clock's microseconds at a date and time, or None where there is no such date.
pub(super) fn wall_of(date: (i64, i64, i64), time: (i64, i64, i64, i64)) -> Option<i64> {
    let (year, month, day) = date;
    let (hour, minute, second, micro) = time;
    let is_date =
        (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    let is_time =
        (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second) && micro < SECOND;
    (is_date && is_time)
        .then(|| days_of(year, month, day) * DAY + ((hour * 60 + minute) * 60 + second) * SECOND + micro)
}

/// The same day of a later month, or that month's last day.
pub(super) fn add_months(wall: i64, months: i64) -> Option<i64> {
    let fields = Fields::of(wall);
    let count = fields
        .year
        .checked_mul(12)?
        .checked_add(fields.month - 1)?
        .checked_add(months)?;
    let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
    if !(1..=9999).contains(&year) {
        return None;
    }
    let day = fields.day.min(days_in(year, month));
    Some(days_of(year, month, day) * DAY + wall.rem_euclid(DAY))
}
