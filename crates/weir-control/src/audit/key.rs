//! The key that signs the ends of chains: Ed25519.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_protocol::{Error, Result, Secret};
use zeroize::Zeroizing;

const SEED_BYTES: usize = 32;

/// Signs heads. Whoever has it could write a chain anew.
pub struct SealKey {
    pair: Ed25519KeyPair,
}

impl SealKey {
    /// Reads 32 bytes in base64.
    pub fn parse(text: &Secret) -> Result<Self> {
        let seed = STANDARD.decode(text.expose().trim()).map(Zeroizing::new).ok();
        let seed = seed.filter(|seed| seed.len() == SEED_BYTES).ok_or_else(|| {
            Error::spec("the audit key is not 32 bytes in base64").hint(
                "restore the key file from a backup; `head -c 32 /dev/urandom | base64` makes a new one",
            )
        })?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| {
            Error::spec("the audit key is no Ed25519 seed").hint("restore the key file from a backup")
        })?;
        Ok(Self { pair })
    }

    /// A new key, as [`Self::parse`] reads it.
    pub fn generate() -> Result<Secret> {
        let mut seed = Zeroizing::new([0_u8; SEED_BYTES]);
        random(&mut *seed)?;
        Ok(Secret::new(STANDARD.encode(*seed)))
    }

    /// The half that anybody may have, in base64.
    pub fn public(&self) -> String {
        STANDARD.encode(self.pair.public_key().as_ref())
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(bytes).as_ref())
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SealKey({})", self.public())
    }
}

/// Whether the key made the signature; both in base64.
pub(super) fn is_signed(public_key: &str, bytes: &[u8], signature: &str) -> bool {
    let (Ok(key), Ok(signature)) = (STANDARD.decode(public_key), STANDARD.decode(signature)) else {
        return false;
    };
    UnparsedPublicKey::new(&ED25519, key)
        .verify(bytes, &signature)
        .is_ok()
}

/// Fills a buffer with random bytes of the kernel. The library for signatures has a source of its own, which
/// measures for a tenth of a second how the processor's time varies before it gives the first byte.
pub(crate) fn random(buffer: &mut [u8]) -> Result<()> {
    getrandom::fill(buffer).map_err(|error| {
        Error::internal("the system gives no random bytes")
            .hint("check that the kernel's random source may be read, then run again")
            .caused_by(error)
    })
}
