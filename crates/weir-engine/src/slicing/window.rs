//! Windows of time: from a start, step by step, to an end.

use jiff::Timestamp;
use weir_protocol::units::Span;
use weir_protocol::{Result, spec};

use crate::duration::Step;

#[derive(Debug, Clone, Copy)]
pub struct Windows {
    step: Step,
    granularity: Option<Span>,
}

impl Windows {
    pub fn new(step: &spec::Step, granularity: Option<Span>) -> Result<Self> {
        Ok(Self {
            step: step.parse()?,
            granularity,
        })
    }

    /// Start and end of each window. With a granularity all but the last end one unit before the
    /// next begins.
    pub fn between(self, start: Timestamp, end: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let mut next = (start <= end).then_some(start);
        let mut is_first = true;
        std::iter::from_fn(move || {
            let from = next.take()?;
            if !is_first && from >= end {
                return None;
            }
            is_first = false;
            let after = self.step.after(from).filter(|after| *after < end);
            next = after;
            let until = match (after, self.granularity) {
                (Some(after), Some(unit)) => after.checked_sub(unit.get()).unwrap_or(after).max(from),
                (Some(after), None) => after,
                (None, _) => end,
            };
            Some((from, until))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn windows(step: &str, granularity: Option<&str>, start: &str, end: &str) -> Vec<String> {
        let granularity = granularity.map(|text| text.parse().unwrap());
        Windows::new(&step.to_owned(), granularity)
            .unwrap()
            .between(at(start), at(end))
            .map(|(from, until)| format!("{from} {until}"))
            .collect()
    }

    #[test]
    fn windows_meet_at_their_edges() {
        assert_eq!(
            windows("P1M", None, "2024-01-15T00:00:00Z", "2024-03-20T00:00:00Z"),
            [
                "2024-01-15T00:00:00Z 2024-02-15T00:00:00Z",
                "2024-02-15T00:00:00Z 2024-03-15T00:00:00Z",
                "2024-03-15T00:00:00Z 2024-03-20T00:00:00Z",
            ]
        );
        assert_eq!(
            windows("1d", Some("1s"), "2024-01-01T00:00:00Z", "2024-01-02T12:00:00Z"),
            [
                "2024-01-01T00:00:00Z 2024-01-01T23:59:59Z",
                "2024-01-02T00:00:00Z 2024-01-02T12:00:00Z",
            ]
        );
    }

    #[test]
    fn nothing_lies_before_the_start() {
        assert_eq!(
            windows("1d", None, "2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z").len(),
            0
        );
        assert_eq!(
            windows("1d", None, "2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z").len(),
            1
        );
    }

    proptest! {
        #[test]
        fn windows_leave_no_gap(start in 0_i64..2_000_000_000, length in 0_i64..5_000_000, step in 3_600_u64..1_000_000) {
            let (start, end) = (Timestamp::from_second(start).unwrap(), Timestamp::from_second(start + length).unwrap());
            let windows = Windows { step: format!("{step}s").parse().unwrap(), granularity: None };
            let all: Vec<_> = windows.between(start, end).collect();
            prop_assert_eq!(all[0].0, start);
            prop_assert_eq!(all[all.len() - 1].1, end);
            prop_assert!(all.windows(2).all(|pair| pair[0].1 == pair[1].0));
        }
    }
}
