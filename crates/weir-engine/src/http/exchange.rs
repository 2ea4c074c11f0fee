//! One attempt: paced, signed, sent, and followed through its redirects.

use std::time::Duration;

use weir_protocol::{Error, ErrorKind, Result};

use super::client::Client;
use super::limiter::{Limiter, Pace};
use super::shared::Taken;
use super::{Answer, Outgoing, Redactor, redirect};
use crate::auth::Generation;

/// Waits longer than this are told.
const WAIT_TOLD: Duration = Duration::from_secs(5);

/// Takes a request off the limiter's count of requests under way, however it ends.
struct InFlight<'a>(&'a Limiter);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.finished();
    }
}

impl Client {
    /// The answer, and the generation of the credential that signed the first hop.
    pub(super) async fn exchange(&self, out: &Outgoing, redactor: &Redactor) -> Result<(Answer, Generation)> {
        let mut hop = out.clone();
        let mut generation = Generation::default();
        let mut has_changed = false;
        for hops in 0..=redirect::REDIRECTS_MAX {
            let mut signed = hop.clone();
            // Once left, the credential's origin is not trusted again even when a hop leads back:
            // another host chose that URL.
            if redirect::same_origin(&out.url, &hop.url) {
                if let Some(trace) = self.traceparent.and_then(|now| now()) {
                    signed.set_header("traceparent", trace);
                }
                generation = self.authenticator.sign(&mut signed).await?;
            }
            let _under_way = self.pace(hops == 0).await?;
            self.stats.count_request();
            let answer = match self.carrier.carry(&signed).await {
                Ok(answer) => answer,
                Err(error) if has_changed => return Err(redirect::lost(&hop.url, error)),
                Err(error) => return Err(error),
            };
            self.stats.count_bytes(answer.body.len());
            match redirect::next(&hop, &answer, redactor)? {
                Some(next) => {
                    // The other side took it, and says elsewhere what came of it.
                    if !out.repeatable && next.method != hop.method {
                        has_changed = true;
                        out.delivery.leaves_open();
                    }
                    hop = next;
                }
                None => return Ok((answer, generation)),
            }
        }
        Err(redirect::too_many(&hop.url))
    }

    /// Waits until quota and gate let one request go. What is begun is not broken off by another process' breaker.
    async fn pace(&self, is_first: bool) -> Result<InFlight<'_>> {
        loop {
            let pace = match self.leave().await? {
                Taken::Shut(wait) if is_first => return Err(self.shut_elsewhere(wait)),
                Taken::Leave | Taken::Shut(_) => self.limiter.try_send(self.clock.elapsed()),
                Taken::Held(wait) => Pace::Held(wait),
                Taken::TooLong(wait) => Pace::Quota(wait),
            };
            let wait = match pace {
                Pace::Go => return Ok(InFlight(&self.limiter)),
                Pace::Quota(wait) => wait,
                Pace::Held(wait) if wait > self.patience.longest_wait() => {
                    return Err(self.waits_too_long(wait));
                }
                Pace::Held(wait) => wait,
            };
            if wait > WAIT_TOLD {
                tracing::info!(wait_s = wait.as_secs(), "waiting for the source's rate limit");
            }
            self.clock.sleep(wait).await;
        }
    }

    /// Leave by the count of all processes. It counts from now on: whoever has to wait after it asks anew.
    async fn leave(&self) -> Result<Taken> {
        match &self.shared {
            Some(shared) => shared.take(1, Duration::MAX, self.is_well()).await,
            None => Ok(Taken::Leave),
        }
    }

    pub(super) fn waits_too_long(&self, wait: Duration) -> Error {
        let limit = self.patience.longest_wait().as_secs();
        Error::new(
            ErrorKind::RateLimited,
            format!("the source asks to wait {} seconds", wait.as_secs()),
        )
        .with(
            "longest wait",
            format!("{limit} s, ten times reliability.retry.max"),
        )
        .after(wait)
        .hint("run again after that time (what was read is kept), or raise reliability.retry.max")
    }
}
