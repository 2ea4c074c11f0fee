//! The master key, and how secrets are encrypted under it: AES-256-GCM, with a data key of its own
//! for each version of a secret.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use weir_protocol::{Error, Result, Secret};
use zeroize::Zeroizing;

use crate::audit::random;

const KEY_BYTES: usize = 32;
/// Random bytes have about 30 different values among 32; fewer than these are no accident.
const DIFFERENT_MIN: usize = 16;

type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// Encrypts the data keys of all secrets.
pub struct MasterKey {
    bytes: KeyBytes,
    id: String,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "MasterKey({})", self.id)
    }
}

impl MasterKey {
    /// Reads 32 bytes in base64. Keys that somebody made up are refused.
    pub fn parse(text: &Secret) -> Result<Self> {
        let refuse = |why: &str| {
            Err(Error::spec(format!("the master key {why}")).hint(
                "make one with `head -c 32 /dev/urandom | base64`, or give the one that the secrets were stored with",
            ))
        };
        let Ok(decoded) = STANDARD.decode(text.expose().trim()).map(Zeroizing::new) else {
            return refuse("is not base64");
        };
        let Ok(bytes) = <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).map(Zeroizing::new) else {
            return refuse(&format!("has {} bytes instead of {KEY_BYTES}", decoded.len()));
        };
        if is_made_up(&bytes) {
            return refuse("is no random one: anybody could guess it");
        }
        let mut hash = Sha256::new();
        hash.update(b"weir master key\0");
        hash.update(*bytes);
        let id = hash
            .finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self { bytes, id })
    }

    /// A new key, as [`Self::parse`] reads it.
    pub fn generate() -> Result<Secret> {
        let key = new_key()?;
        Ok(Secret::new(STANDARD.encode(*key)))
    }

    /// Tells keys apart; says nothing of the key itself.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Repetitions, sequences and text: what keys in examples look like.
fn is_made_up(bytes: &[u8; KEY_BYTES]) -> bool {
    let mut different = Zeroizing::new(bytes.to_vec());
    different.sort_unstable();
    different.dedup();
    let is_few = different.len() < DIFFERENT_MIN;
    let is_text = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    let mut steps = Zeroizing::new(pairs.map(|(a, b)| b.wrapping_sub(*a)).collect::<Vec<u8>>());
    steps.dedup();
    let is_sequence = steps.len() < KEY_BYTES / 4;
    is_few || is_text || is_sequence
}

/// The key that encrypts, and the one before it until nothing needs it any more.
#[derive(Debug)]
pub struct MasterKeys {
    pub current: MasterKey,
    pub old: Option<MasterKey>,
}

impl MasterKeys {
    pub(super) fn get(&self, id: &str) -> Option<&MasterKey> {
        std::iter::once(&self.current)
            .chain(&self.old)
            .find(|key| key.id == id)
    }
}

/// What a ciphertext belongs to: it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) tenant: &'a str,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) version: i64,
}

impl Place<'_> {
    /// Unambiguous: texts are quoted.
    fn bytes(&self, what: &str) -> Vec<u8> {
        serde_json::json!(["weir", 1, what, self.tenant, self.id, self.name, self.version])
            .to_string()
            .into_bytes()
    }
}

/// An encrypted value with its wrapped key, both in base64.
pub(super) struct Sealed {
    pub(super) wrapped_key: String,
    pub(super) ciphertext: String,
}

pub(super) fn encrypt(master: &MasterKey, place: Place<'_>, value: &Secret) -> Result<Sealed> {
    let data_key = new_key()?;
    Ok(Sealed {
        wrapped_key: wrap(master, place, &data_key)?,
        ciphertext: seal(&data_key, &place.bytes("value"), value.expose().as_bytes())?,
    })
}

pub(super) fn decrypt(
    master: &MasterKey,
    place: Place<'_>,
    wrapped_key: &str,
    ciphertext: &str,
) -> Result<Secret> {
    let data_key = unwrap(master, place, wrapped_key)?;
    let value = open(&data_key, &place.bytes("value"), ciphertext).ok_or_else(|| damaged(place))?;
    let text = std::str::from_utf8(&value).map_err(|_| damaged(place))?;
    Ok(Secret::new(text))
}

/// The same data key under another master key.
pub(super) fn rewrap(
    from: &MasterKey,
    to: &MasterKey,
    place: Place<'_>,
    wrapped_key: &str,
) -> Result<String> {
    let data_key = unwrap(from, place, wrapped_key)?;
    wrap(to, place, &data_key)
}

fn wrap(master: &MasterKey, place: Place<'_>, data_key: &KeyBytes) -> Result<String> {
    seal(&master.bytes, &place.bytes(&master.id), data_key.as_slice())
}

fn unwrap(master: &MasterKey, place: Place<'_>, wrapped_key: &str) -> Result<KeyBytes> {
    let bytes = open(&master.bytes, &place.bytes(&master.id), wrapped_key);
    let key = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok());
    key.map(Zeroizing::new).ok_or_else(|| damaged(place))
}

fn damaged(place: Place<'_>) -> Error {
    Error::state(format!("the stored secret '{}' cannot be decrypted", place.name))
        .with("version", place.version)
        .hint(
            "it was changed in the store, or moved there from elsewhere: set it anew with `weir secret set`",
        )
}

fn new_key() -> Result<KeyBytes> {
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    random(key.as_mut_slice())?;
    Ok(key)
}

fn cipher(key: &[u8; KEY_BYTES]) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key);
    key.map(LessSafeKey::new)
        .map_err(|_| Error::internal("the cipher refuses its key").hint("report it"))
}

/// Nonce, ciphertext and tag. A key encrypts one value, or wraps far fewer than random nonces bear.
fn seal(key: &[u8; KEY_BYTES], context: &[u8], plain: &[u8]) -> Result<String> {
    let mut nonce = [0_u8; NONCE_LEN];
    random(&mut nonce)?;
    let mut buffer = Zeroizing::new(plain.to_vec());
    let tag = cipher(key)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut buffer,
        )
        .map_err(|_| Error::internal("the value cannot be encrypted").hint("report it"))?;
    let mut whole = nonce.to_vec();
    whole.extend_from_slice(&buffer);
    whole.extend_from_slice(tag.as_ref());
    Ok(STANDARD.encode(whole))
}

fn open(key: &[u8; KEY_BYTES], context: &[u8], sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
    let whole = STANDARD.decode(sealed).ok()?;
    let (nonce, rest) = whole.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = Zeroizing::new(rest.to_vec());
    let length = cipher(key)
        .ok()?
        .open_in_place(nonce, Aad::from(context), &mut buffer)
        .ok()?
        .len();
    buffer.truncate(length);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place {
        tenant: "default",
        id: "1",
        name: "token",
        version: 1,
    };

    fn key() -> MasterKey {
        MasterKey::parse(&MasterKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn what_is_encrypted_opens_in_its_place_alone() {
        let master = key();
        let sealed = encrypt(&master, PLACE, &Secret::new("hunter2 ✓")).unwrap();
        let read = |master: &MasterKey, place, sealed: &Sealed| {
            decrypt(master, place, &sealed.wrapped_key, &sealed.ciphertext)
        };
        assert_eq!(read(&master, PLACE, &sealed).unwrap().expose(), "hunter2 ✓");
        for place in [
            Place {
                tenant: "other",
                ..PLACE
            },
            Place { id: "2", ..PLACE },
            Place {
                name: "other",
                ..PLACE
            },
            Place { version: 2, ..PLACE },
        ] {
            read(&master, place, &sealed).unwrap_err();
        }
        read(&key(), PLACE, &sealed).unwrap_err();
        // The same value never looks the same.
        let again = encrypt(&master, PLACE, &Secret::new("hunter2 ✓")).unwrap();
        assert_ne!(
            (&sealed.wrapped_key, &sealed.ciphertext),
            (&again.wrapped_key, &again.ciphertext)
        );
        // Keys of one and ciphertext of another do not go together.
        let mixed = Sealed {
            wrapped_key: again.wrapped_key,
            ciphertext: sealed.ciphertext.clone(),
        };
        read(&master, PLACE, &mixed).unwrap_err();
        for odd in ["", "AAAA", "not base64 at all", &sealed.wrapped_key] {
            let odd = Sealed {
                wrapped_key: sealed.wrapped_key.clone(),
                ciphertext: odd.to_owned(),
            };
            let error = read(&master, PLACE, &odd).unwrap_err();
            assert!(error.next_step().is_some());
        }
        let next = key();
        let wrapped_key = rewrap(&master, &next, PLACE, &sealed.wrapped_key).unwrap();
        let moved = Sealed {
            wrapped_key,
            ciphertext: sealed.ciphertext,
        };
        assert_eq!(read(&next, PLACE, &moved).unwrap().expose(), "hunter2 ✓");
        read(&master, PLACE, &moved).unwrap_err();
    }

    #[test]
    fn keys_that_somebody_made_up_are_refused() {
        let parse = |bytes: &[u8]| MasterKey::parse(&Secret::new(STANDARD.encode(bytes)));
        let counted: Vec<u8> = (0..32).collect();
        let stepped: Vec<u8> = (0..32).map(|n: u8| n.wrapping_mul(7)).collect();
        for bytes in [
            &[0; 32][..],
            &[0; 16],
            &counted,
            &stepped,
            b"correct horse battery staple 123",
            b"change-me-change-me-change-me-00",
            &[1, 2, 3, 4].repeat(8),
        ] {
            let error = parse(bytes).unwrap_err();
            assert!(error.next_step().unwrap().contains("urandom"), "{bytes:?}");
        }
        MasterKey::parse(&Secret::new("")).unwrap_err();
        MasterKey::parse(&Secret::new("change me")).unwrap_err();
        for _ in 0..1000 {
            key();
        }
        let text = MasterKey::generate().unwrap();
        let key = MasterKey::parse(&text).unwrap();
        assert!(!format!("{key:?}").contains(text.expose()));
        assert_eq!(key.id().len(), 16);
    }
}
