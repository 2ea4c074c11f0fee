//! A provider's public keys: fetched seldom, and once more where a token names one that is not known.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use tokio::sync::Mutex;
use weir_protocol::{Error, ErrorKind, Result};

use super::{KNOWN_FOR, Oidc, odd};

/// A provider has a handful.
const KEYS_MAX: usize = 64;
/// Tokens with made-up keys do not make us ask more often than this.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// A provider that did not answer is left alone for so long.
const LET_ALONE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Keys {
    known: RwLock<Option<Known>>,
    /// When the provider was asked last. Held while it is asked: who shows a key that is known waits for nobody.
    asked: Mutex<Option<Duration>>,
}

struct Known {
    at: Duration,
    keys: Vec<Jwk>,
}

impl Keys {
    /// The key that a token names.
    pub(super) async fn find(
        &self,
        provider: &Oidc,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey> {
        if let Ok(key) = self.known(provider, kid, algorithm) {
            return decoding(&key);
        }
        // Whoever goes away while the provider is asked does not end the asking: it may not be asked again soon.
        let (own, kid) = (provider.clone(), kid.map(ToOwned::to_owned));
        let asking = tokio::spawn(async move { own.keys.ask(&own, kid.as_deref(), algorithm).await });
        asking.await.map_err(|error| {
            Error::internal("the reading of the provider's keys broke off")
                .caused_by(error)
                .hint("report it")
        })?
    }

    /// The same, of the provider, unless it was asked a moment ago.
    async fn ask(&self, provider: &Oidc, kid: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey> {
        let mut asked = self.asked.lock().await;
        // Somebody else may have asked meanwhile.
        let count = match self.known(provider, kid, algorithm) {
            Ok(key) => return decoding(&key),
            Err(count) => count,
        };
        let now = provider.transport.clock().elapsed();
        let ago = asked.map(|at| now.saturating_sub(at));
        match (ago, count) {
            (Some(ago), Some(count)) if ago < ASK_AGAIN => return Err(unknown(kid, count)),
            (Some(ago), None) if ago < LET_ALONE => return Err(silent()),
            _ => {}
        }
        *asked = Some(now);
        let fetched = fetch(provider).await;
        // However long that took.
        let at = provider.transport.clock().elapsed();
        *asked = Some(at);
        let keys = fetched?;
        let found = choose(&keys, kid, algorithm).map(decoding);
        let count = keys.len();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Known { at, keys });
        found.unwrap_or_else(|| Err(unknown(kid, count)))
    }

    /// Without asking anybody. Else how many keys are known; None where none are, or for too long.
    fn known(&self, provider: &Oidc, kid: Option<&str>, algorithm: Algorithm) -> Result<Jwk, Option<usize>> {
        let now = provider.transport.clock().elapsed();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known
            .as_ref()
            .filter(|known| now.saturating_sub(known.at) < KNOWN_FOR)
        else {
            return Err(None);
        };
        choose(&known.keys, kid, algorithm)
            .cloned()
            .ok_or(Some(known.keys.len()))
    }
}

async fn fetch(provider: &Oidc) -> Result<Vec<Jwk>> {
    let url = provider.metadata().await?.jwks_uri;
    read(&url, provider.get(&url).await?)
}

/// Keys of kinds that are not known here are left out: a provider may have them for others.
fn read(url: &str, value: Value) -> Result<Vec<Jwk>> {
    let Some(keys) = value.get("keys").and_then(Value::as_array) else {
        return Err(odd(url, "its key set has no keys"));
    };
    if keys.len() > KEYS_MAX {
        return Err(odd(url, "its key set is too large").with("keys", keys.len()));
    }
    let known = keys
        .iter()
        .filter_map(|key| serde_json::from_value(key.clone()).ok());
    Ok(known.collect())
}

/// By its name; where the token names none, the only one that fits.
fn choose<'a>(keys: &'a [Jwk], kid: Option<&str>, algorithm: Algorithm) -> Option<&'a Jwk> {
    let fits = |key: &&Jwk| {
        let common = &key.common;
        let signs = common
            .public_key_use
            .as_ref()
            .is_none_or(|used| *used == PublicKeyUse::Signature);
        let named = common
            .key_algorithm
            .is_none_or(|named| format!("{named:?}") == format!("{algorithm:?}"));
        signs && named
    };
    let mut fitting = keys.iter().filter(fits);
    match kid {
        Some(kid) => fitting.find(|key| key.common.key_id.as_deref() == Some(kid)),
        None => {
            let only = fitting.next()?;
            fitting.next().is_none().then_some(only)
        }
    }
}

fn decoding(key: &Jwk) -> Result<DecodingKey> {
    DecodingKey::from_jwk(key).map_err(|error| {
        Error::auth("the provider's key cannot be used")
            .caused_by(error)
            .hint("look at the provider's key set")
    })
}

fn unknown(kid: Option<&str>, count: usize) -> Error {
    Error::auth("the token is signed by a key that the provider does not name")
        .with("key", kid.unwrap_or("-"))
        .with("keys", count)
        .hint("get a new one in a minute: the provider may be changing its keys")
}

fn silent() -> Error {
    let message = "the identity provider's keys could not be read a moment ago";
    Error::new(ErrorKind::Unavailable, message)
        .hint("try again in a moment; look whether the provider answers")
}
