//! When a delivery is tried again. No I/O.

use std::time::Duration;

use uuid::Uuid;

/// Waits after the first, second, … failed try: over a day in all.
const WAITS_S: [u64; 10] = [5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800];
/// A receiver may ask for no longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(8 * 60 * 60);
/// After so many failed tries later events no longer wait behind this one.
pub(super) const IN_LINE_MAX: i64 = 5;

/// The wait before the next try, after so many have failed; none where that was the last.
pub(super) fn wait_ms(failed: i64, retry_after: Option<Duration>, jitter: f64) -> Option<i64> {
    let index = usize::try_from(failed.saturating_sub(1)).unwrap_or(0);
    let usual = Duration::from_secs(*WAITS_S.get(index)?);
    let jittered = usual.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0));
    let wait = retry_after.map_or(jittered, |asked| asked.min(RETRY_AFTER_MAX).max(jittered));
    i64::try_from(wait.as_millis()).ok()
}

/// Between 0 and 1, another one each time.
pub(super) fn jitter() -> f64 {
    let bytes = Uuid::new_v4().into_bytes();
    f64::from(u16::from_be_bytes([bytes[0], bytes[1]])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_jittered_and_end() {
        let mut least = 0;
        for failed in 1..=10 {
            let short = wait_ms(failed, None, 0.0).unwrap();
            let long = wait_ms(failed, None, 1.0).unwrap();
            assert!(short < long && short >= least, "{failed}: {short}..{long}");
            least = short;
        }
        assert_eq!(wait_ms(11, None, 0.5), None);
        let total: i64 = (1..=10).map(|failed| wait_ms(failed, None, 0.5).unwrap()).sum();
        assert!(total > 20 * 3_600_000, "{total}");
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_within_bounds() {
        assert_eq!(wait_ms(1, Some(Duration::from_secs(60)), 0.5), Some(60_000));
        assert_eq!(wait_ms(1, Some(Duration::from_secs(1)), 0.5), Some(5_000));
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(wait_ms(1, Some(week), 0.5), Some(8 * 3_600_000));
        // Also where it asks for it after the last try.
        assert_eq!(wait_ms(11, Some(week), 0.5), None);
    }
}
