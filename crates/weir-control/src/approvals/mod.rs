//! What people decide about calls that wait. An approval is bound to exactly one call as it was asked for,
//! lets it be made once, and is void once anything that it is bound to has changed.

mod decide;
mod rules;
mod sql;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use weir_protocol::action::Shown;
use weir_protocol::{Error, Result};

use crate::Store;
use crate::audit;
use crate::calls::{self, Call};
use crate::events::{self, Event, Family};
use crate::principals::{Access, Permission};
use crate::runs::Failure;
use crate::store::{Outcome, Scope, stored_badly};

pub use decide::{decide, review};
pub(crate) use rules::{Asked, Decided, Past, asks_past, decide as judge, is_shut, version};
pub use rules::{Condition, Rule, check};

const LIST_MAX: u32 = 500;

macro_rules! words {
    ($what:literal, $(#[$doc:meta])* $type:ident { $($(#[$one:meta])* $name:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $type {
            $($(#[$one])* $name,)*
        }

        impl $type {
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($word => Ok(Self::$name),)*
                    _ => Err(stored_badly($what, text, "unknown word")),
                }
            }
        }
    };
}

pub(crate) use words;

words! {
    "status of an approval",
    /// How an approval stands.
    Status {
        Pending = "pending",
        /// Its call may be made, once.
        Approved = "approved",
        Rejected = "rejected",
        /// Nobody decided in time, which is a no.
        Expired = "expired",
        /// Its call was made.
        Used = "used",
        /// What it was bound to changed before its call was made.
        Void = "void",
    }
}

words! {
    "verdict",
    /// What somebody says to a call.
    Verdict {
        Approve = "approve",
        Reject = "reject",
    }
}

/// What one person said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Vote {
    pub principal: String,
    pub verdict: Verdict,
    pub reason: Option<String>,
    pub at_ms: i64,
}

/// An approval as it stands, with its call. Its id is the call's.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Approval {
    pub id: String,
    pub status: Status,
    pub call: Call,
    /// The request as it will be sent, without credential.
    pub request: Shown,
    /// Different people that have to approve.
    pub needed: u32,
    /// Lists of principals, groups and roles; who decides is in each of them.
    pub deciders: Vec<Vec<String>>,
    /// Names of the rules that ask for it; empty where the connector does.
    pub rules: Vec<String>,
    pub allows_break_glass: bool,
    pub votes: Vec<Vote>,
    pub expires_at_ms: i64,
    pub created_at_ms: i64,
    pub decided_at_ms: Option<i64>,
    /// Who approved it alone, in an emergency.
    pub glass_broken_by: Option<String>,
    /// Who looked at that afterwards, and what they found.
    pub reviewed_by: Option<String>,
    pub review: Option<String>,
}

/// What somebody decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    pub verdict: Verdict,
    #[serde(default)]
    pub reason: Option<String>,
    /// Approve alone, in an emergency: `reason` says which, and somebody else looks at it later.
    #[serde(default)]
    pub break_glass: bool,
    /// The call's digest as it was shown; another one refuses the decision.
    #[serde(default)]
    pub digest: Option<String>,
}

/// Which approvals to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    pub status: Option<Status>,
    /// Only those whose glass was broken and that nobody looked at.
    pub to_review: bool,
    pub before: Option<String>,
    pub limit: u32,
    /// Of calls that this one asked for.
    pub principal: Option<String>,
}

/// The newest first; of calls of others only for who may see them.
pub async fn list(store: &Store, access: &Access, filter: &ApprovalFilter) -> Result<Vec<Approval>> {
    let mut filter = filter.clone();
    filter.limit = filter.limit.min(LIST_MAX);
    let permissions = &access.permissions;
    if !permissions.contains(&Permission::ApprovalsWrite) && !permissions.contains(&Permission::AuditRead) {
        filter.principal = Some(access.principal.clone());
    }
    let (tenant, filter) = (access.tenant.as_str(), &filter);
    store
        .read(Scope::Tenant(tenant), "list approvals", |db, _| {
            Box::pin(async move {
                let mut all = Vec::new();
                for stored in sql::list(db, tenant, filter).await? {
                    all.extend(whole(db, tenant, stored).await?);
                }
                Ok(all)
            })
        })
        .await
}

/// Of a call of one's own, or of anybody's for who may see them.
pub async fn get(store: &Store, access: &Access, id: &str) -> Result<Approval> {
    // Who may see the call may see its approval.
    calls::get(store, access, id)
        .await
        .map_err(|_| no_such_approval(id))?;
    let tenant = access.tenant.as_str();
    let found = store
        .read(Scope::Tenant(tenant), "read the approval", |db, _| {
            Box::pin(async move {
                match sql::get(db, tenant, id).await? {
                    Some(stored) => whole(db, tenant, stored).await,
                    None => Ok(None),
                }
            })
        })
        .await?;
    found.ok_or_else(|| no_such_approval(id))
}

async fn whole(db: &mut AnyConnection, tenant: &str, stored: sql::Stored) -> Outcome<Option<Approval>> {
    let Some(call) = calls::sql::get(db, tenant, &stored.call).await? else {
        return Ok(None);
    };
    let votes = sql::votes(db, &stored.call).await?;
    Ok(Some(Approval {
        id: stored.call,
        status: stored.status,
        call,
        request: stored.request,
        needed: stored.needed,
        deciders: stored.deciders,
        rules: stored.rules,
        allows_break_glass: stored.allows_break_glass,
        votes,
        expires_at_ms: stored.expires_at_ms,
        created_at_ms: stored.created_at_ms,
        decided_at_ms: stored.decided_at_ms,
        glass_broken_by: stored.glass_broken_by,
        reviewed_by: stored.reviewed_by,
        review: stored.review,
    }))
}

fn no_such_approval(id: &str) -> Error {
    Error::not_found(format!("there is no approval '{id}'"))
        .hint("`weir approval list` shows those there are")
}

/// What approvers are told. Made outside of the transaction that may be tried again.
pub(crate) fn requested(call: &Call) -> Event {
    event(call, Family::ApprovalRequested)
}

fn event(call: &Call, family: Family) -> Event {
    Event::new(&call.tenant, family, format!("call:{}", call.id))
        .of(call.correlation_id.as_deref().unwrap_or(&call.id))
        .with("call", call.id.as_str())
        .with("connection", call.connection.as_str())
        .with("action", call.action.as_str())
        .with("effect", call.effect.as_str())
}

/// Writes down that a call waits, in the transaction in which it is asked for.
pub(crate) async fn open_in(
    db: &mut AnyConnection,
    call: &Call,
    decided: &Decided,
    request: &Shown,
    requested: &Event,
) -> Outcome<()> {
    sql::insert(db, (&call.tenant, &call.id), decided, request).await?;
    let expires = i64::try_from(decided.expires.as_secs()).unwrap_or(i64::MAX);
    let event = requested
        .clone()
        .with("needed", decided.needed)
        .with("rules", decided.rules.clone())
        .with("expires_in_s", expires);
    events::append_in(db, &event).await?;
    Ok(())
}

/// An approval lets its call be made once. Fails where it was used or taken back before.
pub(crate) async fn use_in(db: &mut AnyConnection, call: &str) -> Outcome<()> {
    if sql::set(db, call, (Status::Approved, Status::Used), None).await? {
        return Ok(());
    }
    Err(Error::denied("the approval was used, or does not stand any more")
        .with("call", call)
        .hint("ask for the call again")
        .into())
}

/// Ends a call whose approval no longer fits it: nothing is sent.
pub(crate) async fn void(store: &Store, call: &Call, why: &Error) -> Result<()> {
    end(store, call, Status::Void, why).await
}

/// Ends the approval of a call that its caller does not want any more.
pub(crate) async fn take_back(store: &Store, call: &Call, why: &Error) -> Result<()> {
    end(store, call, Status::Void, why).await
}

/// Rejects what nobody decided in time, and what was approved and could not be made in time.
pub(crate) async fn expire(store: &Store, tenant: &str) -> Result<()> {
    let expired = store
        .read(
            Scope::Tenant(tenant),
            "look for approvals that expired",
            |db, _| Box::pin(async move { Ok(sql::expired(db, tenant).await?) }),
        )
        .await?;
    for id in expired {
        if let Some(call) = calls::find(store, tenant, &id).await? {
            end(store, &call, Status::Expired, &too_late()).await?;
        }
    }
    Ok(())
}

fn too_late() -> Error {
    Error::denied("nobody decided about it in time").hint("ask for it again, and tell who decides")
}

async fn end(store: &Store, call: &Call, status: Status, why: &Error) -> Result<()> {
    let acting = store.acting();
    let record = &decide::noted(call, "approval.end")
        .ended(audit::Ending::Refused)
        .with("status", status.as_str())
        .with("reason", why.message());
    let told = &event(call, Family::ApprovalDecided).with("status", status.as_str());
    let ended = &calls::told(call, calls::Status::Refused);
    let failure = &Failure::from(why);
    store
        .write(Scope::Tenant(&call.tenant), "end the approval", |db, _| {
            Box::pin(async move {
                let from_pending = sql::set(db, &call.id, (Status::Pending, status), None).await?;
                if !from_pending && !sql::set(db, &call.id, (Status::Approved, status), None).await? {
                    return Ok(());
                }
                calls::sql::leave_waiting(db, &call.id, calls::Status::Refused, Some(failure)).await?;
                events::append_in(db, told).await?;
                events::append_in(db, ended).await?;
                audit::append_in(db, acting, record).await
            })
        })
        .await
}
