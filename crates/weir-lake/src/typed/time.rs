//! Dates and times as records write them.

const SECOND_US: i64 = 1_000_000;

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Microseconds since 1970-01-01T00:00:00Z; finer digits are cut off.
    pub(crate) micros: i64,
    /// Whether the text is a complete RFC 3339 date-time and no digit was cut off.
    pub(crate) strict: bool,
}

/// Reads RFC 3339, and the forms near to it that vendors use: no offset (taken as UTC), an offset
/// without a colon or minutes, a space for the `T`, a date alone (midnight UTC).
pub(crate) fn moment(text: &str) -> Option<Moment> {
    let bytes = text.as_bytes();
    let (date, rest) = bytes.split_at_checked(10)?;
    let days = date_of(date)?;
    if rest.is_empty() {
        return Some(Moment {
            micros: micros(days, 0)?,
            strict: false,
        });
    }
    let separator = *rest.first()?;
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let (seconds, rest) = clock(rest.get(1..)?)?;
    let (fraction, cut, rest) = fraction(rest)?;
    let (offset, exact) = offset(rest)?;
    Some(Moment {
        micros: micros(days, seconds - offset)?.checked_add(fraction)?,
        strict: exact && !cut && separator != b' ',
    })
}

/// Reads `YYYY-MM-DD` into days since 1970-01-01.
pub(crate) fn date(text: &str) -> Option<i32> {
    (text.len() == 10).then(|| date_of(text.as_bytes())).flatten()
}

/// The microsecond at which a day begins in UTC.
pub(crate) fn midnight_micros(days: i32) -> i64 {
    i64::from(days) * 86_400 * SECOND_US
}

fn micros(days: i32, seconds: i64) -> Option<i64> {
    midnight_micros(days).checked_add(seconds.checked_mul(SECOND_US)?)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0_i64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

fn date_of(text: &[u8]) -> Option<i32> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else {
        return None;
    };
    let year = number(&[y1, y2, y3, y4])?;
    let month = number(&[m1, m2])?;
    let day = number(&[d1, d2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    // Days of the proleptic Gregorian calendar, counted in years that begin in March, so that the
    // leap day is a year's last day.
    let (y, m) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let before = y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
    let days = before + (153 * m + 2) / 5 + day - 1 - 719_468;
    i32::try_from(days).ok()
}

/// `hh:mm:ss` or `hh:mm`. A leap second is the minute's last whole second.
fn clock(text: &[u8]) -> Option<(i64, &[u8])> {
    let &[h1, h2, b':', m1, m2, ref rest @ ..] = text else {
        return None;
    };
    let (hour, minute) = (number(&[h1, h2])?, number(&[m1, m2])?);
    let (second, rest) = match rest {
        &[b':', s1, s2, ref rest @ ..] => (number(&[s1, s2])?, rest),
        _ => (0, rest),
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((hour * 3600 + minute * 60 + second.min(59), rest))
}

/// Microseconds after the second, whether finer digits were cut off, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, bool, &[u8])> {
    let Some((b'.' | b',', digits)) = text.split_first() else {
        return Some((0, false, text));
    };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at_checked(length)?;
    if length == 0 {
        return None;
    }
    let mut micros = number(digits.get(..length.min(6))?)?;
    for _ in length..6 {
        micros *= 10;
    }
    let cut = digits.iter().skip(6).any(|digit| *digit != b'0');
    Some((micros, cut, rest))
}

/// Seconds east of UTC, and whether they are written as RFC 3339 asks for.
fn offset(text: &[u8]) -> Option<(i64, bool)> {
    let (sign, rest) = match text.split_first() {
        None => return Some((0, false)),
        Some((b'Z' | b'z', [])) => return Some((0, true)),
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        Some(_) => return None,
    };
    let (hours, minutes, exact) = match *rest {
        [h1, h2, b':', m1, m2] => (number(&[h1, h2])?, number(&[m1, m2])?, true),
        [h1, h2, m1, m2] => (number(&[h1, h2])?, number(&[m1, m2])?, false),
        [h1, h2] => (number(&[h1, h2])?, 0, false),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some((sign * (hours * 3600 + minutes * 60), exact))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn near_forms_are_read() {
        let midnight = 1_767_225_600_000_000;
        for (text, micros, strict) in [
            ("2026-01-01T00:00:00Z", midnight, true),
            ("2026-01-01t00:00:00.000001z", midnight + 1, true),
            ("2026-01-01T02:00:00+02:00", midnight, true),
            ("2026-01-01T02:00:00.000+0200", midnight, false),
            ("2025-12-31T19:00:00-05", midnight, false),
            ("2026-01-01 00:00:00", midnight, false),
            ("2026-01-01T00:00", midnight, false),
            ("2026-01-01", midnight, false),
            ("2026-01-01T00:00:00.1234569Z", midnight + 123_456, false),
        ] {
            assert_eq!(moment(text), Some(Moment { micros, strict }), "{text}");
        }
        for text in [
            "",
            "2026",
            "2026-02-29",
            "2026-13-01",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00X",
            "2026-01-01x",
            "é026-01-01",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
        assert_eq!(date("1969-12-31"), Some(-1));
        assert_eq!(date("2026-01-01T00:00:00Z"), None);
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(micros in -62_135_596_800_000_000_i64..253_402_207_200_000_000) {
            let text = Timestamp::from_microsecond(micros).unwrap().to_string();
            prop_assert_eq!(moment(&text), Some(Moment { micros, strict: true }));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _: Option<Moment> = moment(&text);
        }
    }
}
