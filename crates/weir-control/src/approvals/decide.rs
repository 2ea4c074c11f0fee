//! Approving and rejecting.

use sqlx::AnyConnection;
use weir_protocol::{Error, ErrorKind, Result};

use super::{Approval, Decision, Status, Verdict, event, no_such_approval, rules, sql, too_late};
use crate::audit::{self, Ending, Record};
use crate::calls::{self, Call};
use crate::events::{self, Event, Family};
use crate::principals::{self, Access, Kind, Permission, may};
use crate::runs::Failure;
use crate::store::{Outcome, Scope};
use crate::{Acting, Store, sessions};

const REASON_LENGTH_MAX: usize = 2000;

/// What became of a decision.
enum Became {
    /// It counts; more may be needed.
    Counted,
    Refused(Error),
    Expired,
}

pub(super) fn noted(call: &Call, what: &'static str) -> Record {
    Record::new(&call.tenant, what, format!("connection:{}", call.connection))
        .of(call.correlation_id.as_deref().unwrap_or(&call.id))
        .with("call", call.id.as_str())
        .with("action", call.action.as_str())
        .with("digest", call.digest.as_str())
}

/// All that one decision writes.
struct Said<'a> {
    access: &'a Access,
    call: &'a Call,
    decision: &'a Decision,
    reason: Option<&'a str>,
    record: Record,
    told: Event,
    ended: Event,
}

/// Approves or rejects a call that waits.
pub async fn decide(store: &Store, access: &Access, id: &str, decision: &Decision) -> Result<Approval> {
    may(access, Permission::ApprovalsWrite)?;
    let reason = decision
        .reason
        .as_deref()
        .map(str::trim)
        .filter(|reason| !reason.is_empty());
    check_reason(decision, reason)?;
    let call = calls::find(store, &access.tenant, id).await?;
    let call = call.ok_or_else(|| no_such_approval(id))?;
    if let Err(error) = refuse_own(store, access, &call, decision).await {
        let record = noted(&call, "approval.refuse").ended(Ending::Refused);
        audit::append(store, &record).await?;
        return Err(error);
    }
    let what = match decision.verdict {
        Verdict::Approve if decision.break_glass => "approval.break_glass",
        Verdict::Approve => "approval.approve",
        Verdict::Reject => "approval.reject",
    };
    let mut record = noted(&call, what);
    if let Some(reason) = reason {
        record = record.with("reason", reason);
    }
    let said = &Said {
        access,
        call: &call,
        decision,
        reason,
        record,
        told: event(&call, Family::ApprovalDecided),
        ended: calls::told(&call, calls::Status::Refused),
    };
    let acting = store.acting();
    let turn = format!("approval of {id}");
    let became = store
        .write_alone(
            Scope::Tenant(&access.tenant),
            &turn,
            "decide about the call",
            |db, _| Box::pin(count(db, acting, said)),
        )
        .await?;
    match became {
        Became::Counted => super::get(store, access, id).await,
        Became::Refused(error) if error.kind() != ErrorKind::Denied => Err(error),
        Became::Refused(error) => {
            let record = noted(&call, "approval.refuse")
                .ended(Ending::Refused)
                .with("reason", error.message());
            audit::append(store, &record).await?;
            Err(error)
        }
        Became::Expired => {
            super::end(store, &call, Status::Expired, &too_late()).await?;
            Err(Error::new(ErrorKind::Conflict, "the approval expired")
                .with("call", id)
                .hint("let the call be asked for again"))
        }
    }
}

fn check_reason(decision: &Decision, reason: Option<&str>) -> Result<()> {
    if reason.is_some_and(|reason| reason.len() > REASON_LENGTH_MAX) {
        return Err(
            Error::usage("the reason is too long").hint(format!("use {REASON_LENGTH_MAX} bytes at most"))
        );
    }
    if decision.break_glass && decision.verdict == Verdict::Reject {
        return Err(Error::usage("a rejection needs no broken glass").hint("leave break_glass out"));
    }
    if decision.break_glass && reason.is_none() {
        return Err(Error::usage("the glass is broken with a reason only")
            .hint("say in `reason` what the emergency is"));
    }
    Ok(())
}

/// Nobody decides about their own call, and no program about anything.
async fn refuse_own(store: &Store, access: &Access, call: &Call, decision: &Decision) -> Result<()> {
    if access.kind == Kind::Agent {
        return Err(Error::denied("an agent cannot decide about calls")
            .with("principal", &access.principal)
            .hint("a person decides, with a token or session of their own"));
    }
    if decision.break_glass || decision.verdict == Verdict::Reject {
        return Ok(());
    }
    let own = |what: &str| {
        Err(
            Error::denied(format!("'{}' cannot approve this call: {what}", access.principal))
                .with("call", &call.id)
                .hint("somebody else has to approve it, who logs in or has a token that was made at the machine"),
        )
    };
    if access.principal == call.principal {
        return own("it is their own");
    }
    let is_made_by = async |token: &Option<String>, maker: &str| match token {
        // A session is nobody's but the person's.
        Some(token) if !sessions::is_session(token) => {
            principals::is_made_by(store, &call.tenant, token, maker).await
        }
        _ => Ok(false),
    };
    if is_made_by(&call.token, &access.principal).await? {
        return own("they made the token that asked for it");
    }
    if is_made_by(&access.token, &call.principal).await? {
        return own("its token was made by who asked for it");
    }
    Ok(())
}

async fn count(db: &mut AnyConnection, acting: &Acting, said: &Said<'_>) -> Outcome<Became> {
    let Said {
        access,
        call,
        decision,
        ..
    } = *said;
    let found = sql::get(db, &call.tenant, &call.id).await?;
    let found = found.ok_or_else(|| no_such_approval(&call.id))?;
    if audit::is_noted_in(db, &said.record).await? {
        return Ok(Became::Counted);
    }
    if found.status != Status::Pending {
        return Ok(Became::Refused(
            Error::new(ErrorKind::Conflict, "it is decided already")
                .with("call", &call.id)
                .with("status", found.status)
                .hint("`weir approval show` says by whom"),
        ));
    }
    if found.is_expired {
        return Ok(Became::Expired);
    }
    if let Some(error) = refused(&found, said) {
        return Ok(Became::Refused(error));
    }
    let place = (call.tenant.as_str(), call.id.as_str());
    sql::vote(
        db,
        place,
        &access.principal,
        (decision.verdict, said.reason),
        &call.digest,
    )
    .await?;
    let votes = sql::votes(db, &call.id).await?;
    if votes
        .iter()
        .any(|vote| vote.principal == access.principal && vote.verdict != decision.verdict)
    {
        return Ok(Became::Refused(
            Error::new(
                ErrorKind::Conflict,
                "you said something else about this call before",
            )
            .with("call", &call.id)
            .hint("a vote is not taken back; somebody else may reject it"),
        ));
    }
    let approvals = votes
        .iter()
        .filter(|vote| vote.verdict == Verdict::Approve)
        .count();
    let status = match decision.verdict {
        Verdict::Reject => Status::Rejected,
        Verdict::Approve if decision.break_glass || approvals >= found.needed as usize => Status::Approved,
        Verdict::Approve => Status::Pending,
    };
    if status != Status::Pending {
        conclude(db, said, status).await?;
    }
    let record = said
        .record
        .clone()
        .with("status", status.as_str())
        .with("approvals", approvals as u64)
        .with("needed", found.needed);
    audit::append_in(db, acting, &record).await?;
    Ok(Became::Counted)
}

fn refused(found: &sql::Stored, said: &Said<'_>) -> Option<Error> {
    let Said {
        access,
        call,
        decision,
        ..
    } = *said;
    if decision
        .digest
        .as_ref()
        .is_some_and(|shown| *shown != call.digest)
    {
        return Some(
            Error::new(ErrorKind::Conflict, "the call is not the one that was shown")
                .with("digest", &call.digest)
                .hint("look at the approval again, then decide"),
        );
    }
    if decision.break_glass && !found.allows_break_glass {
        return Some(
            Error::denied("a rule does not let anybody approve this alone")
                .with("rules", found.rules.join(", "))
                .hint("let the people approve it whom the rule names"),
        );
    }
    if decision.verdict == Verdict::Approve
        && !decision.break_glass
        && !rules::may_decide(access, &found.deciders)
    {
        let names: Vec<String> = found.deciders.iter().map(|list| list.join(" or ")).collect();
        return Some(
            Error::denied(format!(
                "'{}' is none of those who decide about this call",
                access.principal
            ))
            .with("deciders", names.join(", and "))
            .hint("ask one of them"),
        );
    }
    None
}

async fn conclude(db: &mut AnyConnection, said: &Said<'_>, status: Status) -> Outcome<()> {
    let Said {
        access,
        call,
        decision,
        ..
    } = *said;
    let broken_by = decision.break_glass.then_some(access.principal.as_str());
    sql::set(db, &call.id, (Status::Pending, status), broken_by).await?;
    let event = said
        .told
        .clone()
        .with("status", status.as_str())
        .with("glass_broken", decision.break_glass);
    events::append_in(db, &event).await?;
    if status == Status::Approved {
        calls::sql::leave_waiting(db, &call.id, calls::Status::Ready, None).await?;
        return Ok(());
    }
    let why = match said.reason {
        Some(reason) => format!("it was rejected: {reason}"),
        None => "it was rejected".to_owned(),
    };
    let failure =
        Failure::from(&Error::denied(why).hint("ask who rejected it; `weir approval show` says who"));
    calls::sql::leave_waiting(db, &call.id, calls::Status::Refused, Some(&failure)).await?;
    events::append_in(db, &said.ended).await?;
    Ok(())
}

/// Says what somebody found who looked at a broken glass: anybody but who broke it.
pub async fn review(store: &Store, access: &Access, id: &str, text: &str) -> Result<Approval> {
    may(access, Permission::ApprovalsWrite)?;
    let text = text.trim();
    if text.is_empty() || text.len() > REASON_LENGTH_MAX {
        return Err(
            Error::usage("what was found is not said").hint(format!("use 1 to {REASON_LENGTH_MAX} bytes"))
        );
    }
    let found = super::get(store, access, id).await?;
    if access.kind == Kind::Agent || found.glass_broken_by.as_deref() == Some(access.principal.as_str()) {
        return Err(
            Error::denied(format!("'{}' cannot review this", access.principal))
                .hint("a person reviews it who did not break the glass"),
        );
    }
    let (tenant, acting) = (access.tenant.as_str(), store.acting());
    let record = &noted(&found.call, "approval.review").with("review", text);
    let reviewed = store
        .write(Scope::Tenant(tenant), "review the approval", |db, _| {
            Box::pin(async move {
                let is_new = sql::review(db, (tenant, id), &access.principal, text).await?;
                if is_new {
                    audit::append_in(db, acting, record).await?;
                }
                Ok(is_new || audit::is_noted_in(db, record).await?)
            })
        })
        .await?;
    if !reviewed {
        return Err(
            Error::new(ErrorKind::Conflict, "there is no broken glass to review")
                .with("call", id)
                .hint("`weir approval list --to-review` shows where there is"),
        );
    }
    super::get(store, access, id).await
}
