//! When runs are due: decisions that need no I/O and no clock of their own.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use weir_protocol::schedule::{Backoff, CatchUp, ScheduleSpec, Tier};
use weir_protocol::units::Span;
use weir_protocol::{Error, Result};

const BACKOFF_BASE: Duration = Duration::from_secs(60);
/// However long the wait has grown, a vendor's outage is not waited out for longer than this.
const BACKOFF_MAX: Duration = Duration::from_secs(6 * 3600);
const JITTER_MAX: Duration = Duration::from_secs(5 * 60);
const ATTEMPTS_MAX: u32 = 20;
/// Of runs that were missed, so many are made up for.
const CATCH_UP_MAX: usize = 100;

/// A schedule of which every value is known and right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    pub tier: Tier,
    pub cron: String,
    pub time_zone: String,
    pub latency_ms: i64,
    pub attempts: u32,
    pub backoff: Backoff,
    pub backoff_base_ms: i64,
    pub jitter_ms: i64,
    pub catch_up: CatchUp,
}

impl Timing {
    /// Fills in what the tier says, and refuses what cannot be.
    pub fn of(spec: &ScheduleSpec) -> Result<Self> {
        Self::judged(spec).map_err(|(_, error)| error)
    }

    /// What is wrong with a schedule, and the field that it stands in.
    pub fn fault(spec: &ScheduleSpec) -> Option<(&'static str, Error)> {
        Self::judged(spec).err()
    }

    fn judged(spec: &ScheduleSpec) -> std::result::Result<Self, (&'static str, Error)> {
        let tier = spec.tier;
        let latency = spec.latency.map_or(tier.latency(), Span::get);
        let timing = Self {
            tier,
            cron: spec.cron.clone().unwrap_or_else(|| tier.cron().to_owned()),
            time_zone: spec.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
            latency_ms: millis(latency),
            attempts: spec.attempts.unwrap_or(tier.attempts()),
            backoff: spec.backoff.unwrap_or(tier.backoff()),
            backoff_base_ms: millis(spec.backoff_base.map_or(BACKOFF_BASE, Span::get)),
            jitter_ms: millis(spec.jitter.map_or((latency / 10).min(JITTER_MAX), Span::get)),
            catch_up: spec.catch_up,
        };
        if !(1..=ATTEMPTS_MAX).contains(&timing.attempts) {
            let error = Error::spec(format!("{} attempts are not possible", timing.attempts))
                .hint(format!("write attempts: 1 to {ATTEMPTS_MAX}"));
            return Err(("attempts", error));
        }
        if timing.latency_ms == 0 {
            let error = Error::spec("no run ends at the moment it is due")
                .with("latency", latency.as_secs())
                .hint("write a latency such as 15m");
            return Err(("latency", error));
        }
        if timing.jitter_ms >= timing.latency_ms {
            let error = Error::spec("runs may begin later than they are to be done")
                .with("jitter_ms", timing.jitter_ms)
                .with("latency_ms", timing.latency_ms)
                .hint("write a jitter below the latency");
            return Err(("jitter", error));
        }
        timing.zone().map_err(|error| ("time_zone", error))?;
        timing.next_after(0).map_err(|error| ("cron", error))?;
        Ok(timing)
    }

    fn cron(&self) -> Result<Cron> {
        // Seconds would ask too often, and a year lets a schedule end: five fields.
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        parser.parse(&self.cron).map_err(|error| {
            Error::spec(format!("'{}' is not a cron expression", self.cron))
                .caused_by(error)
                .hint("write minute, hour, day, month and weekday, as in `30 6 * * MON-FRI`")
        })
    }

    fn zone(&self) -> Result<TimeZone> {
        TimeZone::get(&self.time_zone).map_err(|error| {
            Error::spec(format!("there is no time zone '{}'", self.time_zone))
                .caused_by(error)
                .hint("write its IANA name, as in Europe/Berlin or Asia/Riyadh")
        })
    }

    /// The first moment after `after_ms` at which a run is due. An hour that a clock change leaves out
    /// is made up for right after it; one that it repeats is due once.
    pub fn next_after(&self, after_ms: i64) -> Result<i64> {
        let at = zoned(after_ms, self.zone()?);
        let found = self.cron()?.find_next_occurrence(&at, false);
        found
            .map(|next| next.timestamp().as_millisecond())
            .map_err(|error| {
                Error::spec(format!("'{}' is never due", self.cron))
                    .caused_by(error)
                    .hint("a day such as February 30 does not come: change the expression")
            })
    }

    /// What is due now, oldest first, and when to look again. `first_ms` is due by the schedule.
    pub fn due(&self, first_ms: i64, now_ms: i64) -> Result<Due> {
        let mut times = Vec::new();
        let mut next = first_ms;
        while next <= now_ms {
            times.push(next);
            next = self.next_after(next)?;
            if times.len() > CATCH_UP_MAX && next <= now_ms {
                // Long ago: what lies between is not counted one by one.
                times.push(self.newest_until(now_ms)?.max(next));
                next = self.next_after(now_ms)?;
                break;
            }
        }
        let missed = times.len();
        match self.catch_up {
            CatchUp::Latest => times.drain(..missed.saturating_sub(1)).for_each(drop),
            CatchUp::Each => times.drain(..missed.saturating_sub(CATCH_UP_MAX)).for_each(drop),
            CatchUp::Skip => times.retain(|due| now_ms - due <= self.latency_ms),
        }
        if self.catch_up == CatchUp::Skip {
            times.drain(..times.len().saturating_sub(1)).for_each(drop);
        }
        Ok(Due { times, next_ms: next })
    }

    fn newest_until(&self, now_ms: i64) -> Result<i64> {
        let at = zoned(now_ms, self.zone()?);
        let found = self.cron()?.find_previous_occurrence(&at, true);
        Ok(found.map_or(now_ms, |last| last.timestamp().as_millisecond()))
    }

    /// How long after it is due this connection's run begins: always the same for one connection.
    pub fn offset_ms(&self, tenant: &str, connection: &str) -> i64 {
        let digest = Sha256::digest(format!("{tenant} {connection}"));
        let number = digest
            .iter()
            .take(7)
            .fold(0, |number, byte| number << 8 | i64::from(*byte));
        number.checked_rem(self.jitter_ms).unwrap_or(0)
    }

    /// The wait after the failed attempt of that number (1 is the first); None when it was the last.
    pub fn wait_after_ms(&self, attempt: u32) -> Option<i64> {
        if attempt >= self.attempts {
            return None;
        }
        Some(wait_ms(self.backoff, self.backoff_base_ms, attempt))
    }
}

/// What a schedule asks for at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub times: Vec<i64>,
    pub next_ms: i64,
}

/// The wait after the failed attempt of that number.
pub(crate) fn wait_ms(backoff: Backoff, base_ms: i64, attempt: u32) -> i64 {
    let factor = match backoff {
        Backoff::Exponential => 1_i64.checked_shl(attempt.saturating_sub(1)).unwrap_or(i64::MAX),
        Backoff::Linear => i64::from(attempt),
    };
    base_ms.saturating_mul(factor).min(millis(BACKOFF_MAX))
}

fn zoned(ms: i64, zone: TimeZone) -> Zoned {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(zone)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn said(ms: i64) -> String {
        Timestamp::from_millisecond(ms).unwrap().to_string()
    }

    fn timing(spec: &str) -> Result<Timing> {
        Timing::of(&serde_json::from_str(spec).unwrap())
    }

    #[test]
    fn a_tier_says_what_is_left_out() {
        let standard = timing("{}").unwrap();
        assert_eq!((standard.cron.as_str(), standard.attempts), ("0 0 * * *", 3));
        let critical = timing(r#"{"tier": "critical", "attempts": 2, "latency": "5m"}"#).unwrap();
        assert_eq!(critical.cron, "0 * * * *");
        assert_eq!(
            (critical.attempts, critical.latency_ms, critical.jitter_ms),
            (2, 300_000, 30_000)
        );
    }

    #[test]
    fn waits_grow_and_end() {
        let mut timing = timing(r#"{"tier": "critical"}"#).unwrap();
        let waits = |timing: &Timing| {
            (1..=5)
                .map(|attempt| timing.wait_after_ms(attempt))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            waits(&timing),
            [Some(60_000), Some(120_000), Some(240_000), Some(480_000), None]
        );
        timing.backoff = Backoff::Linear;
        assert_eq!(
            waits(&timing),
            [Some(60_000), Some(120_000), Some(180_000), Some(240_000), None]
        );
        assert_eq!(wait_ms(Backoff::Exponential, 60_000, 63), 6 * 3600 * 1000);
    }

    /// Berlin's clocks go from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25.
    #[test]
    fn a_clock_change_leaves_no_run_out_and_makes_none_twice() {
        let half_past_two = timing(r#"{"cron": "30 2 * * *", "time_zone": "Europe/Berlin"}"#).unwrap();
        let mut days = Vec::new();
        let mut now = at("2026-03-27T12:00:00Z");
        for _ in 0..4 {
            now = half_past_two.next_after(now).unwrap();
            days.push(said(now));
        }
        assert_eq!(
            days,
            [
                "2026-03-28T01:30:00Z",
                // The half hour does not exist: right after the gap.
                "2026-03-29T01:00:00Z",
                "2026-03-30T00:30:00Z",
                "2026-03-31T00:30:00Z",
            ]
        );
        now = at("2026-10-24T12:00:00Z");
        let mut days = Vec::new();
        for _ in 0..2 {
            now = half_past_two.next_after(now).unwrap();
            days.push(said(now));
        }
        assert_eq!(days, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn what_was_missed_is_caught_up_as_the_rule_says() {
        let (first, now) = (at("2026-05-01T00:00:00Z"), at("2026-05-01T05:10:00Z"));
        let due = |rule: &str| {
            let spec = format!(r#"{{"cron": "0 * * * *", "latency": "15m", "catch_up": "{rule}"}}"#);
            timing(&spec).unwrap().due(first, now).unwrap()
        };
        assert_eq!(due("latest").times, [at("2026-05-01T05:00:00Z")]);
        assert_eq!(due("each").times.len(), 6);
        assert_eq!(due("skip").times, [at("2026-05-01T05:00:00Z")]);
        assert_eq!(due("skip").next_ms, at("2026-05-01T06:00:00Z"));
        let late = timing(r#"{"cron": "0 * * * *", "latency": "5m", "catch_up": "skip"}"#).unwrap();
        assert_eq!(late.due(first, now).unwrap().times, Vec::<i64>::new());
    }

    #[test]
    fn at_the_bound_of_what_is_caught_up_nothing_of_the_future_is_due() {
        let hourly = timing(r#"{"cron": "0 * * * *", "catch_up": "each"}"#).unwrap();
        let now = at("2026-05-31T05:10:00Z");
        for missed in 98..104 {
            let due = hourly
                .due(at("2026-05-31T05:00:00Z") - (missed - 1) * 3_600_000, now)
                .unwrap();
            assert_eq!(
                due.times.len(),
                usize::try_from(missed).unwrap().min(CATCH_UP_MAX),
                "{missed}"
            );
            assert_eq!(due.times.last(), Some(&at("2026-05-31T05:00:00Z")), "{missed}");
            assert_eq!(due.next_ms, at("2026-05-31T06:00:00Z"), "{missed}");
        }
    }

    #[test]
    fn years_without_a_run_are_not_counted_hour_by_hour() {
        let hourly = timing(r#"{"cron": "* * * * *"}"#).unwrap();
        let now = at("2026-05-01T05:10:30Z");
        let due = hourly.due(at("2001-01-01T00:00:00Z"), now).unwrap();
        assert_eq!(due.times, [at("2026-05-01T05:10:00Z")]);
        assert_eq!(due.next_ms, at("2026-05-01T05:11:00Z"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_way_out() {
        let hint = |spec: &str| timing(spec).unwrap_err().next_step().unwrap().to_owned();
        assert!(hint(r#"{"cron": "often"}"#).contains("minute, hour"));
        assert!(hint(r#"{"cron": "0 0 30 2 *"}"#).contains("February 30"));
        assert!(hint(r#"{"time_zone": "Mars/Base"}"#).contains("IANA"));
        assert!(hint(r#"{"attempts": 0}"#).contains("1 to 20"));
        assert!(hint(r#"{"latency": "0s"}"#).contains("15m"));
        assert!(hint(r#"{"jitter": "9d"}"#).contains("below the latency"));
        assert!(hint(r#"{"cron": "* * * * * *"}"#).contains("minute, hour"));
        assert!(hint(r#"{"cron": "45 4 19 21 11 * 2026"}"#).contains("minute, hour"));
    }

    #[test]
    fn connections_begin_at_moments_of_their_own() {
        let daily = timing(r#"{"jitter": "1m"}"#).unwrap();
        let offsets: std::collections::BTreeSet<i64> = (0..50)
            .map(|n| daily.offset_ms("default", &format!("shop{n}")))
            .collect();
        assert!(offsets.len() > 40, "{offsets:?}");
        assert!(offsets.iter().all(|offset| (0..60_000).contains(offset)));
        assert_eq!(timing(r#"{"jitter": "0s"}"#).unwrap().offset_ms("a", "b"), 0);
    }
}
