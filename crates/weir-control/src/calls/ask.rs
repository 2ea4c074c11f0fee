//! Asking for a call: principal, tenant, input, policies, approval, key, and the intent, before anything is sent.

use std::sync::Arc;

use serde_json::{Map, Value};
use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::action::{self, Actions, Shown};
use weir_protocol::spec::{ActionSpec, Approval};
use weir_protocol::{Error, ErrorKind, Result};

use super::rules::{self, Bound};
use super::{Answered, Call, Desk, DryRun, Status, Wanted, carry, sql};
use crate::Store;
use crate::approvals::{self, Asked, Decided, Past, Rule};
use crate::audit::{self, Ending, Record};
use crate::bundles::{self, Link};
use crate::events::Event;
use crate::policies::Target;
use crate::principals::{Access, Permission, may};
use crate::store::{Outcome, Scope};

/// Calls before that conditions look at.
pub(crate) const PAST_MAX: i64 = 1000;

/// Of what a caller names, which may be anything, so much is noted.
const NAME_CHARS_MAX: usize = 100;

/// A call that may be asked for, with all that is decided about it.
struct Prepared {
    new: Call,
    actions: Arc<dyn Actions>,
    rules: Vec<Rule>,
    declared: Approval,
    shown: Shown,
    /// How it was asked for: `api`, `cli`, `mcp`.
    via: String,
    /// The step of a bundle that it is.
    step: Option<Link>,
}

/// What became of writing it down.
enum Put {
    New(Call),
    Known(Call),
    Forbidden(Vec<String>),
}

/// Why a call is not written down at all.
enum Unfit {
    /// The audit trail has it.
    Noted(Error),
    New(Error),
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self::New(error)
    }
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Noted(error) | Unfit::New(error) => error,
        }
    }
}

/// A call that is about to be written down, with what is told of it. Records are made once, whatever is tried again.
struct Writing<'a> {
    desk: &'a Desk,
    access: &'a Access,
    prepared: &'a Prepared,
    lease_ms: i64,
    asked: Record,
    begun: Record,
    requested: Event,
}

impl Writing<'_> {
    async fn put_in(&self, db: &mut AnyConnection) -> Outcome<(Put, Vec<Record>)> {
        let (prepared, new) = (self.prepared, &self.prepared.new);
        let past = past(db, &prepared.rules, new).await?;
        let decided = decided(self.access, prepared, &past);
        let mut call = new.clone();
        let record = match decided.class {
            Approval::Forbidden => {
                let known = known(db, new).await?;
                return Ok((known.unwrap_or(Put::Forbidden(decided.rules)), Vec::new()));
            }
            Approval::Required => &self.asked,
            Approval::Auto => {
                (call.status, call.term) = (Status::Running, 1);
                &self.begun
            }
        };
        let owner = &self.desk.owner;
        let mut stored = sql::insert(db, &call, owner, self.lease_ms).await?;
        if stored.is_none() {
            if let Some(known) = known(db, new).await? {
                return Ok((known, Vec::new()));
            }
            // The call of that key gave it back between the two.
            stored = sql::insert(db, &call, owner, self.lease_ms).await?;
        }
        let stored = stored.ok_or_else(|| rules::no_such_call(&call.id))?;
        if let Some(step) = &prepared.step {
            bundles::link_in(db, step, (&call.id, self.lease_ms)).await?;
        }
        if call.status == Status::Waiting {
            approvals::open_in(db, &call, &decided, &prepared.shown, &self.requested).await?;
        }
        let record = record
            .clone()
            .with("rules", decided.rules)
            .with("via", prepared.via.as_str());
        Ok((Put::New(stored), vec![record]))
    }
}

/// The call of this key, or this call itself: written by a commit whose answer was lost, and decided.
async fn known(db: &mut AnyConnection, new: &Call) -> Outcome<Option<Put>> {
    if let Some(key) = &new.idempotency_key
        && let Some(found) = sql::by_key(db, &new.tenant, &new.principal, key).await?
        && found.id != new.id
    {
        return Ok(Some(Put::Known(found)));
    }
    Ok(sql::get(db, &new.tenant, &new.id).await?.map(Put::New))
}

impl Desk {
    /// Asks for a call. Where nobody has to approve it, it is made before this returns.
    pub async fn ask(
        &self,
        access: &Access,
        wanted: &Wanted,
        key: Option<&str>,
        via: &str,
    ) -> Result<Answered> {
        key.map_or(Ok(()), rules::check_key)?;
        self.ask_for(access, wanted, (key, None), via).await
    }

    /// The same for a step of a bundle: the call is written down only while the run is the caller's to go on with,
    /// and in one transaction with the step's knowledge of it.
    pub(crate) async fn ask_step(
        &self,
        access: &Access,
        wanted: &Wanted,
        (key, step): (&str, &Link),
        via: &str,
    ) -> Result<Answered> {
        self.ask_for(access, wanted, (Some(key), Some(step)), via).await
    }

    async fn ask_for(
        &self,
        access: &Access,
        wanted: &Wanted,
        (key, step): (Option<&str>, Option<&Link>),
        via: &str,
    ) -> Result<Answered> {
        let prepared = match self.prepare(access, wanted, (key, step), via).await {
            Ok(prepared) => prepared,
            Err(Unfit::Noted(error)) => return Err(error),
            Err(Unfit::New(error)) => return Err(self.refused(access, wanted, error, via).await?),
        };
        if let Some(error) = self.shut(access, &prepared).await? {
            return Err(error);
        }
        let call = match self.put(access, &prepared).await? {
            Put::New(call) => call,
            Put::Known(found) => {
                let found = self.left(found).await?;
                return match rules::replay(found, &prepared.new.asked_digest) {
                    Ok(call) => Ok(Answered {
                        call,
                        is_replay: true,
                    }),
                    // It is asked for again as it should be, only too soon.
                    Err(error) if error.kind() == ErrorKind::Conflict => Err(error),
                    Err(error) => Err(self.refused(access, wanted, error, via).await?),
                };
            }
            Put::Forbidden(by) => return Err(self.forbidden(&prepared.new, &by).await?),
        };
        fail::fail_point!("control.call_after_intent", |_| std::process::abort());
        let call = match call.status {
            Status::Running => {
                let carried = self.carry(&call, prepared.actions.as_ref()).await;
                carried.map_err(|error| {
                    error
                        .with("call", &call.id)
                        .hint("it may have happened: read the call before you ask for it again")
                })?
            }
            _ => call,
        };
        Ok(Answered {
            call,
            is_replay: false,
        })
    }

    /// What a call would do. Sends nothing, keeps nothing.
    pub async fn dry_run(&self, access: &Access, wanted: &Wanted, via: &str) -> Result<DryRun> {
        let prepared = self.prepare(access, wanted, (None, None), via).await?;
        let (new, scope) = (&prepared.new, Scope::Tenant(&access.tenant));
        let rules = &prepared.rules;
        let past = self
            .store
            .read(scope, "look at calls before", |db, _| {
                Box::pin(past(db, rules, new))
            })
            .await?;
        let decided = decided(access, &prepared, &past);
        Ok(DryRun {
            connection: prepared.new.connection,
            action: prepared.new.action,
            effect: prepared.new.effect,
            approval: decided.class,
            rules: decided.rules,
            input: prepared.new.input,
            request: prepared.shown,
        })
    }

    async fn prepare(
        &self,
        access: &Access,
        wanted: &Wanted,
        (key, step): (Option<&str>, Option<&Link>),
        via: &str,
    ) -> Result<Prepared, Unfit> {
        may(access, Permission::ActionsWrite)?;
        self.refuse_others(access)?;
        let actions = self.vendors.actions(&self.tenant, &wanted.connection).await?;
        let spec = actions.spec(&wanted.action)?;
        let input = actions.check(&wanted.action, &wanted.input)?;
        self.refuse_by_policy(access, &wanted.connection, spec, via)
            .await
            .map_err(Unfit::Noted)?;
        let rules = self.vendors.rules(&self.tenant).await?;
        let id = Uuid::now_v7().to_string();
        let correlation_id = step.map(|step| step.run.clone());
        let shown = actions.show(&action::Call {
            action: spec.name.clone(),
            input: input.clone(),
            idempotency_key: carry::vendor_key(&id),
            correlation_id: correlation_id.clone().unwrap_or_else(|| id.clone()),
            began_at_ms: None,
        })?;
        let digest = self.digest(actions.as_ref(), &wanted.connection, spec, &input, &rules)?;
        let (connector, version) = actions.connector();
        let new = Call {
            id,
            tenant: access.tenant.clone(),
            connection: wanted.connection.clone(),
            connector: connector.to_owned(),
            version: version.to_owned(),
            action: spec.name.clone(),
            effect: spec.effect,
            principal: access.principal.clone(),
            token: access.token.clone(),
            idempotency_key: key.map(ToOwned::to_owned),
            correlation_id,
            asked_digest: rules::asked_digest(&wanted.connection, &wanted.action, &wanted.input),
            input,
            digest,
            fingerprint: Some(actions.fingerprint().to_owned()),
            status: Status::Waiting,
            term: 0,
            created_at_ms: 0,
            began_at_ms: None,
            finished_at_ms: None,
            output: None,
            remote_id: None,
            http_status: None,
            error: None,
            settled_by: None,
            settled_reason: None,
            erased_at_ms: None,
        };
        Ok(Prepared {
            new,
            declared: spec.approval(actions.approval()),
            actions: actions.clone(),
            rules,
            shown,
            via: via.to_owned(),
            step: step.cloned(),
        })
    }

    /// All that an approval is bound to, as it is now.
    pub(super) fn digest(
        &self,
        actions: &dyn Actions,
        connection: &str,
        spec: &ActionSpec,
        input: &Map<String, Value>,
        rules: &[Rule],
    ) -> Result<String> {
        let policies = self.policies.policies();
        let bound = Bound {
            tenant: &self.tenant,
            connection,
            connector: actions.connector(),
            fingerprint: actions.fingerprint(),
            spec,
            input,
            versions: (policies.version(), &approvals::version(rules)?),
        };
        bound.digest()
    }

    pub(super) async fn refuse_by_policy(
        &self,
        access: &Access,
        connection: &str,
        spec: &ActionSpec,
        via: &str,
    ) -> Result<()> {
        let target = Target::Action {
            connection: connection.to_owned(),
            action: spec.name.clone(),
            effect: spec.effect,
        };
        let permission = Permission::ActionsWrite;
        self.policies
            .check(&self.store, access, permission, &target, via)
            .await
    }

    async fn put(&self, access: &Access, prepared: &Prepared) -> Result<Put> {
        let doing = "write the call down";
        let new = &prepared.new;
        let asked = &Writing {
            desk: self,
            access,
            prepared,
            lease_ms: carry::lease_ms(prepared.actions.spec(&new.action)?),
            asked: noted(new, "call.ask"),
            begun: noted(new, "call.begin"),
            requested: approvals::requested(new),
        };
        if !approvals::asks_past(&prepared.rules) {
            return self
                .store
                .write_together(&access.tenant, doing, |db, _| Box::pin(asked.put_in(db)))
                .await;
        }
        // What rules look back at must not change meanwhile.
        let (scope, turn) = (
            Scope::Tenant(&access.tenant),
            format!("calls of {}", new.principal),
        );
        let acting = self.store.acting();
        self.store
            .write_alone(scope, &turn, doing, |db, _| {
                Box::pin(async move {
                    let (put, records) = asked.put_in(db).await?;
                    audit::append_all_in(db, acting, &records).await?;
                    Ok(put)
                })
            })
            .await
    }

    /// Refuses at once what would be written down, and then not sent. What a key, an approval, a rule or a bundle has to
    /// say of it comes first: such calls take the whole way.
    async fn shut(&self, access: &Access, prepared: &Prepared) -> Result<Option<Error>> {
        let new = &prepared.new;
        let Some(error) = prepared.actions.shut(&new.action) else {
            return Ok(None);
        };
        if prepared.step.is_some()
            || approvals::asks_past(&prepared.rules)
            || decided(access, prepared, &Past::default()).class != Approval::Auto
        {
            return Ok(None);
        }
        let record = noted(new, "call.refuse")
            .ended(Ending::Refused)
            .with("error", error.kind().as_str())
            .with("via", prepared.via.as_str());
        let is_known = self
            .store
            .write_together(&access.tenant, "refuse the call", |db, _| {
                let record = &record;
                Box::pin(async move {
                    let is_known = known(db, new).await?.is_some();
                    Ok((
                        is_known,
                        if is_known {
                            Vec::new()
                        } else {
                            vec![record.clone()]
                        },
                    ))
                })
            })
            .await?;
        Ok((!is_known).then_some(error))
    }

    async fn refused(&self, access: &Access, wanted: &Wanted, error: Error, via: &str) -> Result<Error> {
        note_refusal(&self.store, access, wanted, error.kind(), via).await?;
        Ok(error)
    }

    async fn forbidden(&self, new: &Call, by: &[String]) -> Result<Error> {
        let record = noted(new, "call.refuse")
            .ended(Ending::Refused)
            .with("rules", by.to_vec());
        audit::append(&self.store, &record).await?;
        let error = Error::denied(format!(
            "action '{}' of '{}' is forbidden",
            new.action, new.connection
        ));
        Ok(if by.is_empty() {
            error.hint("the connector forbids it; ask whoever keeps it")
        } else {
            error
                .with("rules", by.join(", "))
                .hint("a rule under `approvals` in weir.yaml forbids it; ask whoever keeps it")
        })
    }
}

/// Notes that something was asked for that is no call, or not this caller's to make.
pub async fn note_refusal(
    store: &Store,
    access: &Access,
    wanted: &Wanted,
    kind: ErrorKind,
    via: &str,
) -> Result<()> {
    let name = |name: &str| name.chars().take(NAME_CHARS_MAX).collect::<String>();
    let subject = format!("connection:{}", name(&wanted.connection));
    let record = Record::new(&access.tenant, "call.refuse", subject)
        .ended(Ending::Refused)
        .with("action", name(&wanted.action))
        .with("error", kind.as_str())
        .with("via", via);
    audit::append(store, &record).await
}

/// What audit records say of a call. Its input stays with the call: it may name people.
pub(super) fn noted(call: &Call, what: &'static str) -> Record {
    Record::new(&call.tenant, what, format!("connection:{}", call.connection))
        .of(call.correlation_id.as_deref().unwrap_or(&call.id))
        .with("call", call.id.as_str())
        .with("action", call.action.as_str())
        .with("effect", call.effect.as_str())
        .with("connector", format!("{}@{}", call.connector, call.version))
        .with("digest", call.digest.as_str())
}

async fn past(db: &mut AnyConnection, rules: &[Rule], new: &Call) -> Outcome<Past> {
    if !approvals::asks_past(rules) {
        return Ok(Past::default());
    }
    Ok(Past {
        inputs: sql::past_inputs(db, new, PAST_MAX).await?,
        asked_at_ms: sql::past_times(db, new, PAST_MAX).await?,
        now_ms: sql::now_ms(db).await?,
    })
}

fn decided(access: &Access, prepared: &Prepared, past: &Past) -> Decided {
    let asked = Asked {
        access,
        connection: &prepared.new.connection,
        action: &prepared.new.action,
        effect: prepared.new.effect,
        input: &prepared.new.input,
        declared: prepared.declared,
    };
    approvals::judge(&prepared.rules, &asked, past)
}
