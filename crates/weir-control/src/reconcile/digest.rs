//! One key in 16 bytes, the same whether it comes from a record's text or from a typed column.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// The first 16 bytes of a SHA-256: among a billion keys, two that collide are not to be expected.
pub type Digest = [u8; 16];

/// Which version of a record it is, by its cursor as it is written; 0 where it has none.
pub type Version = u64;

/// A record or row, as far as it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub key: Digest,
    pub version: Version,
}

/// The version that a cursor's raw JSON stands for. A text and its quoted form are the same.
pub fn version(cursor: Option<&[u8]>) -> Version {
    let Some(cursor) = cursor.filter(|raw| *raw != b"null") else {
        return 0;
    };
    let bare = cursor
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(cursor);
    let full = Sha256::digest(bare);
    let first = std::array::from_fn(|index| full[index]);
    u64::from_le_bytes(first).max(1)
}

/// The digest of a key's values in the order of the primary key. Numbers and texts that are written
/// alike are alike, because a lake may hold an id as a number that the source quotes.
pub fn key_digest<'a>(values: impl IntoIterator<Item = &'a Value>) -> Digest {
    let mut hash = Sha256::new();
    for value in values {
        match value {
            Value::String(text) => part(&mut hash, text),
            other => part(&mut hash, &other.to_string()),
        }
    }
    shortened(hash)
}

/// With its length before it, so that ("a", "bc") is not ("ab", "c").
fn part(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

fn shortened(hash: Sha256) -> Digest {
    let full = hash.finalize();
    std::array::from_fn(|index| full[index])
}

/// The digest of a record's key; none where a part of it is absent or null, or the record is no JSON
/// object at all. Only the objects on the key's paths are looked at.
pub(super) fn record_digest(json: &[u8], key: &[String]) -> Option<Digest> {
    let values: Option<Vec<Value>> = key.iter().map(|path| find(json, path)).collect();
    Some(key_digest(&values?))
}

#[derive(Deserialize)]
struct Members<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, &'a RawValue>);

fn find(json: &[u8], path: &str) -> Option<Value> {
    let mut at: &RawValue = serde_json::from_slice(json).ok()?;
    for step in path.split('.') {
        let Members(members) = serde_json::from_str(at.get()).ok()?;
        at = members.get(step).copied()?;
    }
    let value: Value = serde_json::from_str(at.get()).ok()?;
    (!value.is_null()).then_some(value)
}
