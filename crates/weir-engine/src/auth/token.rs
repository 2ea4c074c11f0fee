//! Tokens that are fetched, kept until shortly before they expire, and fetched once for all who wait.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use weir_protocol::oauth::{AccessToken, AccessTokens};
use weir_protocol::{Error, ErrorKind, Result, Secret};

use super::{Authenticator, Generation};
use crate::http::{Clock, Outgoing};

/// A token is replaced this long before its end, or a tenth of its life where that is less.
const EARLY_MAX: Duration = Duration::from_secs(60);
/// How long a refusal stands before the vendor is asked again.
const REFUSED_FOR: Duration = Duration::from_secs(60);

pub(super) struct Fresh {
    pub(super) token: Secret,
    /// None: until it is refused.
    pub(super) lifetime: Option<Duration>,
}

/// Where tokens come from and how they sign.
#[async_trait]
pub(super) trait TokenSource: Send + Sync {
    async fn fetch(&self) -> Result<Fresh>;
    fn apply(&self, out: &mut Outgoing, token: &Secret) -> Result<()>;
    fn secrets(&self) -> Vec<Secret>;
    fn hint(&self) -> String;
}

#[derive(Clone)]
struct Held {
    token: Secret,
    generation: u64,
    replace_at: Duration,
    ends_at: Duration,
}

/// A refusal as it is told to all who ask for a while.
struct Refusal {
    at: Duration,
    message: String,
    hint: String,
}

pub(super) struct TokenAuth<S> {
    source: S,
    clock: Arc<dyn Clock>,
    held: RwLock<Option<Held>>,
    /// Held while a token is fetched: the others wait for it instead of asking as well.
    fetching: Mutex<Option<Refusal>>,
}

impl<S: TokenSource> TokenAuth<S> {
    pub(super) fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            held: RwLock::new(None),
            fetching: Mutex::new(None),
        }
    }

    fn held(&self) -> Option<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token newer than `older_than`, fetched where there is none.
    async fn token(&self, older_than: Option<u64>) -> Result<Held> {
        let good = |held: &Held| {
            self.clock.elapsed() < held.replace_at && older_than.is_none_or(|old| held.generation > old)
        };
        if let Some(held) = self.held().filter(good) {
            return Ok(held);
        }
        let mut refusal = self.fetching.lock().await;
        let held = self.held();
        if let Some(held) = held.clone().filter(good) {
            return Ok(held);
        }
        let now = self.clock.elapsed();
        if let Some(refusal) = refusal
            .as_ref()
            .filter(|refusal| now.saturating_sub(refusal.at) < REFUSED_FOR)
        {
            return Err(Error::auth(refusal.message.clone()).hint(refusal.hint.clone()));
        }
        match self.source.fetch().await {
            Ok(fresh) => {
                *refusal = None;
                Ok(self.keep(fresh, held.map_or(1, |held| held.generation + 1)))
            }
            Err(error) => {
                if error.kind() == ErrorKind::Auth {
                    let hint = error.next_step().unwrap_or_default().to_owned();
                    *refusal = Some(Refusal {
                        at: now,
                        message: error.to_string(),
                        hint,
                    });
                }
                // Replacing early leaves time in which a failure to do so is no harm.
                let still = held
                    .filter(|held| older_than.is_none() && error.kind().is_transient() && now < held.ends_at);
                still.ok_or(error)
            }
        }
    }

    fn keep(&self, fresh: Fresh, generation: u64) -> Held {
        let now = self.clock.elapsed();
        let lifetime = fresh.lifetime.unwrap_or(Duration::MAX);
        let early = (lifetime / 10).min(EARLY_MAX);
        let held = Held {
            token: fresh.token,
            generation,
            replace_at: now.saturating_add(lifetime.saturating_sub(early)),
            ends_at: now.saturating_add(lifetime),
        };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held.clone());
        held
    }
}

/// For others who sign with the tokens, and have not what they are made from.
#[async_trait]
impl<S: TokenSource> AccessTokens for TokenAuth<S> {
    async fn token(&self, refused: Option<&Secret>) -> Result<AccessToken> {
        let old = self.held().filter(|held| refused == Some(&held.token));
        let held = Self::token(self, old.map(|held| held.generation)).await?;
        let left = held.replace_at.saturating_sub(self.clock.elapsed());
        Ok(AccessToken {
            token: held.token,
            use_for: (held.replace_at < Duration::MAX).then_some(left),
        })
    }
}

#[async_trait]
impl<S: TokenSource> Authenticator for TokenAuth<S> {
    async fn sign(&self, out: &mut Outgoing) -> Result<Generation> {
        let held = Self::token(self, None).await?;
        self.source.apply(out, &held.token)?;
        Ok(Generation(held.generation))
    }

    async fn renew(&self, refused: Generation) -> Result<bool> {
        Self::token(self, Some(refused.0)).await.map(|_| true)
    }

    fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.source.secrets();
        secrets.extend(self.held().map(|held| held.token));
        secrets
    }

    fn hint(&self) -> String {
        self.source.hint()
    }
}
