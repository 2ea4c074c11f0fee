//! A provider's public keys: fetched seldom, and once more where a token names one that is not known.

use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use tokio::sync::Mutex;
use weir_protocol::{Error, Result};

use super::{KNOWN_FOR, Oidc, odd};

/// A provider has a handful.
const KEYS_MAX: usize = 64;
/// Tokens with made-up keys do not make us ask more often than this.
const ASK_AGAIN: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Keys {
    known: Mutex<Option<Known>>,
}

struct Known {
    at: Duration,
    url: String,
    keys: Vec<Jwk>,
}

impl Keys {
    /// The key that a token names.
    pub(super) async fn find(
        &self,
        provider: &Oidc,
        url: &str,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey> {
        let now = provider.transport.clock().elapsed();
        let mut known = self.known.lock().await;
        let age = |known: &Known| now.saturating_sub(known.at);
        let fresh = known
            .as_ref()
            .filter(|known| known.url == url && age(known) < KNOWN_FOR);
        if let Some(key) = fresh.and_then(|known| choose(&known.keys, kid, algorithm)) {
            return decoding(key);
        }
        if let Some(known) = fresh.filter(|known| age(known) < ASK_AGAIN) {
            return Err(unknown(kid, known.keys.len()));
        }
        let keys = read(url, provider.get(url).await?)?;
        let found = choose(&keys, kid, algorithm).map(decoding);
        let count = keys.len();
        *known = Some(Known {
            at: now,
            url: url.to_owned(),
            keys,
        });
        found.unwrap_or_else(|| Err(unknown(kid, count)))
    }
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
    Error::auth("the ID token is signed by a key that the provider does not name")
        .with("key", kid.unwrap_or("-"))
        .with("keys", count)
        .hint("log in again in a minute: the provider may be changing its keys")
}
