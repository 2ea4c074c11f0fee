//! Windows that begin and end with a day, week or month.

use super::super::time::{DAY, Delta, Moment};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clamp {
    None,
    Day,
    /// Monday is 0.
    Week(i64),
    Month,
}

impl Clamp {
    /// Up to the next border, or down to the last one.
    pub(super) fn apply(self, at: Moment, up: bool) -> Moment {
        let midnight = at.midnight();
        let fields = at.fields();
        let days = |count: i64| Delta::micros(count * DAY);
        let moved = |delta: Delta| midnight.plus(delta).unwrap_or(midnight);
        match self {
            Self::None => at,
            Self::Day if up && midnight != at => moved(days(1)),
            Self::Day => midnight,
            Self::Month if fields.day == 1 => midnight,
            Self::Month => {
                let first = moved(days(1 - fields.day));
                let next = Delta { months: 1, micros: 0 };
                if up {
                    first.plus(next).unwrap_or(first)
                } else {
                    first
                }
            }
            Self::Week(weekday) => {
                let ahead = (weekday - fields.weekday).rem_euclid(7);
                let delta = if up || ahead == 0 { ahead } else { ahead - 7 };
                moved(days(delta))
            }
        }
    }
}
