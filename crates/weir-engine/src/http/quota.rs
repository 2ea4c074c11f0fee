//! What vendors say about their quotas: Retry-After and the headers with what is left and when it
//! is full again. Header values are read, nothing is decided here.

use std::time::Duration;

use jiff::Timestamp;
use weir_protocol::spec::RateLimit;

use super::Answer;

/// Numbers above this are epoch milliseconds, above [`EPOCH_SECONDS_MIN`] epoch seconds, below seconds from now.
const EPOCH_MILLIS_MIN: f64 = 100_000_000_000.0;
const EPOCH_SECONDS_MIN: f64 = 1_000_000_000.0;
const CENTURY_S: f64 = 100.0 * 365.25 * 86_400.0;

/// Names that vendors use where the spec declares none, in the order in which they are believed.
const REMAINING_NAMES: &[&str] = &[
    "ratelimit-remaining",
    "x-ratelimit-remaining",
    "x-rate-limit-remaining",
];
const RESET_NAMES: &[&str] = &["ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset"];

/// What an answer says about the quota.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Quota {
    pub(super) remaining: Option<u64>,
    /// Until it is full again.
    pub(super) reset_in: Option<Duration>,
}

/// By the headers that the spec declares.
pub(super) fn declared(answer: &Answer, limit: &RateLimit) -> Quota {
    Quota {
        remaining: limit
            .remaining
            .as_deref()
            .and_then(|name| answer.header(name))
            .and_then(count),
        reset_in: limit
            .reset
            .as_deref()
            .and_then(|name| answer.header(name))
            .and_then(|v| moment(v, answer.received_at)),
    }
}

/// By the names that are common; believed only where the answer is a refusal.
pub(super) fn customary(answer: &Answer) -> Quota {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| answer.header(name))
            .map(str::to_owned)
    };
    Quota {
        remaining: first(REMAINING_NAMES).as_deref().and_then(count),
        reset_in: first(RESET_NAMES)
            .as_deref()
            .and_then(|value| moment(value, answer.received_at)),
    }
}

/// `retry-after-ms`, or Retry-After in seconds, as a date, or with a unit as some write it. Of several the longest: no
/// request is to come before any of them allows.
pub(crate) fn retry_after(answer: &Answer) -> Option<Duration> {
    let values = |name| {
        let values = answer.headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok())
    };
    let millis =
        values("retry-after-ms").filter_map(|value| seconds(value.trim().parse::<f64>().ok()? / 1000.0));
    if let Some(millis) = millis.max() {
        return Some(millis);
    }
    values("retry-after")
        .filter_map(|value| {
            let one = |value| moment(value, answer.received_at).or_else(|| with_unit(value));
            // A date has a comma of its own.
            one(value).or_else(|| value.split(',').filter_map(one).max())
        })
        .max()
}

/// `2s`, `500 ms`, `1 minute`, `PT2S`.
fn with_unit(value: &str) -> Option<Duration> {
    let time: jiff::SignedDuration = value.trim().parse().ok()?;
    seconds(time.as_secs_f64())
}

fn count(value: &str) -> Option<u64> {
    let number: f64 = value.trim().parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits first"
    )]
    (number.is_finite()).then(|| number.clamp(0.0, 1e15) as u64)
}

/// Epoch seconds or milliseconds, seconds from now, an HTTP date or RFC 3339: as time from now.
fn moment(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(number) = value.parse::<f64>() {
        let now_s = now.as_duration().as_secs_f64();
        return match number {
            n if n >= EPOCH_MILLIS_MIN => seconds(n / 1000.0 - now_s),
            n if n >= EPOCH_SECONDS_MIN => seconds(n - now_s),
            n => seconds(n),
        };
    }
    seconds(date(value)?.as_duration().as_secs_f64() - now.as_duration().as_secs_f64())
}

/// Also as mail writes it, and with the zone's other name.
fn date(value: &str) -> Option<Timestamp> {
    let value = match value.strip_suffix("UTC") {
        Some(head) => format!("{head}GMT"),
        None => value.to_owned(),
    };
    if let Ok(time) = httpdate::parse_http_date(&value) {
        return Timestamp::try_from(time).ok();
    }
    let mail = jiff::fmt::rfc2822::parse(&value).map(|time| time.timestamp());
    mail.ok().or_else(|| value.parse().ok())
}
/// A past moment is now, one beyond all patience a century away: who names it does not want to be asked. What is no
/// number is nothing.
fn seconds(number: f64) -> Option<Duration> {
    let number = (!number.is_nan()).then(|| number.clamp(0.0, CENTURY_S))?;
    Duration::try_from_secs_f64(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::HeaderMap;
    use url::Url;

    fn answer(name: &'static str, value: &str) -> Answer {
        let mut headers = HeaderMap::new();
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
        Answer {
            status: 429,
            headers,
            body: bytes::Bytes::new(),
            url: Url::parse("https://h/").unwrap(),
            received_at: "2026-11-21T10:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn retry_after_in_every_form() {
        let wait = |name, value: &str| retry_after(&answer(name, value)).map(|wait| wait.as_millis());
        assert_eq!(wait("retry-after", "7"), Some(7_000));
        assert_eq!(wait("retry-after", "Sat, 21 Nov 2026 10:00:30 GMT"), Some(30_000));
        assert_eq!(wait("retry-after", "Sat, 21 Nov 2026 09:00:30 GMT"), Some(0));
        assert_eq!(wait("retry-after-ms", "250"), Some(250));
        assert_eq!(wait("retry-after", "-3"), Some(0));
        let century = Some(3_155_760_000_000);
        for far in ["99999999999999999999999", "inf", "Thu, 21 Oct 9999 07:28:00 GMT"] {
            assert_eq!(wait("retry-after", far), century, "{far}");
        }
        for (told, ms) in [
            ("2s", 2_000),
            ("500 ms", 500),
            ("1 minute", 60_000),
            ("2, 3", 3_000),
            ("1795255230", 30_000),
            ("Sat, 21 Nov 2026 10:00:30 UTC", 30_000),
            ("Sat, 21 Nov 2026 12:00:30 +0200", 30_000),
            ("Saturday, 21-Nov-26 10:00:30 GMT", 30_000),
        ] {
            assert_eq!(wait("retry-after", told), Some(ms), "{told}");
        }
        let mut twice = answer("retry-after", "2");
        twice.headers.append("retry-after", "5".parse().unwrap());
        assert_eq!(retry_after(&twice), Some(Duration::from_secs(5)));
        assert_eq!(wait("retry-after", "soon"), None);
        assert_eq!(wait("other", "7"), None);
    }

    #[test]
    fn reset_in_every_form() {
        let reset = |value: &str| {
            customary(&answer("x-ratelimit-reset", value))
                .reset_in
                .map(|wait| wait.as_secs())
        };
        let now = "2026-11-21T10:00:00Z".parse::<Timestamp>().unwrap().as_second();
        assert_eq!(reset(&format!("{}", now + 60)), Some(60));
        assert_eq!(reset(&format!("{}000", now + 61)), Some(61));
        assert_eq!(reset("62"), Some(62));
        assert_eq!(reset("2026-11-21T10:01:03Z"), Some(63));
    }

    proptest! {
        #[test]
        fn no_header_value_panics(value in ".{0,40}", number in any::<f64>()) {
            for text in [value, number.to_string()] {
                retry_after(&answer("retry-after", &text));
                customary(&answer("ratelimit-reset", &text));
                customary(&answer("ratelimit-remaining", &text));
            }
        }
    }
}
