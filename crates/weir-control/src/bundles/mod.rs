//! Bundles: several calls as one. What takes a step back is written down before the step is sent; where a later one
//! fails, what is done is taken back in reverse order. A run goes on wherever its process dies, and where nobody but a
//! person can tell or mend something it is parked, with the reason.

mod ask;
mod desk;
mod drive;
mod keep;
mod moves;
mod people;
pub(crate) mod rules;
mod sql;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_protocol::bundle::{Bundle, CompensationSpec, Recipe};
use weir_protocol::spec::Effect;
use weir_protocol::{Error, Result};

use crate::Store;
use crate::approvals::words;
use crate::calls::Call;
use crate::principals::{Access, Permission};
use crate::store::{Scope, stored_badly};

pub use crate::runs::Failure;
pub use desk::Desk;
pub(crate) use keep::erase;
pub use people::Settled;
pub(crate) use sql::link_in;

/// Runs are listed so many at once at most.
const LIST_MAX: u32 = 200;

/// Who knows a tenant's bundles.
#[async_trait]
pub trait Recipes: Send + Sync {
    /// Those that can be used as they are now.
    async fn all(&self, tenant: &str) -> Result<Vec<Arc<dyn Recipe>>>;

    /// The one of this name; an error says what is wrong with it.
    async fn get(&self, tenant: &str, bundle: &str) -> Result<Arc<dyn Recipe>>;

    /// One as a run keeps it.
    fn compile(&self, bundle: Bundle) -> Result<Arc<dyn Recipe>>;
}

/// A bundle that may be asked for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Offer {
    pub bundle: String,
    pub title: String,
    pub description: Option<String>,
    /// The gravest of its steps'.
    pub effect: Effect,
    /// The first step that nothing takes back: once it is done, the run goes forward only.
    pub pivot: Option<String>,
    /// JSON Schema.
    pub input: Value,
    pub steps: Vec<OfferedStep>,
}

/// A step of a bundle that may be asked for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct OfferedStep {
    pub name: String,
    pub connection: String,
    pub action: String,
    pub effect: Effect,
    /// What takes it back; none where there is nothing to take back.
    pub compensation: Option<CompensationSpec>,
}

impl Offer {
    pub fn new(bundle: &Bundle) -> Self {
        let steps = bundle.spec.steps.iter().zip(&bundle.effects);
        Self {
            bundle: bundle.spec.bundle.clone(),
            title: bundle.spec.title.clone(),
            description: bundle.spec.description.clone(),
            effect: bundle.effect(),
            pivot: bundle.pivot().map(|step| step.name.clone()),
            input: bundle.spec.input.clone(),
            steps: steps
                .map(|(step, effect)| OfferedStep {
                    name: step.name.clone(),
                    connection: step.connection.clone(),
                    action: step.action.clone(),
                    effect: *effect,
                    compensation: step.compensation.clone(),
                })
                .collect(),
        }
    }
}

words! {
    "status of a bundle's run",
    /// How a run of a bundle stands.
    Status {
        /// It goes forward.
        Running = "running",
        /// It takes back what is done.
        Compensating = "compensating",
        /// A person has to do something: `parked_for` says why.
        Parked = "parked",
        /// All its effects are there.
        Done = "done",
        /// None of its effects is there.
        Failed = "failed",
        /// What was done was taken back.
        Compensated = "compensated",
    }
}

impl Status {
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Compensating,
        Self::Parked,
        Self::Done,
        Self::Failed,
        Self::Compensated,
    ];

    /// Whether nothing changes it any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Compensated)
    }
}

words! {
    "status of a bundle's step",
    /// How a step of a run stands.
    StepStatus {
        Planned = "planned",
        /// What takes it back is written down; nothing was sent.
        Registered = "registered",
        /// It has a call, which may be under way, wait for people, or be uncertain.
        Sent = "sent",
        Done = "done",
        /// Its condition was false.
        Skipped = "skipped",
        /// It surely had no effect.
        Failed = "failed",
        /// Its effect was taken back.
        Undone = "undone",
        /// Nothing takes it back, and a person let it stay.
        Kept = "kept",
        /// A person said what became of it.
        Settled = "settled",
    }
}

words! {
    "reason of a parked run",
    /// Why a person has to do something.
    Parked {
        /// Nobody knows whether a call happened: find out, then settle it.
        Uncertain = "uncertain",
        /// A step cannot be taken back: mend it and retry, or take it back by hand and settle it.
        Compensation = "compensation",
        /// A step failed behind one that nothing takes back: mend it and retry, or settle it to take back what can be.
        Pivot = "pivot",
    }
}

/// A run of a bundle as it stands. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Run {
    /// Also the `correlation_id` of its calls, audit records and events.
    pub id: String,
    pub tenant: String,
    pub bundle: String,
    /// The gravest of its steps'.
    pub effect: Effect,
    /// Who asked for it.
    pub principal: String,
    pub idempotency_key: Option<String>,
    pub input: Map<String, Value>,
    pub status: Status,
    pub parked_for: Option<Parked>,
    pub parked_step: Option<String>,
    /// What keeps it from going on.
    pub parked_error: Option<Failure>,
    /// Id of the call whose end it waits for: an approval, or an outcome that is looked up.
    pub waits_for: Option<String>,
    pub cancelled_by: Option<String>,
    pub steps: Vec<Step>,
    pub output: Option<Value>,
    /// Why it turned back.
    pub error: Option<Failure>,
    pub created_at_ms: i64,
    pub finished_at_ms: Option<i64>,
    /// When input, output and idempotency key were erased, as they had been kept for long enough.
    pub erased_at_ms: Option<i64>,
    #[serde(skip)]
    pub(crate) kept: Kept,
}

/// What only this module knows of a run.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    asked_digest: String,
    /// The bundle as it was asked for.
    description: Bundle,
    caller: Access,
    via: String,
    is_back: bool,
    may_leave: bool,
    term: i64,
    is_held: bool,
    retried_by: Option<Access>,
    /// By id.
    calls: BTreeMap<String, Call>,
}

/// Two runs are the same where what is told of them is.
impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.term == other.term
    }
}

impl Run {
    /// What keeps it from going on, or why it turned back.
    pub fn failure(&self) -> Option<&Failure> {
        self.parked_error.as_ref().or(self.error.as_ref())
    }
}

/// A step of a run as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Step {
    pub name: String,
    pub connection: String,
    pub action: String,
    pub effect: Effect,
    pub status: StepStatus,
    /// Id of its call.
    pub call: Option<String>,
    /// How often it was tried before.
    pub attempt: u32,
    /// What takes it back, as it was written down before anything was sent.
    pub compensation: Option<CompensationSpec>,
    /// Id of the call that takes it back.
    pub compensation_call: Option<String>,
    /// How often it was tried to take it back before.
    pub compensation_attempt: u32,
    pub error: Option<Failure>,
    /// Who said what became of it.
    pub settled_by: Option<String>,
    pub settled_reason: Option<String>,
    #[serde(skip)]
    pub(crate) input: Option<Map<String, Value>>,
}

/// A bundle that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub bundle: String,
    /// As the bundle's input schema says.
    #[serde(default)]
    pub input: Map<String, Value>,
}

/// What came of asking for a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub run: Run,
    /// It was asked for before, under the same key.
    pub is_replay: bool,
}

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    pub principal: Option<String>,
    pub bundle: Option<String>,
    pub status: Option<Status>,
    /// Only runs older than this one.
    pub before: Option<String>,
    pub limit: u32,
}

/// The step of a run that a call is, and the process that has the run.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) tenant: String,
    pub(crate) run: String,
    pub(crate) term: i64,
    pub(crate) step: String,
    /// Whether the call takes the step back.
    pub(crate) takes_back: bool,
}

/// Whether somebody sees runs of others: whoever decides on calls or audits.
fn sees_all(access: &Access) -> bool {
    access.permissions.contains(&Permission::ApprovalsWrite)
        || access.permissions.contains(&Permission::AuditRead)
}

/// The newest first; of others only for who may see them.
pub async fn list(store: &Store, access: &Access, filter: &RunFilter) -> Result<Vec<Run>> {
    let mut filter = filter.clone();
    filter.limit = filter.limit.min(LIST_MAX + 1);
    if !sees_all(access) {
        filter.principal = Some(access.principal.clone());
    }
    let (tenant, filter) = (access.tenant.as_str(), &filter);
    store
        .read(Scope::Tenant(tenant), "list runs of bundles", |db, _| {
            Box::pin(async move {
                let mut runs = Vec::new();
                for id in sql::list(db, tenant, filter).await? {
                    runs.extend(sql::get(db, tenant, &id).await?);
                }
                Ok(runs)
            })
        })
        .await
}

/// A run of one's own, or of anybody for who may see them.
pub async fn get(store: &Store, access: &Access, id: &str) -> Result<Run> {
    let found = find(store, &access.tenant, id).await?;
    found
        .filter(|run| sees_all(access) || run.principal == access.principal)
        .ok_or_else(|| no_such_run(id))
}

pub(crate) async fn find(store: &Store, tenant: &str, id: &str) -> Result<Option<Run>> {
    store
        .read(Scope::Tenant(tenant), "read the bundle's run", |db, _| {
            Box::pin(async move { Ok(sql::get(db, tenant, id).await?) })
        })
        .await
}

fn no_such_run(id: &str) -> Error {
    Error::not_found(format!("there is no run '{id}' of a bundle"))
        .hint("`weir bundle runs` shows those there are")
}
