//! Follows a chain record by record and says where it breaks. Knows neither store nor file.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, ErrorKind, Result};

use super::canonical::{hash, quoted};
use super::key::{SealKey, is_signed};

/// What the first record names as its predecessor's hash.
pub(super) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a signature stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealKind {
    /// The chain reached this record.
    Head,
    /// The records up to this one were removed, being old enough.
    Anchor,
}

impl SealKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Anchor => "anchor",
        }
    }
}

/// A signed place in a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub tenant: String,
    pub kind: SealKind,
    pub number: i64,
    pub hash: String,
    pub at_ms: i64,
    pub public_key: String,
    pub signature: String,
}

impl Seal {
    pub(super) fn new(
        kind: SealKind,
        (tenant, number, hash): (&str, i64, &str),
        at_ms: i64,
        key: &SealKey,
    ) -> Self {
        let mut seal = Self {
            tenant: tenant.to_owned(),
            kind,
            number,
            hash: hash.to_owned(),
            at_ms,
            public_key: key.public(),
            signature: String::new(),
        };
        seal.signature = key.sign(seal.bytes().as_bytes());
        seal
    }

    /// What is signed.
    fn bytes(&self) -> String {
        format!(
            "{{\"at_ms\":{},\"hash\":{},\"kind\":\"{}\",\"number\":{},\"tenant\":{},\"weir_audit\":1}}",
            self.at_ms,
            quoted(self.hash.as_str()),
            self.kind.as_str(),
            self.number,
            quoted(self.tenant.as_str())
        )
    }
}

/// One record as the chain sees it.
#[derive(Debug)]
pub(super) struct Link<'a> {
    pub(super) tenant: &'a str,
    pub(super) number: i64,
    /// The canonical JSON.
    pub(super) bytes: &'a [u8],
    pub(super) previous: &'a str,
    pub(super) hash: &'a str,
    pub(super) personal_hash: Option<&'a str>,
    /// What names people, and its salt, until it is erased.
    pub(super) personal: Option<(&'a str, &'a str)>,
}

/// The first place at which a chain is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Broken {
    pub number: i64,
    pub why: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "record {}: {}", self.number, self.why)
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Self::new(ErrorKind::Gate, "the audit trail was changed")
            .with("record", broken.number)
            .with("reason", broken.why)
            .hint(
                "keep the store as it is, compare it with the newest export or backup, and find out who could write to it",
            )
    }
}

/// What a chain that holds was found to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Verified {
    /// Records that were read.
    pub records: u64,
    /// The last of them, and its hash: to be noted elsewhere and compared later.
    pub number: i64,
    pub hash: String,
    /// The first that is kept.
    pub first: i64,
    /// The newest signed head; records after it are not signed yet.
    pub sealed: i64,
    /// Records whose personal part was erased.
    pub erased: u64,
}

pub(super) struct Chain<'a> {
    tenant: &'a str,
    /// Who may sign.
    keys: &'a [String],
    /// A place that somebody noted elsewhere.
    noted: Option<(i64, &'a str)>,
    found: Verified,
}

pub(super) type Step = std::result::Result<(), Broken>;

impl<'a> Chain<'a> {
    pub(super) fn new(tenant: &'a str, keys: &'a [String], noted: Option<(i64, &'a str)>) -> Self {
        Self {
            tenant,
            keys,
            noted,
            found: Verified {
                hash: BEGINNING.to_owned(),
                first: 1,
                ..Verified::default()
            },
        }
    }

    fn signed(&self, seal: &Seal) -> Step {
        let broken = |why| {
            Err(Broken {
                number: seal.number,
                why,
            })
        };
        if seal.tenant != self.tenant {
            return broken("a signature of another tenant stands here");
        }
        if !self.keys.contains(&seal.public_key) {
            return broken("it is signed by a key that is not the expected one");
        }
        if !is_signed(&seal.public_key, seal.bytes().as_bytes(), &seal.signature) {
            return broken("the signature is wrong");
        }
        Ok(())
    }

    /// Where a chain begins whose oldest records were removed.
    pub(super) fn anchor(&mut self, seal: &Seal) -> Step {
        self.signed(seal)?;
        if seal.kind != SealKind::Anchor {
            return Err(Broken {
                number: seal.number,
                why: "the chain begins after a signature that does not say so",
            });
        }
        self.found.number = seal.number;
        self.found.hash.clone_from(&seal.hash);
        self.found.first = seal.number + 1;
        self.found.sealed = seal.number;
        Ok(())
    }

    pub(super) fn record(&mut self, link: &Link<'_>) -> Step {
        let expected = self.found.number + 1;
        let broken = |why| {
            Err(Broken {
                number: expected,
                why,
            })
        };
        if link.number > expected {
            return broken("it is gone");
        }
        if link.number < expected {
            return Err(Broken {
                number: link.number,
                why: "it stands twice or in the wrong place",
            });
        }
        if link.tenant != self.tenant {
            return broken("it belongs to another tenant");
        }
        if hash(link.bytes) != link.hash {
            return broken("it was changed: its hash is another");
        }
        if link.previous != self.found.hash {
            return broken("it does not follow the record before it");
        }
        match (link.personal_hash, link.personal) {
            (None, None) => {}
            (Some(_), None) => self.found.erased += 1,
            (Some(said), Some((personal, salt))) if personal_hash(personal, salt) == said => {}
            (_, Some(_)) => return broken("its personal part was changed"),
        }
        if self
            .noted
            .is_some_and(|(number, hash)| number == expected && hash != link.hash)
        {
            return broken("it is not the one that was noted");
        }
        self.found.number = expected;
        link.hash.clone_into(&mut self.found.hash);
        self.found.records += 1;
        Ok(())
    }

    /// A signed head, right after the record that it names.
    pub(super) fn head(&mut self, seal: &Seal) -> Step {
        self.signed(seal)?;
        let broken = |why| {
            Err(Broken {
                number: seal.number,
                why,
            })
        };
        if seal.kind != SealKind::Head || seal.number != self.found.number {
            return broken("the signed head does not stand after its record");
        }
        if seal.hash != self.found.hash {
            return broken("another record was signed: from here on or before, the chain was written anew");
        }
        self.found.sealed = seal.number;
        Ok(())
    }

    /// The end, which may not lie before a head that was signed or noted.
    pub(super) fn end(self, newest_seal: Option<&Seal>) -> std::result::Result<Verified, Broken> {
        let gone = |why| {
            Err(Broken {
                number: self.found.number + 1,
                why,
            })
        };
        if let Some(seal) = newest_seal
            && seal.number > self.found.number
        {
            self.signed(seal)?;
            return gone("it is gone, with all up to the newest signed head");
        }
        if self.noted.is_some_and(|(number, _)| number > self.found.number) {
            return gone("it is gone, with all up to the one that was noted");
        }
        Ok(self.found)
    }

    pub(super) fn last(&self) -> (i64, &str) {
        (self.found.number, &self.found.hash)
    }
}

pub(super) fn personal_hash(personal: &str, salt: &str) -> String {
    hash(format!("{salt}{personal}").as_bytes())
}

/// Reads `NUMBER:HASH`, as a head is noted elsewhere.
pub fn noted_head(text: &str) -> Result<(i64, String)> {
    let read = text.split_once(':').and_then(|(number, hash)| {
        let number = number.parse().ok()?;
        (hash.len() == BEGINNING.len()).then(|| (number, hash.to_owned()))
    });
    read.ok_or_else(|| {
        Error::usage(format!("'{text}' is no head of an audit trail"))
            .hint("write NUMBER:HASH, as `weir audit verify` prints it")
    })
}
