//! What a stream's `pii` rules do to a value: a keyed digest in its place, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use simd_json::{Node, StaticNode};
use weir_protocol::spec::Pii;
use weir_protocol::{Error, Result};

use super::tape::{Parsed, Parser};

/// The rules as a tree of field names. A list is passed through: a rule speaks of each element.
#[derive(Debug, Clone, Default)]
pub(crate) struct PiiRules {
    pub(crate) action: Option<Pii>,
    below: BTreeMap<String, Self>,
}

impl PiiRules {
    pub(crate) fn new(paths: &BTreeMap<String, Pii>) -> Self {
        let mut root = Self::default();
        for (path, action) in paths {
            let mut rules = &mut root;
            for field in split_path(path) {
                rules = rules.below.entry(field).or_default();
            }
            rules.action = Some(*action);
        }
        root
    }

    pub(crate) fn field(&self, key: &str) -> Option<&Self> {
        self.below.get(key)
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.below.iter().map(|(key, rules)| (key.as_str(), rules))
    }

    /// What happens to the field at a path: the rule on it or on one of its ancestors.
    pub(crate) fn action_at(&self, path: &[String]) -> Option<Pii> {
        let mut rules = self;
        for field in path {
            rules = rules.field(field)?;
            if rules.action.is_some() {
                return rules.action;
            }
        }
        None
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.action.is_none() && self.below.is_empty()
    }
}

/// The fields of a written path: `user.email`, `contacts[].email`.
pub(crate) fn split_path(path: &str) -> Vec<String> {
    path.split('.')
        .map(|field| field.trim_end_matches("[]").to_owned())
        .collect()
}

/// HMAC-SHA-256 under the project's key: equal values stay equal, and nobody without the key can
/// try values.
#[derive(Clone)]
pub(crate) struct Hasher(Arc<Hmac<Sha256>>);

impl Hasher {
    pub(crate) fn new(key: &[u8]) -> Result<Self> {
        let mac = Hmac::new_from_slice(key).map_err(|error| {
            Error::internal("the key for personal data cannot be used")
                .caused_by(error.to_string())
                .hint("set a pii key of at least 16 bytes")
        })?;
        Ok(Self(Arc::new(mac)))
    }

    /// The digest in hexadecimal.
    pub(crate) fn hash(&self, value: &[u8], out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut mac = Hmac::clone(&self.0);
        mac.update(value);
        for byte in mac.finalize().into_bytes() {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend([HEX[high], HEX[low]]);
        }
    }

    /// Hashes a value by its text: a string's characters, anything else's JSON.
    pub(crate) fn hash_node(&self, at: usize, record: &mut Parsed<'_>, out: &mut Vec<u8>) {
        match record.nodes.get(at) {
            Some(Node::String(text)) => self.hash(text.as_bytes(), out),
            _ => self.hash(record.text(at).as_bytes(), out),
        }
    }
}

/// Writes a value's JSON text with the rules applied to everything below it.
pub(crate) fn write_json(
    at: usize,
    record: &mut Parsed<'_>,
    rules: Option<&PiiRules>,
    hasher: &Hasher,
    out: &mut Vec<u8>,
) {
    let Some(rules) = rules.filter(|rules| !rules.is_empty()) else {
        out.extend_from_slice(record.text(at).as_bytes());
        return;
    };
    let is_null = matches!(record.nodes.get(at), None | Some(Node::Static(StaticNode::Null)));
    match (rules.action, record.nodes.get(at)) {
        (Some(Pii::Drop), _) => out.extend_from_slice(b"null"),
        (Some(Pii::Hash), _) if !is_null => {
            out.push(b'"');
            hasher.hash_node(at, record, out);
            out.push(b'"');
        }
        (None, Some(Node::Array { .. })) => {
            out.push(b'[');
            for (index, item) in record.elements(at).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(item, record, Some(rules), hasher, out);
            }
            out.push(b']');
        }
        (None, Some(Node::Object { .. })) => write_object(at, record, rules, hasher, out),
        _ => out.extend_from_slice(record.text(at).as_bytes()),
    }
}

fn write_object(at: usize, record: &mut Parsed<'_>, rules: &PiiRules, hasher: &Hasher, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (key, value) in record.members(at) {
        let below = rules.field(key);
        if below.is_some_and(|rules| rules.action == Some(Pii::Drop)) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        // A key's node stands right before its value's.
        out.extend_from_slice(record.text(value - 1).as_bytes());
        out.push(b':');
        write_json(value, record, below, hasher, out);
    }
    out.push(b'}');
}

/// Takes the fields that a stream drops as personal data out of records before Bronze and
/// quarantine store them. (Hashed fields stay there: Silver can be rebuilt only from their values.)
pub struct Redactor {
    rules: PiiRules,
    hasher: Hasher,
    parser: Parser,
}

impl Redactor {
    /// None where nothing is dropped.
    pub fn new(paths: &BTreeMap<String, Pii>) -> Result<Option<Self>> {
        let dropped: BTreeMap<String, Pii> = paths
            .iter()
            .filter(|(_, action)| **action == Pii::Drop)
            .map(|(path, action)| (path.clone(), *action))
            .collect();
        if dropped.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            rules: PiiRules::new(&dropped),
            // Never used: no rule hashes.
            hasher: Hasher::new(&[])?,
            parser: Parser::new(),
        }))
    }

    /// The record without its dropped fields. What is not JSON has no fields and stays as it is.
    pub fn record(&mut self, raw: Bytes) -> Bytes {
        let mut out = Vec::with_capacity(raw.len());
        let (rules, hasher) = (&self.rules, &self.hasher);
        let parsed = self.parser.parse(&raw, |record| {
            write_json(0, record, Some(rules), hasher, &mut out);
        });
        match parsed {
            Ok(()) => Bytes::from(out),
            Err(_) => raw,
        }
    }

    /// Whether the field at a path is dropped.
    pub fn drops(&self, path: &str) -> bool {
        self.rules.action_at(&split_path(path)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_reach_into_json_text() {
        let paths = BTreeMap::from([
            ("user.email".to_owned(), Pii::Hash),
            ("user.contacts[].phone".to_owned(), Pii::Drop),
        ]);
        let rules = PiiRules::new(&paths);
        let hasher = Hasher::new(b"key").unwrap();
        let raw = br#"{"user":{"email":"a@b","n":1.0,"contacts":[{"phone":"1","x":2},{"phone":null}]}}"#;
        let mut out = Vec::new();
        Parser::new()
            .parse(raw, |record| {
                write_json(0, record, Some(&rules), &hasher, &mut out);
            })
            .unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"{"user":{"email":"85a0be1cfa9b2af7882b9c6c1803347119e1704cf5ed16026d62e149b531bb4b","n":1.0,"contacts":[{"x":2},{}]}}"#);
    }

    #[test]
    fn a_rule_covers_what_lies_below() {
        let rules = PiiRules::new(&BTreeMap::from([("user".to_owned(), Pii::Drop)]));
        assert_eq!(rules.action_at(&split_path("user.email")), Some(Pii::Drop));
        assert_eq!(rules.action_at(&split_path("id")), None);
    }
}
