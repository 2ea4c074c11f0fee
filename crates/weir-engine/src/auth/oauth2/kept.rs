//! Signs with the access token that a keeper hands out: one for all processes that use the connection.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use weir_protocol::oauth::AccessTokens;
use weir_protocol::{Result, Secret};

use super::super::{AuthInput, Authenticator, Generation};
use super::sign;
use crate::http::{Clock, Outgoing};

#[derive(Clone)]
struct Held {
    token: Secret,
    generation: u64,
    ask_again_at: Duration,
}

pub(in crate::auth) struct Kept {
    secrets: Vec<Secret>,
    tokens: Arc<dyn AccessTokens>,
    clock: Arc<dyn Clock>,
    held: RwLock<Option<Held>>,
    /// Held while the keeper is asked: the others wait for the same answer.
    asking: Mutex<()>,
    hint: String,
}

impl Kept {
    /// `secrets` are what must not be shown, besides the tokens.
    pub(super) fn new(secrets: Vec<Secret>, tokens: Arc<dyn AccessTokens>, input: &AuthInput<'_>) -> Self {
        Self {
            secrets,
            tokens,
            clock: input.transport.clock().clone(),
            held: RwLock::new(None),
            asking: Mutex::new(()),
            hint: format!(
                "see `weir auth status {0}`; `weir auth login {0}` connects it anew",
                input.connection
            ),
        }
    }

    fn held(&self) -> Option<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn token(&self, refused: Option<u64>) -> Result<Held> {
        let is_good = |held: &Held| {
            self.clock.elapsed() < held.ask_again_at
                && refused.is_none_or(|refused| held.generation > refused)
        };
        if let Some(held) = self.held().filter(is_good) {
            return Ok(held);
        }
        let _asking = self.asking.lock().await;
        let before = self.held();
        if let Some(held) = before.clone().filter(is_good) {
            return Ok(held);
        }
        let old = before.as_ref().filter(|held| refused == Some(held.generation));
        let fresh = self.tokens.token(old.map(|held| &held.token)).await?;
        let held = Held {
            token: fresh.token,
            generation: before.map_or(1, |held| held.generation + 1),
            ask_again_at: fresh
                .use_for
                .map_or(Duration::MAX, |long| self.clock.elapsed().saturating_add(long)),
        };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held.clone());
        Ok(held)
    }
}

#[async_trait]
impl Authenticator for Kept {
    async fn sign(&self, out: &mut Outgoing) -> Result<Generation> {
        let held = self.token(None).await?;
        sign(out, &held.token);
        Ok(Generation(held.generation))
    }

    async fn renew(&self, refused: Generation) -> Result<bool> {
        self.token(Some(refused.0)).await.map(|_| true)
    }

    fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.secrets.clone();
        secrets.extend(self.held().map(|held| held.token));
        secrets
    }

    fn hint(&self) -> String {
        self.hint.clone()
    }
}
