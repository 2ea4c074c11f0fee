//! What a person found out about a call that was uncertain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, ErrorKind, Result};

use super::ask::noted;
use super::carry::told;
use super::{Call, Status, rules, sql};
use crate::Store;
use crate::audit;
use crate::events;
use crate::principals::{Access, Kind, Permission, may};
use crate::runs::Failure;
use crate::store::Scope;

const REASON_LENGTH_MAX: usize = 2000;

/// Whether it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// The effect is there.
    pub happened: bool,
    /// Where it was looked up, and by what it is known.
    pub reason: String,
    /// The vendor's id of what was made or changed.
    #[serde(default)]
    pub remote_id: Option<String>,
}

/// Ends an uncertain call by what somebody found out at the vendor.
pub async fn settle(store: &Store, access: &Access, id: &str, found: &Found) -> Result<Call> {
    may(access, Permission::ApprovalsWrite)?;
    if access.kind == Kind::Agent {
        return Err(Error::denied("an agent cannot settle a call")
            .with("principal", &access.principal)
            .hint("ask a person with the role approver"));
    }
    let reason = found.reason.trim();
    if reason.is_empty() || reason.len() > REASON_LENGTH_MAX {
        return Err(Error::usage("what was found out is not said").hint(format!(
            "say in 1 to {REASON_LENGTH_MAX} bytes where you looked and what you saw"
        )));
    }
    let (tenant, acting) = (access.tenant.as_str(), store.acting());
    let known = super::find(store, tenant, id).await?;
    let known = known.ok_or_else(|| rules::no_such_call(id))?;
    let status = if found.happened {
        Status::Done
    } else {
        Status::Failed
    };
    let record = &noted(&known, "call.settle")
        .with("status", status.as_str())
        .with("reason", reason);
    let absent = Error::unavailable(format!("a person found that it did not happen: {reason}"))
        .hint("ask for it anew, under another key");
    let error = (!found.happened).then(|| Failure::from(&absent));
    let error = error.as_ref();
    let (event, who) = (&told(&known, status), (access.principal.as_str(), reason));
    let settled = store
        .write(Scope::Tenant(tenant), "settle the call", |db, _| {
            Box::pin(async move {
                if !sql::settle(db, (tenant, id), status, who, found.remote_id.as_deref(), error).await?
                    && !audit::is_noted_in(db, record).await?
                {
                    return Ok(None);
                }
                events::append_in(db, event).await?;
                audit::append_in(db, acting, record).await?;
                Ok(sql::get(db, tenant, id).await?)
            })
        })
        .await?;
    settled.ok_or_else(|| {
        Error::new(ErrorKind::Conflict, "the call is not uncertain")
            .with("call", id)
            .with("status", known.status)
            .hint("only an uncertain call is settled by hand")
    })
}
