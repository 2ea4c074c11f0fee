//! What is noted, and what is read back.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;
use weir_protocol::{Error, Result};

use super::canonical::quoted;

/// Who acts: what each record names as its principal.
#[derive(Debug, Clone, PartialEq)]
pub struct Acting {
    /// A name that is nobody's own: `system`, `cli`, the id of a token.
    pub principal: String,
    /// What names a person or their machine. Kept apart, so that it can be erased.
    pub personal: Map<String, Value>,
    /// The request that this is done for.
    pub correlation_id: Option<String>,
}

impl Acting {
    pub fn new(principal: impl Into<String>) -> Self {
        Self {
            principal: principal.into(),
            personal: Map::new(),
            correlation_id: None,
        }
    }
}

impl Default for Acting {
    fn default() -> Self {
        Self::new("system")
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Done,
    /// It was asked for and not allowed.
    Refused,
    Failed,
    /// Nothing here can tell whether it was done.
    Uncertain,
}

impl Ending {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Uncertain => "uncertain",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One thing that was done, as it is to be noted. Make it outside of a transaction that may be tried
/// again: its id tells that it was noted already.
#[derive(Debug, Clone)]
pub struct Record {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) action: &'static str,
    pub(super) subject: String,
    pub(super) ending: Ending,
    pub(super) correlation_id: Option<String>,
    pub(super) details: Map<String, Value>,
    /// What names a person, besides what the acting says.
    pub(super) personal: Map<String, Value>,
}

impl Record {
    /// `action` as in `secret.read`, `subject` as in `secret:github_token`.
    pub fn new(tenant: &str, action: &'static str, subject: impl Into<String>) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            tenant: tenant.to_owned(),
            action,
            subject: subject.into(),
            ending: Ending::Done,
            correlation_id: None,
            details: Map::new(),
            personal: Map::new(),
        }
    }

    #[must_use]
    pub fn ended(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// The run that it belongs to.
    #[must_use]
    pub fn of(mut self, correlation_id: &str) -> Self {
        self.correlation_id = Some(correlation_id.to_owned());
        self
    }

    /// Names a value: a text, a whole number, or what is made of them. Never a secret, never what names a person.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// Names a value that may name a person. Kept apart, so that it can be erased.
    #[must_use]
    pub fn with_personal(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.personal.insert(key.to_owned(), value.into());
        self
    }
}

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, sqlx::FromRow)]
pub struct Entry {
    pub number: i64,
    #[serde(skip)]
    pub(super) tenant: String,
    pub id: String,
    pub at_ms: i64,
    pub principal: String,
    pub action: String,
    pub subject: String,
    pub outcome: String,
    pub correlation_id: Option<String>,
    /// Canonical JSON.
    pub details: String,
    #[serde(skip)]
    pub(super) personal_hash: Option<String>,
    #[serde(skip)]
    pub(super) previous: String,
    pub hash: String,
    /// Canonical JSON; none where there was none or it was erased.
    pub personal: Option<String>,
    #[serde(skip)]
    pub(super) salt: Option<String>,
}

impl Entry {
    /// The canonical JSON, whose SHA-256 is the record's hash.
    pub(super) fn canonical(&self) -> String {
        // Keys in order; `details` is canonical already, and where somebody changed it, the hash tells.
        format!(
            "{{\"action\":{},\"at_ms\":{},\"correlation_id\":{},\"details\":{},\"id\":{},\"number\":{},\
             \"outcome\":{},\"personal_hash\":{},\"previous\":{},\"principal\":{},\"subject\":{},\
             \"tenant\":{},\"weir_audit\":1}}",
            quoted(self.action.as_str()),
            self.at_ms,
            quoted(self.correlation_id.as_deref()),
            self.details,
            quoted(self.id.as_str()),
            self.number,
            quoted(self.outcome.as_str()),
            quoted(self.personal_hash.as_deref()),
            quoted(self.previous.as_str()),
            quoted(self.principal.as_str()),
            quoted(self.subject.as_str()),
            quoted(self.tenant.as_str()),
        )
    }
}

/// Which records are listed.
#[derive(Debug, Clone, Default)]
pub struct EntryFilter {
    pub since_ms: Option<i64>,
    /// Only records with smaller numbers.
    pub before: Option<i64>,
    /// As records name it, a token's id, or the name of whoever acted, unless it was erased.
    pub principal: Option<String>,
    pub action: Option<String>,
    pub subject: Option<String>,
    pub limit: u32,
}

/// A day or a moment, in milliseconds since 1970.
pub fn moment(text: &str) -> Result<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let day = text.parse::<Date>().ok();
    let at = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    at.map(|at| at.timestamp().as_millisecond()).ok_or_else(|| {
        Error::usage(format!(
            "'{text}' is no day or moment, such as 2026-01-31 or 2026-01-31T12:00:00Z"
        ))
        .hint("write it in one of these forms")
    })
}
