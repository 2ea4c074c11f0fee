//! ISO 8601 durations: `P1M`, `P30D`, `PT1H`.

use super::{DAY, SECOND};

/// A span of time. Months have no fixed length, so they are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Delta {
    pub(crate) months: i64,
    pub(crate) micros: i64,
}

impl Delta {
    pub(crate) fn micros(micros: i64) -> Self {
        Self { months: 0, micros }
    }

    pub(crate) fn negated(self) -> Self {
        Self {
            months: -self.months,
            micros: -self.micros,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            months: self.months.checked_add(other.months)?,
            micros: self.micros.checked_add(other.micros)?,
        })
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// As Python writes a `timedelta`: `30 days, 0:00:00`.
    pub(crate) fn text(self) -> String {
        let days = self.micros.div_euclid(DAY);
        let rest = self.micros.rem_euclid(DAY);
        let seconds = rest / SECOND;
        let mut text = match days {
            0 => String::new(),
            1 | -1 => format!("{days} day, "),
            days => format!("{days} days, "),
        };
        text.push_str(&format!(
            "{}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ));
        if rest % SECOND != 0 {
            text.push_str(&format!(".{:06}", rest % SECOND));
        }
        match (self.months / 12, self.months % 12) {
            (0, 0) => text,
            (0, months) => format!("{months} months, {text}"),
            (years, 0) => format!("{years} years, {text}"),
            (years, months) => format!("{years} years, {months} months, {text}"),
        }
    }
}

/// None where the text is no duration.
pub(crate) fn parse_duration(text: &str) -> Option<Delta> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let mut rest = rest.strip_prefix('P')?;
    let mut delta = Delta::default();
    let mut in_time = false;
    let mut found = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            if in_time {
                return None;
            }
            in_time = true;
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))?;
        let number: f64 = rest.get(..end)?.replace(',', ".").parse().ok()?;
        let unit = rest.get(end..)?.chars().next()?;
        rest = rest.get(end + unit.len_utf8()..)?;
        found = true;
        add(&mut delta, number, unit, in_time)?;
    }
    found.then(|| if negative { delta.negated() } else { delta })
}

fn add(delta: &mut Delta, number: f64, unit: char, in_time: bool) -> Option<()> {
    let seconds = match (unit, in_time) {
        ('Y', false) => {
            delta.months = delta.months.checked_add(whole(number * 12.0)?)?;
            return Some(());
        }
        ('M', false) => {
            delta.months = delta.months.checked_add(whole(number)?)?;
            return Some(());
        }
        ('W', false) => number * 604_800.0,
        ('D', false) => number * 86_400.0,
        ('H', true) => number * 3600.0,
        ('M', true) => number * 60.0,
        ('S', true) => number,
        _ => return None,
    };
    delta.micros = delta.micros.checked_add(whole((seconds * 1e6).round())?)?;
    Some(())
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
fn whole(number: f64) -> Option<i64> {
    (number.abs() < 9e18).then_some(number as i64)
}
