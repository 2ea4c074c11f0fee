//! How long to wait before another try, and how many tries a client may spend on retries.

use std::time::Duration;

use weir_protocol::spec::Backoff;

use super::settings::Patience;

/// Retries that are always allowed, so that a short run is not refused its first ones.
const RETRIES_FREE: u64 = 10;

/// Full jitter: an even draw between nothing and the growing ceiling. `attempt` counts from 1.
pub(super) fn delay(patience: &Patience, attempt: u32, draw: f64) -> Duration {
    let factor = match patience.backoff {
        Backoff::Exponential => 2_u32.saturating_pow(attempt.saturating_sub(1)),
        Backoff::Linear => attempt,
        Backoff::Constant => 1,
    };
    let ceiling = patience.base_delay.saturating_mul(factor).min(patience.max_delay);
    ceiling.mul_f64(draw.clamp(0.0, 1.0))
}

/// Whether one more retry stays within the share of all requests.
pub(super) fn within_budget(patience: &Patience, requests: u64, retries: u64) -> bool {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share needs no exact count beyond 2^52 requests"
    )]
    let share = patience.budget * requests as f64;
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    let next = (retries + 1) as f64;
    retries < RETRIES_FREE || next <= share
}

#[cfg(test)]
mod tests {
    use super::super::settings::ReliabilityDefaults;
    use super::*;
    use weir_protocol::spec::{Reliability, Retry};

    fn patience(backoff: Backoff) -> Patience {
        let retry = Retry {
            backoff,
            ..Retry::default()
        };
        let spec = Reliability {
            retry: Some(retry),
            ..Reliability::default()
        };
        Patience::resolve(&spec, &Reliability::default(), &ReliabilityDefaults::default()).unwrap()
    }

    #[test]
    fn grows_as_told_up_to_its_ceiling() {
        let seconds = |backoff, attempt| delay(&patience(backoff), attempt, 1.0).as_secs();
        assert_eq!(
            [1, 2, 3, 7, 40].map(|n| seconds(Backoff::Exponential, n)),
            [1, 2, 4, 60, 60]
        );
        assert_eq!([1, 2, 3, 70].map(|n| seconds(Backoff::Linear, n)), [1, 2, 3, 60]);
        assert_eq!([1, 2, 9].map(|n| seconds(Backoff::Constant, n)), [1, 1, 1]);
        assert_eq!(delay(&patience(Backoff::Exponential), 3, 0.0), Duration::ZERO);
    }

    #[test]
    fn retries_are_a_share_after_the_first_ten() {
        let patience = patience(Backoff::Constant);
        assert!(within_budget(&patience, 5, 9));
        assert!(!within_budget(&patience, 50, 10));
        assert!(within_budget(&patience, 55, 10));
    }
}
