//! Calls: actions that somebody asks for at an outside system. Each is written down before anything is sent,
//! and its outcome with its closing audit record in one transaction. What happened to a request whose answer
//! was lost is never guessed: the call is uncertain until the vendor or a person tells.

mod ask;
mod carry;
mod desk;
mod keep;
pub(crate) mod rules;
mod settle;
pub(crate) mod sql;
mod take_back;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_protocol::action::{Actions, Shown};
use weir_protocol::spec::{ActionSpec, Approval, Effect};
use weir_protocol::{Error, Result};

use crate::approvals::Rule;
use crate::principals::{Access, Permission};
use crate::runs::Failure;
use crate::store::{Scope, stored_badly};
use crate::{Owner, Store};

pub(crate) use ask::PAST_MAX;
pub use ask::note_refusal;
pub(crate) use carry::told;
pub use desk::Desk;
pub use keep::{KEPT_DEFAULT, KEPT_MIN, erase, keep};
pub use settle::{Found, settle};
pub use take_back::take_back;

/// Calls are listed so many at once at most.
const LIST_MAX: u32 = 500;

/// Who knows the actions of connections.
#[async_trait]
pub trait Vendors: Send + Sync {
    /// A connection's actions, with its files and its credential as they are now.
    async fn actions(&self, tenant: &str, connection: &str) -> Result<std::sync::Arc<dyn Actions>>;

    /// What all connections offer. Needs no credential.
    async fn offers(&self, tenant: &str) -> Result<Vec<Offer>>;

    /// Which calls wait for people.
    async fn rules(&self, tenant: &str) -> Result<Vec<Rule>>;
}

/// An action that a connection offers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Offer {
    pub connection: String,
    pub connector: String,
    pub version: String,
    pub action: String,
    pub title: String,
    pub description: Option<String>,
    pub effect: Effect,
    /// Without the rules of the project.
    pub approval: Approval,
    /// JSON Schema.
    pub input: Value,
    /// JSON Schema.
    pub output: Option<Value>,
}

impl Offer {
    pub fn new(
        connection: &str,
        (connector, version): (&str, &str),
        default: Approval,
        spec: &ActionSpec,
    ) -> Self {
        Self {
            connection: connection.to_owned(),
            connector: connector.to_owned(),
            version: version.to_owned(),
            action: spec.name.clone(),
            title: spec.title.clone(),
            description: spec.description.clone(),
            effect: spec.effect,
            approval: spec.approval(default),
            input: spec.input.clone(),
            output: spec.output_schema.clone(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// For an approval.
    Waiting,
    /// Approved, and about to begin.
    Ready,
    Running,
    Done,
    /// It surely had no effect.
    Failed,
    /// It may have had its effect.
    Uncertain,
    /// Not approved: nothing was sent.
    Refused,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Ready,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Uncertain,
        Self::Refused,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Uncertain => "uncertain",
            Self::Refused => "refused",
        }
    }

    /// Whether nobody but a person or the vendor can change it any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Uncertain | Self::Refused)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| stored_badly("status of a call", text, "unknown word"))
    }
}

/// A call as it stands. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Call {
    pub id: String,
    pub tenant: String,
    pub connection: String,
    pub connector: String,
    /// Of the connector.
    pub version: String,
    pub action: String,
    pub effect: Effect,
    /// Who asked for it.
    pub principal: String,
    #[serde(skip)]
    pub(crate) token: Option<String>,
    /// The caller's.
    pub idempotency_key: Option<String>,
    /// The run of the bundle whose step it is.
    pub correlation_id: Option<String>,
    #[serde(skip)]
    pub(crate) asked_digest: String,
    /// Of the connector and the connection's settings when it was asked for; none of calls of older versions.
    #[serde(skip)]
    pub(crate) fingerprint: Option<String>,
    pub input: Map<String, Value>,
    /// SHA-256 of all that an approval is bound to.
    pub digest: String,
    pub status: Status,
    #[serde(skip)]
    pub(crate) term: i64,
    pub created_at_ms: i64,
    pub began_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
    pub output: Option<Value>,
    /// The vendor's id of what was made or changed.
    pub remote_id: Option<String>,
    /// HTTP status of the vendor's answer.
    pub http_status: Option<u16>,
    /// Why it did not end well; of one that is done, what of its output is not as the action declares.
    pub error: Option<Failure>,
    /// Who found out what became of it.
    pub settled_by: Option<String>,
    pub settled_reason: Option<String>,
    /// When input, output and idempotency key were erased, as they had been kept for long enough.
    pub erased_at_ms: Option<i64>,
}

/// A call that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub connection: String,
    pub action: String,
    /// As the action's input schema says.
    #[serde(default)]
    pub input: Map<String, Value>,
}

/// What a call would do, without doing it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DryRun {
    pub connection: String,
    pub action: String,
    pub effect: Effect,
    /// Whether people would be asked first, as rules and calls before stand now.
    pub approval: Approval,
    /// Names of the rules that say so; empty where the connector does.
    pub rules: Vec<String>,
    /// The input with the schema's defaults.
    pub input: Map<String, Value>,
    /// Without credential.
    pub request: Shown,
}

/// What came of asking for a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub call: Call,
    /// It was asked for before, under the same key.
    pub is_replay: bool,
}

/// Which calls to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    pub principal: Option<String>,
    pub connection: Option<String>,
    pub status: Option<Status>,
    /// Only calls older than this one.
    pub before: Option<String>,
    pub limit: u32,
}

/// A process that has a call.
#[derive(Debug)]
pub(crate) struct Held {
    owner: Owner,
    expired: bool,
}

impl Held {
    fn is_stale(&self) -> bool {
        self.expired || self.owner.is_dead()
    }
}

/// How a call ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    status: Status,
    output: Option<Value>,
    remote_id: Option<String>,
    http_status: Option<u16>,
    error: Option<Failure>,
    gives_key_back: bool,
}

/// Whether somebody sees calls of others: whoever decides on them or audits.
fn sees_all(access: &Access) -> bool {
    access.permissions.contains(&Permission::ApprovalsWrite)
        || access.permissions.contains(&Permission::AuditRead)
}

/// The newest first; of others only for who may see them.
pub async fn list(store: &Store, access: &Access, filter: &CallFilter) -> Result<Vec<Call>> {
    let mut filter = filter.clone();
    filter.limit = filter.limit.min(LIST_MAX);
    if !sees_all(access) {
        filter.principal = Some(access.principal.clone());
    }
    let (tenant, filter) = (access.tenant.as_str(), &filter);
    store
        .read(Scope::Tenant(tenant), "list calls", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant, filter).await?) })
        })
        .await
}

/// A call of one's own, or of anybody for who may see them.
pub async fn get(store: &Store, access: &Access, id: &str) -> Result<Call> {
    let found = find(store, &access.tenant, id).await?;
    found
        .filter(|call| sees_all(access) || call.principal == access.principal)
        .ok_or_else(|| rules::no_such_call(id))
}

pub(crate) async fn find(store: &Store, tenant: &str, id: &str) -> Result<Option<Call>> {
    store
        .read(Scope::Tenant(tenant), "read the call", |db, _| {
            Box::pin(async move { Ok(sql::get(db, tenant, id).await?) })
        })
        .await
}
