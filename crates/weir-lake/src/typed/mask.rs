//! A record as Silver will show it, as far as personal data goes: for looking at records that are
//! not stored.

use std::collections::BTreeMap;

use weir_protocol::Result;
use weir_protocol::spec::Pii;

use super::pii::{Hasher, PiiRules, write_json};
use super::tape::Parser;

/// Applies a stream's `pii` rules to JSON text.
pub struct Mask {
    rules: PiiRules,
    hasher: Hasher,
    parser: Parser,
}

impl Mask {
    /// None where the stream has no rule. `key` is the one that the lake hashes with.
    pub fn new(paths: &BTreeMap<String, Pii>, key: &[u8]) -> Result<Option<Self>> {
        if paths.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            rules: PiiRules::new(paths),
            hasher: Hasher::new(key)?,
            parser: Parser::new(),
        }))
    }

    /// The record with hashed fields hashed and dropped ones absent; none where it cannot be read
    /// as JSON, so that nobody can say which part of it is personal.
    pub fn record(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(raw.len());
        let (rules, hasher) = (&self.rules, &self.hasher);
        let parsed = self.parser.parse(raw, |record| {
            write_json(0, record, Some(rules), hasher, &mut out);
        });
        parsed.is_ok().then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_drops_and_shows_nothing_it_cannot_read() {
        let paths = BTreeMap::from([
            ("email".to_owned(), Pii::Hash),
            ("user.phone".to_owned(), Pii::Drop),
        ]);
        let mut mask = Mask::new(&paths, b"key").unwrap().unwrap();
        let shown = mask
            .record(br#"{"email":"a@b","user":{"phone":"1","n":2}}"#)
            .unwrap();
        insta::assert_snapshot!(String::from_utf8(shown).unwrap(), @r#"{"email":"85a0be1cfa9b2af7882b9c6c1803347119e1704cf5ed16026d62e149b531bb4b","user":{"n":2}}"#);
        assert_eq!(mask.record(br#"{"email":"a@b""#), None);
        assert!(Mask::new(&BTreeMap::new(), b"key").unwrap().is_none());
    }
}
