//! The client: attempts, waits, verdicts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tracing::Instrument as _;
use weir_protocol::permits::BreakerTold;
use weir_protocol::{Error, ErrorKind, Result, Secret};

use super::breaker::{Admission, Breaker, BreakerState, Health};
use super::carrier::Carrier;
use super::limiter::Limiter;
use super::settings::{ClientSettings, Patience, Traceparent};
use super::shared::SharedLimiter;
use super::stats::{Stats, StatsSnapshot};
use super::transport::{Transport, before_sending, never_sent};
use super::{Answer, Classify, Clock, Outgoing, Redactor, Sent, Verdict, backoff, classify, quota};
use crate::auth::{Authenticator, Generation};

/// Waits for the rate that one request may see while others get through, before it gives up.
const RATE_WAITS_MAX: u32 = 50;

/// A request that gets no answer is given up after so long, waits included, whatever tries are left;
/// or after two tries where the timeout is longer than half of this.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// One connection's way to its outside system.
pub struct Client {
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) limiter: Limiter,
    pub(super) shared: Option<Arc<SharedLimiter>>,
    pub(super) patience: Patience,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stats: Stats,
    secrets: Vec<Secret>,
    pub(super) traceparent: Option<Traceparent>,
    slots: Semaphore,
    breaker: Mutex<Breaker>,
    probe_ended: Notify,
}

/// What one attempt came to.
enum Step {
    Done(Box<Sent>),
    /// Try again at once; does not count as a try.
    Again,
    Wait {
        wait: Option<Duration>,
        rate: bool,
        error: Error,
    },
}

impl Step {
    fn done(sent: Sent) -> Self {
        Self::Done(Box::new(sent))
    }
}

/// One request's way through its attempts.
#[derive(Default)]
struct Journey {
    attempt: u32,
    rate_waits: u32,
    renewed: bool,
    successes_seen: u64,
    /// How long the source has not answered: timed out tries and the waits after them.
    silent: Duration,
}

impl Client {
    /// Waits as the client waits between its tries.
    pub(crate) async fn pause(&self, wait: Duration) {
        self.clock.sleep(wait).await;
    }

    /// The transport is the one that the authenticator was built with.
    pub fn new(
        settings: &ClientSettings,
        transport: Arc<Transport>,
        authenticator: Arc<dyn Authenticator>,
    ) -> Self {
        let patience = settings.patience.clone();
        // What is counted for all processes is not counted here a second time.
        let own_limit = patience.rate_limit.as_ref().filter(|_| settings.shared.is_none());
        Self {
            carrier: transport,
            authenticator,
            limiter: Limiter::new(own_limit),
            shared: settings.shared.clone(),
            clock: settings.clock.clone(),
            secrets: settings.secrets.clone(),
            traceparent: settings.traceparent,
            stats: Stats::default(),
            slots: Semaphore::new(patience.concurrency),
            breaker: Mutex::new(Breaker::new(patience.breaker.clone())),
            probe_ended: Notify::new(),
            patience,
        }
    }

    /// The same with another way to the other side than HTTP.
    pub(crate) fn carried_by(mut self, carrier: Arc<dyn Carrier>) -> Self {
        self.carrier = carrier;
        self
    }

    pub fn stats(&self) -> StatsSnapshot {
        self.stats.snapshot()
    }

    pub fn breaker_state(&self) -> BreakerState {
        self.breaker().state(self.clock.elapsed())
    }

    /// What a request that cannot wait is told now where the breaker lets none go. Asking takes nobody's turn to probe.
    pub fn shut(&self) -> Option<Error> {
        self.breaker().rest(self.clock.elapsed()).map(breaker_open)
    }

    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// What blots the connection's secrets out of texts about its answers.
    pub fn redactor(&self) -> Redactor {
        let mut secrets = self.authenticator.secrets();
        secrets.extend(self.secrets.iter().cloned());
        Redactor::new(secrets)
    }

    /// Sends a request until it is answered for good. `classify` decides before the default does.
    pub async fn send(&self, out: Outgoing, classify: Classify<'_>) -> Result<Sent> {
        let host = out.url.host_str().unwrap_or_default();
        let span =
            tracing::info_span!("page_request", method = %out.method, host, status = tracing::field::Empty);
        let sent = self.carry_out(out, classify).instrument(span.clone()).await;
        if let Ok(Sent::Answer(answer) | Sent::Ignored(answer) | Sent::NotModified(answer)) = &sent {
            span.record("status", answer.status);
        }
        sent
    }

    async fn carry_out(&self, out: Outgoing, classify: Classify<'_>) -> Result<Sent> {
        let mut journey = Journey {
            attempt: 1,
            successes_seen: self.stats.successes(),
            ..Journey::default()
        };
        loop {
            match self.attempt(&out, classify, &mut journey).await? {
                Step::Done(sent) => {
                    self.stats.count_success();
                    return Ok(*sent);
                }
                Step::Again => {}
                Step::Wait { wait, rate, error } => self.wait(&mut journey, wait, rate, error).await?,
            }
            self.stats.count_retry();
        }
    }

    async fn attempt(&self, out: &Outgoing, classify: Classify<'_>, journey: &mut Journey) -> Result<Step> {
        let slot = self.slots.acquire().await;
        let _slot = slot.map_err(|_| Error::internal("the client's slots are closed"))?;
        let pass = match self.admit().await {
            Ok(pass) => pass,
            Err(wait) if out.is_interactive => return Err(breaker_open(wait)),
            Err(wait) => {
                return Ok(Step::Wait {
                    wait: Some(wait),
                    rate: false,
                    error: breaker_open(wait),
                });
            }
        };
        let redactor = self.redactor();
        let exchanged = self.exchange(out, &redactor).await;
        journey.silent = match &exchanged {
            Err(error) if error.kind() == ErrorKind::Timeout => journey.silent + self.patience.timeout,
            _ => Duration::ZERO,
        };
        match &exchanged {
            Ok((answer, _)) if tells_nothing(answer) => out.delivery.is_unknown(),
            Err(error) if !never_sent(error) => out.delivery.is_unknown(),
            Ok(_) | Err(_) => out.delivery.is_known(),
        }
        match exchanged {
            Ok((answer, generation)) => {
                let health = if answer.status >= 500 {
                    Health::Bad
                } else {
                    Health::Good
                };
                let changed = pass.end(health);
                self.tell(changed, || format!("the source answered {}", answer.status))
                    .await;
                self.judge(answer, generation, out, classify, journey).await
            }
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                let changed = pass.end(Health::Bad);
                self.tell(changed, || error.message().to_owned()).await;
                // A request that somebody waits for is not kept for as long as a breaker is open.
                if out.is_interactive && never_sent(&error) && error.retry_after().is_some() {
                    return Err(error);
                }
                if out.repeatable || never_sent(&error) {
                    Ok(Step::Wait {
                        wait: error.retry_after(),
                        rate: false,
                        error,
                    })
                } else {
                    Err(error.hint("find out at the vendor whether it was done before doing it again"))
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn judge(
        &self,
        answer: Answer,
        generation: Generation,
        out: &Outgoing,
        classify: Classify<'_>,
        journey: &mut Journey,
    ) -> Result<Step> {
        // Taken anew: signing may have fetched a token since.
        let redactor = self.redactor();
        self.note_quota(&answer);
        let verdict = match classify(&answer)? {
            Some(verdict) => verdict,
            None => classify::default_verdict(&answer, &redactor, out.asker),
        };
        match verdict {
            Verdict::Success => Ok(Step::done(Sent::Answer(answer))),
            Verdict::Ignore => Ok(Step::done(Sent::Ignored(answer))),
            Verdict::NotModified => Ok(Step::done(Sent::NotModified(answer))),
            // The reason mostly stands in the answer.
            Verdict::Fail(error) => Err(classify::describe(error, &answer, &redactor)),
            Verdict::Open { wait, error } => {
                let error = classify::describe(error, &answer, &redactor);
                out.delivery.leaves_open();
                if !out.repeatable {
                    return Err(error);
                }
                Ok(Step::Wait {
                    wait,
                    rate: false,
                    error,
                })
            }
            Verdict::Unauthorized => {
                if !journey.renewed && self.authenticator.renew(generation).await? {
                    journey.renewed = true;
                    return Ok(Step::Again);
                }
                Err(classify::unauthorized(
                    &answer,
                    &redactor,
                    &self.authenticator.hint(),
                ))
            }
            Verdict::Retry { wait } => {
                let error = classify::exhausted(&answer, &redactor, false);
                if !out.repeatable && answer.status != 425 {
                    return Err(error);
                }
                if let Some(wait) = wait {
                    self.hold(wait).await?;
                }
                Ok(Step::Wait {
                    wait,
                    rate: false,
                    error,
                })
            }
            Verdict::RateLimited { wait } => {
                let wait = wait
                    .or_else(|| self.declared_wait(&answer))
                    .or_else(|| classify::quota_wait(&answer));
                let wait = wait.unwrap_or_else(|| self.backoff(journey.attempt));
                self.hold(wait).await?;
                let error = classify::exhausted(&answer, &redactor, true);
                Ok(Step::Wait {
                    wait: Some(wait),
                    rate: true,
                    error,
                })
            }
        }
    }

    /// Sleeps before the next try, or fails where none is left.
    async fn wait(
        &self,
        journey: &mut Journey,
        wait: Option<Duration>,
        rate: bool,
        error: Error,
    ) -> Result<()> {
        let tries = journey.attempt;
        let successes = self.stats.successes();
        let others_get_through = successes > journey.successes_seen;
        journey.successes_seen = successes;
        if rate && others_get_through && journey.rate_waits < RATE_WAITS_MAX {
            // Waiting in a queue that moves is no failed try.
            journey.rate_waits += 1;
        } else {
            if journey.attempt >= self.patience.attempts {
                return Err(error.with("tries", journey.attempt));
            }
            let stats = self.stats();
            if !rate && !backoff::within_budget(&self.patience, stats.requests, stats.retries) {
                return Err(error
                    .with("tries", journey.attempt)
                    .with("retry budget", "used up"));
            }
            journey.attempt += 1;
        }
        let backoff = self.backoff(journey.attempt.saturating_sub(1));
        let wait = wait.unwrap_or(backoff);
        if !journey.silent.is_zero() {
            if self.is_hung(journey.silent + wait) {
                let silent = format!("{} s", journey.silent.as_secs());
                return Err(error.with("tries", tries).with("no answer for", silent));
            }
            journey.silent += wait;
        }
        tracing::debug!(attempt = journey.attempt, wait_ms = wait.as_millis(), reason = %error, "trying again");
        self.clock.sleep(wait).await;
        Ok(())
    }

    /// Whether a source that was silent so long is to be asked no more. The next try counts half: it may
    /// end a little late, but not twice as late.
    fn is_hung(&self, silent: Duration) -> bool {
        let timeout = self.patience.timeout;
        silent + timeout / 2 > SILENCE_MAX.max(timeout * 2)
    }

    fn backoff(&self, attempt: u32) -> Duration {
        backoff::delay(&self.patience, attempt, self.clock.draw())
    }

    /// Closes the gate for all requests, or fails where the wait is beyond reason.
    async fn hold(&self, wait: Duration) -> Result<()> {
        self.limiter.hold(self.clock.elapsed().saturating_add(wait));
        if let Some(shared) = &self.shared {
            shared.hold(wait).await?;
        }
        if wait > self.patience.longest_wait() {
            Err(self.waits_too_long(wait))
        } else {
            Ok(())
        }
    }

    fn note_quota(&self, answer: &Answer) {
        if let Some(limit) = &self.patience.rate_limit {
            self.limiter
                .observe(quota::declared(answer, limit), self.clock.elapsed());
        }
    }

    fn declared_wait(&self, answer: &Answer) -> Option<Duration> {
        let limit = self.patience.rate_limit.as_ref()?;
        let asked = quota::retry_after(answer);
        asked.or_else(|| quota::declared(answer, limit).reset_in)
    }

    /// Tells of a breaker that opened or closed. That nobody can be told now changes nothing about requests.
    async fn tell(&self, changed: Option<BreakerState>, reason: impl FnOnce() -> String) {
        let (Some(state), Some(shared)) = (changed, &self.shared) else {
            return;
        };
        let is_open = match state {
            BreakerState::Open => true,
            BreakerState::Closed => false,
            BreakerState::HalfOpen => return,
        };
        let for_ms = self.patience.breaker.cooldown.get().as_millis();
        let told = BreakerTold {
            is_open,
            for_ms: u64::try_from(for_ms).unwrap_or(u64::MAX),
            reason: reason(),
        };
        if let Err(error) = shared.tell(told).await {
            tracing::warn!(%error, is_open, "nobody could be told of the circuit breaker");
        }
    }

    /// Heeds what another process found: nothing passes here either, until one request may probe.
    pub(super) fn shut_elsewhere(&self, wait: Duration) -> Error {
        let until = self.clock.elapsed().saturating_add(wait);
        self.breaker().open_until(until);
        // Who awaits a probe that was under way here waits for the new end instead.
        self.probe_ended.notify_waiters();
        before_sending(breaker_open(wait))
    }

    /// Whether the source answered here so lately that others' failures are theirs: of another endpoint, or another input.
    pub(super) fn is_well(&self) -> bool {
        self.breaker().is_well(self.clock.elapsed())
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the breaker, waiting for another request's probe where one is under way.
    async fn admit(&self) -> Result<Pass<'_>, Duration> {
        loop {
            let ended = self.probe_ended.notified();
            tokio::pin!(ended);
            // Listening begins before asking, so that no end of a probe is missed in between.
            ended.as_mut().enable();
            let admission = self.breaker().admit(self.clock.elapsed());
            let probe = match admission {
                Admission::Pass => false,
                Admission::Probe => true,
                Admission::Wait(wait) => return Err(wait),
                Admission::AwaitProbe => {
                    ended.await;
                    continue;
                }
            };
            return Ok(Pass {
                client: self,
                probe,
                is_over: false,
            });
        }
    }
}

/// Leave to send; tells the breaker how it went when dropped, also when the caller gives up.
struct Pass<'a> {
    client: &'a Client,
    probe: bool,
    is_over: bool,
}

impl Pass<'_> {
    /// What became of the breaker, where this changed it.
    fn end(mut self, health: Health) -> Option<BreakerState> {
        self.is_over = true;
        self.report(health)
    }

    fn report(&self, health: Health) -> Option<BreakerState> {
        let now = self.client.clock.elapsed();
        if !self.client.breaker().report(self.probe, health, now) {
            return None;
        }
        self.client.probe_ended.notify_waiters();
        let state = self.client.breaker_state();
        tracing::debug!(?state, "circuit breaker changed");
        Some(state)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.report(Health::Unknown);
        }
    }
}

/// Whether an answer leaves open if the request had its effect: something on the way failed or gave up.
fn tells_nothing(answer: &Answer) -> bool {
    answer.status == 408 || answer.status >= 500
}

fn breaker_open(wait: Duration) -> Error {
    Error::unavailable("the circuit breaker is open: the source failed too often")
        .with("closes for a probe in", format!("{} s", wait.as_secs()))
        .after(wait)
        .hint("look at the vendor's status page; requests go on by themselves once a probe succeeds")
}
