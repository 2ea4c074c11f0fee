//! What people do with runs: cancel them, let parked ones go on, and say what became of a step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, ErrorKind, Result};

use super::moves::{at_step, noted};
use super::{Desk, Parked, Run, Status, Step, StepStatus, rules, sql};
use crate::audit::{self, Record};
use crate::calls::{self, Found};
use crate::principals::{Access, Kind, Permission, may};
use crate::store::Scope;

const REASON_LENGTH_MAX: usize = 2000;

/// What somebody found out about a parked run, or did about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// Where it was looked up and what was seen, or what was done by hand.
    pub reason: String,
    /// Whether an uncertain call happened. Only where the run is parked for one.
    #[serde(default)]
    pub happened: Option<bool>,
    /// The vendor's id of what was made or changed, where it happened.
    #[serde(default)]
    pub remote_id: Option<String>,
}

/// A change that a person makes of a parked run.
struct Change {
    /// As it will be.
    run: Run,
    /// Number of the step that is changed.
    step: Option<usize>,
    record: Record,
}

impl Desk {
    /// Ends a run that has not passed its pivot: what is done is taken back. What is under way ends first.
    pub async fn cancel(&self, access: &Access, id: &str) -> Result<Run> {
        may(access, Permission::ActionsWrite)?;
        let run = super::get(&self.store, access, id).await?;
        if run.principal != access.principal {
            by_person(access, "cancel the run of somebody else")?;
        }
        if run.cancelled_by.is_some() {
            return Ok(run);
        }
        if run.status.is_over() {
            return Err(wrong_moment(&run, "the run is over, and cannot be cancelled"));
        }
        if let Some(step) = rules::pivot_passed(&run) {
            return Err(
                wrong_moment(&run, "the run cannot be cancelled: nothing takes its step back")
                    .with("step", &step.name),
            );
        }
        let (record, acting) = (&noted(&run, "bundle.cancel"), self.store.acting());
        let (run, by) = (&run, access.principal.as_str());
        self.store
            .write(Scope::Tenant(&run.tenant), "cancel the bundle", |db, _| {
                Box::pin(async move {
                    if sql::cancel(db, run, by).await? {
                        audit::append_in(db, acting, record).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.detached(id, None).await
    }

    /// Lets a parked run try again what did not work.
    pub async fn retry(&self, access: &Access, id: &str) -> Result<Run> {
        by_person(access, "retry a run")?;
        let mut run = super::get(&self.store, access, id).await?;
        let record = noted(&run, "bundle.retry");
        let number = parked_step(&run)?;
        match run.parked_for {
            Some(Parked::Uncertain) => {
                return Err(wrong_moment(
                    &run,
                    "nobody knows whether the step happened, so that it cannot be tried again",
                )
                .hint("find out at the vendor, then say it: `weir bundle settle`"));
            }
            Some(Parked::Pivot) => change(&mut run, number, |step| {
                (step.status, step.call) = (StepStatus::Registered, None);
                step.attempt += 1;
            }),
            Some(Parked::Compensation) | None => {}
        }
        run.kept.retried_by = Some(access.clone());
        run.status = going(&run);
        let step = Some(number);
        self.unpark(Change { run, step, record }).await?;
        self.detached(id, None).await
    }

    /// Says what became of a parked run's step: whether an uncertain call happened, that it was taken back by hand, or
    /// that what cannot be taken back may stay.
    pub async fn settle(&self, access: &Access, id: &str, settled: &Settled) -> Result<Run> {
        by_person(access, "settle a run")?;
        let reason = settled.reason.trim();
        if reason.is_empty() || reason.len() > REASON_LENGTH_MAX {
            return Err(
                Error::usage("what was found out or done is not said").hint(format!(
                    "say in 1 to {REASON_LENGTH_MAX} bytes where you looked and what you saw, or what you did"
                )),
            );
        }
        let mut run = super::get(&self.store, access, id).await?;
        let number = parked_step(&run)?;
        if run.parked_for == Some(Parked::Uncertain) {
            self.settle_call(access, &run, settled).await?;
            return self.detached(id, None).await;
        }
        if settled.happened.is_some() || settled.remote_id.is_some() {
            return Err(Error::usage("the run is not parked for an uncertain call")
                .with("parked_for", run.parked_for.map_or("", Parked::as_str))
                .hint("say the reason alone"));
        }
        let record = noted(&run, "bundle.settle").with("reason", reason);
        if run.parked_for == Some(Parked::Pivot) {
            (run.kept.is_back, run.kept.may_leave) = (true, true);
            let step = run.steps.get(number);
            let failure = step.and_then(|step| Some(at_step(&step.name, step.error.as_ref()?)));
            run.error = failure;
        } else {
            change(&mut run, number, |step| step.status = StepStatus::Settled);
        }
        change(&mut run, number, |step| {
            step.settled_by = Some(access.principal.clone());
            step.settled_reason = Some(reason.to_owned());
        });
        run.status = going(&run);
        let step = Some(number);
        self.unpark(Change { run, step, record }).await?;
        self.detached(id, None).await
    }

    async fn settle_call(&self, access: &Access, run: &Run, settled: &Settled) -> Result<()> {
        let Some(happened) = settled.happened else {
            return Err(Error::usage("it is not said whether the uncertain call happened")
                .with("call", run.waits_for.as_deref().unwrap_or_default())
                .hint("say happened or not_happened (--happened, --not-happened)"));
        };
        let Some(call) = &run.waits_for else {
            return Err(Error::internal("the run names no call that is uncertain").hint("report it"));
        };
        let found = Found {
            happened,
            reason: settled.reason.clone(),
            remote_id: settled.remote_id.clone(),
        };
        calls::settle(&self.store, access, call, &found).await.map(drop)
    }

    async fn unpark(&self, change: Change) -> Result<()> {
        let acting = self.store.acting();
        let (run, change) = (&change.run, &change);
        let seen = change.step.and_then(|number| run.steps.get(number));
        let before = super::find(&self.store, &run.tenant, &run.id).await?;
        let before = before.ok_or_else(|| super::no_such_run(&run.id))?;
        let old = change.step.and_then(|number| before.steps.get(number));
        let calls = old.map(|step| (step.call.clone(), step.compensation_call.clone()));
        let calls = &calls.unwrap_or_default();
        self.store
            .write(Scope::Tenant(&run.tenant), "let the bundle go on", |db, _| {
                Box::pin(async move {
                    if audit::is_noted_in(db, &change.record).await? {
                        return Ok(());
                    }
                    let mut is_so = sql::unpark(db, run).await?;
                    if let Some(step) = seen {
                        is_so &= sql::store_step(db, run, step, (&calls.0, &calls.1)).await?;
                    }
                    if !is_so {
                        return Err(wrong_moment(run, "somebody else did something about the run").into());
                    }
                    audit::append_in(db, acting, &change.record).await
                })
            })
            .await
    }
}

/// How a run stands once it goes on.
fn going(run: &Run) -> Status {
    if run.kept.is_back {
        Status::Compensating
    } else {
        Status::Running
    }
}

fn change(run: &mut Run, number: usize, change: impl FnOnce(&mut Step)) {
    if let Some(step) = run.steps.get_mut(number) {
        change(step);
    }
}

fn by_person(access: &Access, what: &str) -> Result<()> {
    may(access, Permission::ApprovalsWrite)?;
    if access.kind == Kind::Agent {
        return Err(Error::denied(format!("an agent cannot {what}"))
            .with("principal", &access.principal)
            .hint("ask a person with the role approver"));
    }
    Ok(())
}

/// Number of the step that a run is parked at.
fn parked_step(run: &Run) -> Result<usize> {
    let at = run.parked_step.as_ref();
    let number = run.steps.iter().position(|step| Some(&step.name) == at);
    match number {
        Some(number) if run.status == Status::Parked => Ok(number),
        _ => Err(wrong_moment(run, "the run is not parked")),
    }
}

fn wrong_moment(run: &Run, what: &str) -> Error {
    Error::new(ErrorKind::Conflict, what)
        .with("run", &run.id)
        .with("status", run.status)
        .hint("read the run to see how it stands now")
}
