//! A sensitive value. It cannot be printed; reading it is an explicit act.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::ZeroizeOnDrop;

/// What stands in the place of a secret wherever text is shown.
pub const REDACTED: &str = "[redacted]";

/// One stored sensitive value. No `Display`, a redacted `Debug`, a redacted serialisation, and its
/// memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Deserialize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Hands out the value for use in a request. Never log, store or return what this gives.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// Where stored secrets come from.
#[async_trait]
pub trait SecretProvider: fmt::Debug + Send + Sync {
    /// The value that the provider knows by this name. One that it does not know is `NotFound`, an
    /// empty one does not exist; no error holds a value.
    async fn read(&self, name: &str) -> crate::Result<Secret>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_nothing() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), REDACTED);
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
        assert_eq!(secret.expose(), "hunter2");
    }
}
