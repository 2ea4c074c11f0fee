//! How often a token may ask, and how often an address may show a wrong one.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

pub const REQUESTS_PER_MINUTE_DEFAULT: NonZeroU32 = NonZeroU32::new(1200).unwrap();
const WRONG_TOKENS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// So many keys are kept before those that are idle are forgotten.
const KEYS_MAX: usize = 10_000;

pub(crate) struct Limits {
    tokens: DefaultKeyedRateLimiter<String>,
    wrong: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Limits {
    pub(crate) fn new(requests_per_minute: NonZeroU32) -> Self {
        Self {
            tokens: RateLimiter::keyed(Quota::per_minute(requests_per_minute)),
            wrong: RateLimiter::keyed(Quota::per_minute(WRONG_TOKENS_PER_MINUTE)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request of a token; gives back how long to wait where there were too many.
    pub(crate) fn request(&self, token: &str) -> Result<(), Duration> {
        if self.tokens.len() > KEYS_MAX {
            self.tokens.retain_recent();
        }
        let counted = self.tokens.check_key(&token.to_owned());
        counted.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Counts a wrong token. A right one from the same address is not held up: behind one address
    /// there may be many clients, and a secret of 256 bits is not found by trying.
    pub(crate) fn wrong_token(&self, address: IpAddr) -> Result<(), Duration> {
        if self.wrong.len() > KEYS_MAX {
            self.wrong.retain_recent();
        }
        let counted = self.wrong.check_key(&network(address));
        counted.map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

/// Who has one IPv6 address has its whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => {
                let [a, b, c, d, ..] = six.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_measure() {
        let limits = Limits::new(NonZeroU32::new(2).unwrap());
        assert!(limits.request("a").is_ok() && limits.request("a").is_ok());
        let wait = limits.request("a").unwrap_err();
        assert!(
            wait > Duration::from_secs(20) && wait <= Duration::from_secs(30),
            "{wait:?}"
        );
        assert!(limits.request("b").is_ok());
    }

    #[test]
    fn an_address_is_its_network() {
        let limits = Limits::new(REQUESTS_PER_MINUTE_DEFAULT);
        for host in 0..WRONG_TOKENS_PER_MINUTE.get() {
            let address = format!("2001:db8::{host:x}").parse().unwrap();
            limits.wrong_token(address).unwrap();
        }
        assert!(limits.wrong_token("2001:db8::ffff".parse().unwrap()).is_err());
        assert!(limits.wrong_token("2001:db8:0:1::1".parse().unwrap()).is_ok());
        assert_eq!(
            network("::ffff:10.0.0.1".parse().unwrap()),
            "10.0.0.1".parse::<IpAddr>().unwrap()
        );
    }
}
