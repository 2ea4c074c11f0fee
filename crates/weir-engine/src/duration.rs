//! Calendar steps: ISO 8601 (`P1M`, `PT1H`) or plain (`7d`).

use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use weir_protocol::{Error, Result, units};

/// A positive length of time, in calendar units where it is written in them. Days are counted in UTC.
#[derive(Debug, Clone, Copy)]
pub struct Step(Span);

impl FromStr for Step {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let span = if text.starts_with('P') {
            text.parse::<Span>().ok()
        } else {
            let plain = text.parse::<units::Span>().ok();
            let plain = plain.and_then(|span| SignedDuration::try_from(span.get()).ok());
            plain.and_then(|duration| Span::try_from(duration).ok())
        };
        let step = span.filter(|span| span.is_positive()).map(Self);
        step.filter(|step| step.after(Timestamp::UNIX_EPOCH).is_some())
            .ok_or_else(|| {
                Error::spec(format!("'{text}' is not a step of time"))
                    .hint("write an ISO 8601 duration such as P1D, P1M or PT1H, or a plain one such as 7d")
            })
    }
}

impl Step {
    /// None where that is beyond the calendar.
    pub fn after(self, at: Timestamp) -> Option<Timestamp> {
        let moved = at.to_zoned(TimeZone::UTC).checked_add(self.0).ok()?;
        Some(moved.timestamp())
    }

    pub fn before(self, at: Timestamp) -> Option<Timestamp> {
        let moved = at.to_zoned(TimeZone::UTC).checked_sub(self.0).ok()?;
        Some(moved.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_the_calendar() {
        let at: Timestamp = "2024-01-31T00:00:00Z".parse().unwrap();
        let after = |text: &str| text.parse::<Step>().unwrap().after(at).unwrap().to_string();
        assert_eq!(after("P1M"), "2024-02-29T00:00:00Z");
        assert_eq!(after("PT1H"), "2024-01-31T01:00:00Z");
        assert_eq!(after("7d"), "2024-02-07T00:00:00Z");
    }

    #[test]
    fn refuses_steps_that_go_nowhere() {
        for text in ["P0D", "-P1D", "1", "PX", ""] {
            assert!(text.parse::<Step>().is_err(), "{text}");
        }
    }
}
