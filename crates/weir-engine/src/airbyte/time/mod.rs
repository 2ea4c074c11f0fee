//! Dates as the manifests' reference counts them: proleptic years 1 to 9999, microseconds, and a
//! date-time that either knows its offset from UTC or has none.

mod civil;
mod duration;
mod iso;
mod strftime;
mod strptime;
#[cfg(test)]
mod tests;

pub(crate) use civil::{Date, Fields};
pub(crate) use duration::{Delta, parse_duration};
pub(crate) use iso::isoparse;

use jiff::Timestamp;

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const DAY: i64 = 86_400 * SECOND;
const YEAR_MAX: i64 = 9999;

/// A date-time. Two of them are compared by instant; one without offset is taken as UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Microseconds since 1970: of the instant where an offset is known, else of the wall clock.
    pub(crate) micros: i64,
    /// Seconds east of UTC.
    pub(crate) offset: Option<i32>,
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.micros == other.micros
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.micros.cmp(&other.micros)
    }
}

impl Moment {
    pub(crate) fn utc(micros: i64) -> Self {
        Self {
            micros,
            offset: Some(0),
        }
    }

    pub(crate) fn of(at: Timestamp) -> Self {
        Self::utc(at.as_microsecond())
    }

    /// What its wall clock shows.
    pub(crate) fn fields(self) -> Fields {
        Fields::of(self.wall())
    }

    pub(crate) fn wall(self) -> i64 {
        self.micros + i64::from(self.offset.unwrap_or(0)) * SECOND
    }

    pub(crate) fn date(self) -> Date {
        Date {
            days: self.wall().div_euclid(DAY),
        }
    }

    /// The same wall clock without knowing where; or UTC where nothing is known.
    pub(crate) fn or_utc(self) -> Self {
        Self {
            offset: Some(self.offset.unwrap_or(0)),
            ..self
        }
    }

    /// None beyond the years 1 to 9999.
    pub(crate) fn plus(self, delta: Delta) -> Option<Self> {
        let mut at = self;
        if delta.months != 0 {
            at.micros += civil::add_months(self.wall(), delta.months)? - self.wall();
        }
        at.micros = at.micros.checked_add(delta.micros)?;
        at.in_range()
    }

    pub(crate) fn minus(self, delta: Delta) -> Option<Self> {
        self.plus(delta.negated())
    }

    fn in_range(self) -> Option<Self> {
        let year = self.fields().year;
        (1..=YEAR_MAX).contains(&year).then_some(self)
    }

    /// Year, month, day, hour, minute, second, microsecond; the offset stays.
    pub(crate) fn with_parts(self, parts: &[i64]) -> Option<Self> {
        let [year, month, day, hour, minute, second, micro] = parts.try_into().ok()?;
        let wall = civil::wall_of((year, month, day), (hour, minute, second, micro))?;
        Some(Self {
            micros: wall - i64::from(self.offset.unwrap_or(0)) * SECOND,
            ..self
        })
    }

    /// Midnight of its day, where it is.
    pub(crate) fn midnight(self) -> Self {
        Self {
            micros: self.micros - self.wall().rem_euclid(DAY),
            ..self
        }
    }

    /// By one of the manifest's formats. Text that names no offset is UTC.
    pub(crate) fn parse(text: &str, format: &str) -> Option<Self> {
        let number = text.trim();
        match format {
            "%s" => Self::from_number(number.parse::<i64>().ok()?, SECOND),
            "%s_as_float" => {
                let seconds: f64 = number.parse().ok()?;
                let micros = (seconds * 1e6).round();
                #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
                (micros.abs() < 3e17)
                    .then(|| Self::utc(micros as i64))?
                    .in_range()
            }
            "%epoch_microseconds" => Self::from_number(number.parse().ok()?, 1),
            "%ms" => Self::from_number(number.parse().ok()?, 1000),
            _ => strptime::parse(text, &format.replace("%_ms", "%f")).map(Self::or_utc),
        }
    }

    /// As Python's `strptime`: without the formats that only manifests know.
    pub(crate) fn strptime(text: &str, format: &str) -> Option<Self> {
        strptime::parse(text, format)
    }

    fn from_number(number: i64, unit: i64) -> Option<Self> {
        Self::utc(number.checked_mul(unit)?).in_range()
    }

    /// By one of the manifest's formats.
    pub(crate) fn format(self, format: &str) -> String {
        match format {
            "%s" => self.micros.div_euclid(SECOND).to_string(),
            "%s_as_float" => super::template::float_text(self.seconds()),
            "%epoch_microseconds" => self.micros.to_string(),
            "%ms" => self.micros.div_euclid(1000).to_string(),
            _ if format.contains("%_ms") => {
                let micros = format!("{:06}", self.fields().micro);
                let millis = format!("{:03}", self.fields().micro / 1000);
                self.strftime(&format.replace("%_ms", "%f"))
                    .replace(&micros, &millis)
            }
            _ => self.strftime(format),
        }
    }

    pub(crate) fn strftime(self, format: &str) -> String {
        strftime::format(self, format)
    }

    #[expect(clippy::cast_precision_loss, reason = "as the reference's own timestamps")]
    pub(crate) fn seconds(self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// `2025-06-15T12:00:00+00:00`, with microseconds only where there are some.
    pub(crate) fn isoformat(self, between: char) -> String {
        let fields = self.fields();
        let micro = if fields.micro == 0 {
            String::new()
        } else {
            format!(".{:06}", fields.micro)
        };
        let offset = self
            .offset
            .map_or_else(String::new, |offset| strftime::offset_text(offset, ":"));
        format!(
            "{}{between}{:02}:{:02}:{:02}{micro}{offset}",
            self.date().isoformat(),
            fields.hour,
            fields.minute,
            fields.second
        )
    }
}
