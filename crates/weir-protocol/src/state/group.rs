//! Slices that share a cursor, named in few bytes.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Finished slices of a stream that has too many to keep the cursor of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliceGroup {
    /// Cursor value up to which each of them is known to be complete, as the source wrote it.
    pub cursor: Value,
    pub slices: SliceSet,
}

/// Which slices are meant, by digests of their keys: eight characters each, in ascending order, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SliceSet(String);

/// Of a slice's key, as a [`SliceSet`] has it: 48 bits of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceDigest([u8; DIGEST_CHARS]);

const DIGEST_CHARS: usize = 8;

impl SliceDigest {
    pub fn of(slice: &str) -> Self {
        let digest = Sha256::digest(slice.as_bytes());
        let mut chars = [0; DIGEST_CHARS];
        for (triple, quad) in digest.chunks_exact(3).zip(chars.chunks_exact_mut(4)) {
            let bits = triple.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte));
            for (place, char) in quad.iter_mut().rev().enumerate() {
                *char = DIGITS[(bits >> (6 * place)) & 63];
            }
        }
        Self(chars)
    }
}

/// In ascending order, so that digests and their texts compare alike.
const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

impl FromIterator<SliceDigest> for SliceSet {
    fn from_iter<I: IntoIterator<Item = SliceDigest>>(digests: I) -> Self {
        let mut digests: Vec<SliceDigest> = digests.into_iter().collect();
        digests.sort_unstable();
        digests.dedup();
        let chars = digests.iter().flat_map(|digest| digest.0);
        Self(chars.map(char::from).collect())
    }
}

impl SliceSet {
    pub fn iter(&self) -> impl Iterator<Item = SliceDigest> {
        self.digests().iter().map(|digest| SliceDigest(*digest))
    }

    pub fn contains(&self, slice: &SliceDigest) -> bool {
        self.digests().binary_search(&slice.0).is_ok()
    }

    pub fn len(&self) -> usize {
        self.digests().len()
    }

    pub fn is_empty(&self) -> bool {
        self.digests().is_empty()
    }

    fn digests(&self) -> &[[u8; DIGEST_CHARS]] {
        self.0.as_bytes().as_chunks().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_its_slices_and_no_others() {
        let digests =
            |range: std::ops::Range<u32>| range.map(|id| SliceDigest::of(&format!("{{\"id\":{id}}}")));
        let set: SliceSet = digests(0..5_000).chain(digests(0..10)).collect();
        assert_eq!(set.len(), 5_000);
        assert!(digests(0..5_000).all(|digest| set.contains(&digest)));
        assert!(!digests(5_000..50_000).any(|digest| set.contains(&digest)));
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(json.len(), 5_000 * DIGEST_CHARS + 2);
        let read: SliceSet = serde_json::from_str(&json).unwrap();
        assert_eq!(read, set);
        assert_eq!(read.iter().collect::<SliceSet>(), set);
    }

    #[test]
    fn digests_stay_as_they_are() {
        let set: SliceSet = ["", "{\"id\":1}"].map(SliceDigest::of).into_iter().collect();
        assert_eq!(serde_json::to_string(&set).unwrap(), "\"-rmH4Dvrsv23FdYw\"");
    }
}
