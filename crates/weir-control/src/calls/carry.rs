//! Carrying calls out: the request, its outcome, and what is done where the outcome is not known.

use std::time::Duration;

use serde_json::Value;
use weir_protocol::action::{self, Actions, Performed, Reply};
use weir_protocol::spec::{ActionSpec, Effect};
use weir_protocol::units::Span;
use weir_protocol::{Error, ErrorKind, Result};

use super::ask::noted;
use super::rules::{Remedy, gives_key_back, remedy};
use super::{Call, Desk, Outcome, Status, rules, sql};
use crate::approvals;
use crate::audit::{self, Ending};
use crate::events::{self, Event, Family};
use crate::principals::{self, Permission, may};
use crate::runs::Failure;
use crate::store::Scope;

/// As the engine has it where an action does not say.
const DEADLINE: Span = Span::from_secs(60);
/// A process that has not told by then, after the deadline, never will.
const GRACE: Duration = Duration::from_secs(30);
/// An uncertain call is looked at again after this, and each time after twice as long.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// As long as vendors surely know a key that they were sent.
const KEYS_KNOWN_MS: i64 = 23 * 60 * 60 * 1000;
/// So many processes or looks at one call; then a person finds out.
const TERMS_MAX: i64 = 6;

/// What the vendor knows a call by: the same for each try.
pub(super) fn vendor_key(id: &str) -> String {
    format!("weir-{id}")
}

/// As long as a process may be at work on a call.
pub(super) fn lease_ms(spec: &ActionSpec) -> i64 {
    // A look before the request and one after it take as long as the request itself.
    let steps = if remedy(spec) == Remedy::LookUp { 3 } else { 1 };
    let time = spec.deadline.unwrap_or(DEADLINE).get() * steps + GRACE;
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn vendor_call(call: &Call) -> action::Call {
    action::Call {
        action: call.action.clone(),
        input: call.input.clone(),
        idempotency_key: vendor_key(&call.id),
        correlation_id: call.correlation_id.as_ref().unwrap_or(&call.id).clone(),
        began_at_ms: Some(call.began_at_ms.unwrap_or(call.created_at_ms)),
    }
}

impl Outcome {
    fn done(reply: Reply) -> Self {
        let warning = reply.warning.map(|warning| {
            Error::decode(warning).hint("the effect is there; the output is as the vendor gave it")
        });
        Self {
            status: Status::Done,
            output: Some(reply.output),
            remote_id: reply.remote_id,
            http_status: Some(reply.status),
            error: warning.as_ref().map(Failure::from),
            gives_key_back: false,
        }
    }

    fn without(status: Status, error: &Error) -> Self {
        Self {
            status,
            output: None,
            remote_id: None,
            http_status: None,
            error: Some(Failure::from(error)),
            gives_key_back: status == Status::Failed && gives_key_back(error),
        }
    }
}

impl Desk {
    /// Sends a call that this process has, and ends it.
    pub(super) async fn carry(&self, call: &Call, actions: &dyn Actions) -> Result<Call> {
        fail::fail_point!("control.call_before_send", |_| std::process::abort());
        let performed = actions.perform(&vendor_call(call)).await;
        fail::fail_point!("control.call_after_send", |_| std::process::abort());
        let spec = actions.spec(&call.action)?;
        let (outcome, look) = match performed {
            Performed::Done(reply) => (Outcome::done(reply), None),
            // That this try had no effect says nothing of the ones before it.
            Performed::Failed(error) if call.term > 1 && spec.effect != Effect::Read => {
                uncertain(call, spec, error)
            }
            Performed::Failed(error) => (Outcome::without(Status::Failed, &error), None),
            Performed::Uncertain(error) => match self.found(call, actions, spec).await {
                Some(reply) => (Outcome::done(reply), None),
                None => uncertain(call, spec, error),
            },
        };
        self.end(call, &outcome, look).await
    }

    /// What the vendor has of a call whose answer was just lost. That it has nothing yet says nothing: the
    /// request may still be on its way.
    async fn found(&self, call: &Call, actions: &dyn Actions, spec: &ActionSpec) -> Option<Reply> {
        if remedy(spec) != Remedy::LookUp {
            return None;
        }
        match actions.look_up(&vendor_call(call)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(call = call.id, %error, "the effect of a call cannot be looked up now");
                None
            }
        }
    }

    /// The outcome and its closing record, in one transaction. A process that lost the call changes nothing.
    pub(super) async fn end(&self, call: &Call, outcome: &Outcome, look: Option<Duration>) -> Result<Call> {
        let ending = match outcome.status {
            Status::Done => Ending::Done,
            Status::Uncertain => Ending::Uncertain,
            _ => Ending::Failed,
        };
        let record = noted(call, "call.end")
            .ended(ending)
            .with("status", outcome.status.as_str())
            .with(
                "remote_id",
                outcome.remote_id.clone().map_or(Value::Null, Value::from),
            )
            .with(
                "http_status",
                outcome.http_status.map_or(Value::Null, Value::from),
            )
            .with(
                "error",
                outcome
                    .error
                    .as_ref()
                    .map_or(Value::Null, |error| error.kind.as_str().into()),
            );
        // What is looked at again by itself is nobody's work yet.
        let event =
            (look.is_none() || outcome.status != Status::Uncertain).then(|| told(call, outcome.status));
        let (record, event) = (&record, event.as_ref());
        let look_ms = look.map(|look| i64::try_from(look.as_millis()).unwrap_or(i64::MAX));
        self.store
            .write_together(&call.tenant, "end the call", |db, _| {
                Box::pin(async move {
                    let Some(ended) = sql::end(db, (&call.id, call.term), outcome, look_ms).await? else {
                        let stored = sql::get(db, &call.tenant, &call.id).await?;
                        return Ok((stored.ok_or_else(|| rules::no_such_call(&call.id))?, Vec::new()));
                    };
                    if let Some(event) = event {
                        events::append_in(db, event).await?;
                    }
                    Ok((ended, vec![record.clone()]))
                })
            })
            .await
    }

    /// A call as it stands, once it is gone on with where it was approved and nobody began it, or its process died.
    pub(crate) async fn left(&self, call: Call) -> Result<Call> {
        let is_left = match call.status {
            Status::Ready => true,
            Status::Running => self.is_left(&call).await?,
            _ => false,
        };
        if is_left {
            if call.status == Status::Ready {
                approvals::expire(&self.store, &call.tenant).await?;
            }
            self.go_on(&call).await?;
            let found = super::find(&self.store, &call.tenant, &call.id).await?;
            return found.ok_or_else(|| rules::no_such_call(&call.id));
        }
        Ok(call)
    }

    async fn is_left(&self, call: &Call) -> Result<bool> {
        let held = self
            .store
            .read(Scope::Tenant(&call.tenant), "look who has the call", |db, _| {
                Box::pin(async move { Ok(sql::held(db, &call.id).await?) })
            })
            .await?;
        Ok(held.is_some_and(|held| held.is_stale()))
    }

    /// Does with a call what its status asks for.
    pub(super) async fn go_on(&self, call: &Call) -> Result<()> {
        if call.status == Status::Running && !self.is_left(call).await? {
            return Ok(());
        }
        let actions = match self.vendors.actions(&call.tenant, &call.connection).await {
            Ok(actions) if actions.spec(&call.action).is_ok() => actions,
            Ok(actions) => return self.give_up(call, actions.spec(&call.action).map(drop)).await,
            Err(error) if error.kind().is_transient() => return Err(error),
            Err(error) => return self.give_up(call, Err(error)).await,
        };
        let spec = actions.spec(&call.action)?;
        let changed = rules::changed(call, actions.connector(), actions.fingerprint());
        match (call.status, remedy(spec)) {
            // What another connector, or another account, would do or find says nothing of what was sent.
            (Status::Running | Status::Uncertain, _) if changed.is_some() => {
                self.give_up(call, changed.map_or(Ok(()), Err)).await
            }
            (Status::Ready, _) => self.begin_approved(call, actions.as_ref(), spec).await,
            (Status::Running | Status::Uncertain, Remedy::Again)
                if call.term < TERMS_MAX && self.is_young(call).await? =>
            {
                match self.take(call, spec, "call.resume").await? {
                    Some(taken) => self.carry(&taken, actions.as_ref()).await.map(drop),
                    None => Ok(()),
                }
            }
            (Status::Running | Status::Uncertain, Remedy::LookUp) if call.term < TERMS_MAX => {
                self.look(call, actions.as_ref(), spec).await
            }
            (Status::Running | Status::Uncertain, _) => self.give_up(call, Ok(())).await,
            _ => Ok(()),
        }
    }

    /// Whether a vendor that knows calls by their key knows this one still: many forget keys after a day.
    async fn is_young(&self, call: &Call) -> Result<bool> {
        let began = call.began_at_ms.unwrap_or(call.created_at_ms);
        Ok(self.store.now_ms().await?.saturating_sub(began) < KEYS_KNOWN_MS)
    }

    /// Asks the vendor whether an earlier try had its effect.
    async fn look(&self, call: &Call, actions: &dyn Actions, spec: &ActionSpec) -> Result<()> {
        let Some(taken) = self.take(call, spec, "call.resume").await? else {
            return Ok(());
        };
        let (outcome, look) = match actions.look_up(&vendor_call(call)).await {
            Ok(Some(reply)) => (Outcome::done(reply), None),
            // The process died, perhaps before it sent anything, perhaps a moment ago: what it sent may be
            // on its way still.
            Ok(None) if call.status == Status::Running => {
                let error = Error::unavailable("the process that made the call died")
                    .hint("read the call again later");
                uncertain(&taken, spec, error)
            }
            Ok(None) => {
                let error = Error::unavailable("the answer was lost, and the vendor has no such effect")
                    .hint("ask for it again; it had no effect");
                (Outcome::without(Status::Failed, &error), None)
            }
            Err(error) => uncertain(&taken, spec, error),
        };
        self.end(&taken, &outcome, look).await.map(drop)
    }

    /// Says of a call that nobody can go on with what there is to say.
    async fn give_up(&self, call: &Call, why: Result<()>) -> Result<()> {
        if call.status == Status::Ready {
            let why = why
                .err()
                .unwrap_or_else(|| Error::not_found("its action is gone").hint("ask for another one"));
            return approvals::void(&self.store, call, &why).await;
        }
        if matches!(call.status, Status::Running | Status::Uncertain) {
            let mut error = match (&call.error, call.status) {
                // Without its hint: what was advised before is not the next step any more.
                (Some(known), Status::Uncertain) => {
                    Error::new(Error::from(known.clone()).kind(), known.message.clone())
                }
                _ => Error::unavailable(
                    "the process that made the call died or hung, and what came of it is not known",
                ),
            }
            .hint("find out at the vendor, then say it: `weir call settle`");
            if let Err(cause) = why {
                error = error.with("why nobody goes on with it", &cause).caused_by(cause);
            }
            self.end(call, &Outcome::without(Status::Uncertain, &error), None)
                .await?;
        }
        Ok(())
    }

    /// Takes a call over from nobody, or from who is gone. None where another one was faster.
    async fn take(&self, call: &Call, spec: &ActionSpec, what: &'static str) -> Result<Option<Call>> {
        let (scope, acting) = (Scope::Tenant(&call.tenant), self.store.acting());
        let (record, owner, lease_ms) = (&noted(call, what), &self.owner, lease_ms(spec));
        let is_approved = call.status == Status::Ready;
        self.store
            .write(scope, "take the call", |db, _| {
                Box::pin(async move {
                    if !sql::take(db, call, owner, lease_ms).await? {
                        return Ok(None);
                    }
                    if is_approved {
                        approvals::use_in(db, &call.id).await?;
                    }
                    let taken = sql::get(db, &call.tenant, &call.id).await?;
                    audit::append_in(db, acting, record).await?;
                    Ok(taken)
                })
            })
            .await
    }

    /// Makes a call that was approved, if it still is exactly what was approved, and its caller still may.
    async fn begin_approved(&self, call: &Call, actions: &dyn Actions, spec: &ActionSpec) -> Result<()> {
        if let Err(why) = self.still_holds(call, actions, spec).await {
            if why.kind().is_transient() && why.kind() != ErrorKind::Conflict {
                return Err(why);
            }
            return approvals::void(&self.store, call, &why).await;
        }
        match self.take(call, spec, "call.begin").await? {
            Some(taken) => self.carry(&taken, actions).await.map(drop),
            None => Ok(()),
        }
    }

    async fn still_holds(&self, call: &Call, actions: &dyn Actions, spec: &ActionSpec) -> Result<()> {
        if let Some(changed) = rules::changed(call, actions.connector(), actions.fingerprint()) {
            return Err(changed.hint("ask for the call again: it is decided anew"));
        }
        let rules = self.vendors.rules(&self.tenant).await?;
        if self.digest(actions, &call.connection, spec, &call.input, &rules)? != call.digest {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the connector, the policies or the rules changed after it was asked for",
            )
            .hint("ask for the call again: it is decided anew"));
        }
        let Some(token) = &call.token else { return Ok(()) };
        let access = principals::holder(&self.store, &call.tenant, token).await?;
        may(&access, Permission::ActionsWrite)?;
        self.refuse_by_policy(&access, &call.connection, spec, "approval")
            .await
    }

    /// A call that is not over, once it is gone on with as far as it can be now: an approval that nobody gave in time
    /// ends, what was approved or left is made, and what is uncertain is looked up where its time has come.
    pub(crate) async fn advanced(&self, call: Call) -> Result<Call> {
        match call.status {
            Status::Waiting => approvals::expire(&self.store, &call.tenant).await?,
            Status::Ready | Status::Running => return self.left(call).await,
            Status::Uncertain if self.is_due(&call).await? => self.go_on(&call).await?,
            _ => return Ok(call),
        }
        let found = super::find(&self.store, &call.tenant, &call.id).await?;
        found.ok_or_else(|| rules::no_such_call(&call.id))
    }

    async fn is_due(&self, call: &Call) -> Result<bool> {
        self.store
            .read(Scope::Tenant(&call.tenant), "look whether to look", |db, _| {
                Box::pin(async move { Ok(sql::is_due(db, &call.tenant, &call.id).await?) })
            })
            .await
    }
}

fn uncertain(call: &Call, spec: &ActionSpec, error: Error) -> (Outcome, Option<Duration>) {
    let doublings = u32::try_from(call.term.clamp(1, TERMS_MAX) - 1).unwrap_or(0);
    let look = match remedy(spec) {
        Remedy::Person => None,
        Remedy::Again | Remedy::LookUp => {
            (call.term < TERMS_MAX).then(|| LOOK_AGAIN.saturating_mul(2_u32.saturating_pow(doublings)))
        }
    };
    let hint = match look {
        None => "find out at the vendor whether it happened, then say it: `weir call settle`",
        Some(_) => "read the call again later: what became of it is found out",
    };
    // What was advised for the request alone is not the next step of the call.
    let error = Error::new(
        error.kind(),
        format!("it is not known whether it happened: {error}"),
    )
    .hint(hint);
    (Outcome::without(Status::Uncertain, &error), look)
}

/// What webhooks are told.
pub(crate) fn told(call: &Call, status: Status) -> Event {
    let family = match status {
        Status::Uncertain => Family::CallUncertain,
        _ => Family::CallEnded,
    };
    Event::new(&call.tenant, family, format!("call:{}", call.id))
        .of(call.correlation_id.as_deref().unwrap_or(&call.id))
        .with("call", call.id.as_str())
        .with("connection", call.connection.as_str())
        .with("action", call.action.as_str())
        .with("effect", call.effect.as_str())
        .with("status", status.as_str())
}
