//! Clocks of machines, compared. Leases, schedules and waits are timed by the store's clock alone, so that clocks that
//! differ break nothing there. But each machine signs requests, judges when a token ends, checks the age of messages and
//! dates what it reads by its own.

use std::time::Duration;

use weir_protocol::{Error, Result};

use crate::Store;

/// Clocks that differ by more are told: vendors refuse signatures that are some minutes off, and tokens are replaced a
/// minute before they end.
pub const CLOCK_OFFSET_MAX: Duration = Duration::from_secs(30);

/// This machine's clock, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// By how much another clock is certainly ahead of this machine's; negative: behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockOffset {
    pub ms: i64,
}

impl ClockOffset {
    /// By what another clock said at some moment between two of this one. A long way there and back is no offset.
    pub fn between(asked_ms: i64, theirs_ms: i64, answered_ms: i64) -> Self {
        let ms = if theirs_ms < asked_ms {
            theirs_ms - asked_ms
        } else {
            (theirs_ms - answered_ms).max(0)
        };
        Self { ms }
    }

    /// What an operator is to be told, of `whose` clock; nothing within the limit.
    pub fn problem(self, whose: &str) -> Option<Error> {
        if u128::from(self.ms.unsigned_abs()) <= CLOCK_OFFSET_MAX.as_millis() {
            return None;
        }
        let by_s = self.ms.unsigned_abs() / 1000;
        let how = if self.ms > 0 { "behind" } else { "ahead of" };
        let error = Error::unavailable(format!("this machine's clock is {by_s} s {how} {whose}"))
            .with("limit", format!("{} s", CLOCK_OFFSET_MAX.as_secs()))
            .hint("set both clocks by NTP (`timedatectl status`): signed requests and the ends of tokens depend on them");
        Some(error)
    }
}

impl Store {
    /// How the store's clock differs from this machine's.
    pub async fn clock_offset(&self) -> Result<ClockOffset> {
        let asked_ms = now_ms();
        let theirs_ms = self.now_ms().await?;
        Ok(ClockOffset::between(asked_ms, theirs_ms, now_ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;

    #[test]
    fn what_the_way_may_explain_is_no_offset() {
        assert_eq!(ClockOffset::between(1000, 1500, 2000).ms, 0);
        assert_eq!(ClockOffset::between(1000, 1000, 90_000).ms, 0);
        assert_eq!(ClockOffset::between(1000, 400, 2000).ms, -600);
        assert_eq!(ClockOffset::between(1000, 2600, 2000).ms, 600);
        assert!(ClockOffset { ms: 30_000 }.problem("the store's").is_none());
        assert!(ClockOffset { ms: -30_000 }.problem("the store's").is_none());
    }

    #[tokio::test]
    async fn a_store_of_another_time_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        assert!(
            store
                .clock_offset()
                .await
                .unwrap()
                .problem("the store's")
                .is_none()
        );

        let store = Store::open(&folder.path().join("other.db")).await.unwrap();
        for (off_s, says) in [
            (95, "95 s behind the store's"),
            (-95, "95 s ahead of the store's"),
        ] {
            testing::execute(&store, "DROP VIEW clock").await;
            let shifted = format!(
                "CREATE VIEW clock AS SELECT CAST((unixepoch('now', 'subsec') + {off_s}) * 1000 AS INTEGER) AS now_ms"
            );
            testing::execute(&store, &shifted).await;
            let offset = store.clock_offset().await.unwrap();
            let error = offset.problem("the store's").unwrap();
            // A slow round trip is taken off, and a second is rounded down.
            let nearly = says.replace("95", "94");
            let told = error.message();
            assert!(told.contains(says) || told.contains(&nearly), "{told}");
            assert!(error.next_step().unwrap().contains("NTP"));
        }
    }
}
