//! Changes of runs, each in one transaction with its audit record and its event. A process that lost the run changes
//! nothing.

use serde_json::Value;
use weir_protocol::{Error, ErrorKind, Result};

use super::sql::{self, Grip};
use super::{Desk, Parked, Run, Status, rules};
use crate::audit::{self, Ending, Record};
use crate::events::{self, Event, Family};
use crate::runs::Failure;
use crate::store::Scope;

/// One change of a run, and of one of its steps.
pub(super) struct Move {
    pub(super) run: Run,
    step: Option<Seen>,
    grip: Grip,
    record: Record,
    event: Option<Event>,
}

/// The step that a change is about, with the calls that it had before.
struct Seen {
    number: usize,
    call: Option<String>,
    compensation_call: Option<String>,
}

/// What audit records say of a run. Its input stays with the run: it may name people.
pub(super) fn noted(run: &Run, what: &'static str) -> Record {
    Record::new(&run.tenant, what, format!("bundle:{}", run.bundle))
        .of(&run.id)
        .with("run", run.id.as_str())
        .with("effect", run.effect.as_str())
}

/// What webhooks are told of a run.
pub(super) fn told(run: &Run, family: Family) -> Event {
    Event::new(&run.tenant, family, format!("bundle_run:{}", run.id))
        .of(&run.id)
        .with("run", run.id.as_str())
        .with("bundle", run.bundle.as_str())
        .with("effect", run.effect.as_str())
}

impl Move {
    pub(super) fn of(run: Run, what: &'static str) -> Self {
        Self {
            record: noted(&run, what),
            run,
            step: None,
            grip: Grip::Hold,
            event: None,
        }
    }

    /// About one of its steps, as it is before it is changed.
    pub(super) fn of_step(run: Run, number: usize, what: &'static str) -> Self {
        let mut change = Self::of(run, what);
        if let Some(step) = change.run.steps.get(number) {
            change.step = Some(Seen {
                number,
                call: step.call.clone(),
                compensation_call: step.compensation_call.clone(),
            });
            change.record = change
                .record
                .with("step", step.name.as_str())
                .with("action", step.action.as_str());
        }
        change
    }

    /// Changes the step that this is about.
    pub(super) fn step(mut self, change: impl FnOnce(&mut super::Step)) -> Self {
        if let Some(seen) = &self.step
            && let Some(step) = self.run.steps.get_mut(seen.number)
        {
            change(step);
            self.record = self.record.with("status", step.status.as_str());
        }
        self
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.record = self.record.with(key, value);
        self
    }

    /// What did not go well, in the step and in the record.
    pub(super) fn failed(mut self, failure: &Failure) -> Self {
        self.record = self
            .record
            .ended(Ending::Failed)
            .with("error", failure.kind.as_str());
        self.step(|step| step.error = Some(failure.clone()))
    }

    pub(super) fn telling(mut self, event: Event) -> Self {
        self.event = Some(event);
        self
    }

    pub(super) fn releasing(mut self, look_in_ms: Option<i64>) -> Self {
        self.grip = Grip::Release(look_in_ms);
        self
    }

    /// Nobody goes on with it before a person did something.
    pub(super) fn parked(mut self, why: Parked, failure: &Failure) -> Self {
        let seen = self.step.as_ref();
        let step = seen.and_then(|seen| self.run.steps.get(seen.number));
        let name = step.map(|step| step.name.clone()).unwrap_or_default();
        let run = &mut self.run;
        (run.status, run.parked_for, run.parked_step) = (Status::Parked, Some(why), Some(name.clone()));
        run.parked_error = Some(of_step(&name, why, failure));
        let event = told(run, Family::BundleParked)
            .with("parked_for", why.as_str())
            .with("step", name)
            .with("reason", failure.message.as_str());
        self.with("parked_for", why.as_str())
            .telling(event)
            .releasing(None)
    }

    /// What is done is taken back from now on.
    pub(super) fn turned(mut self, why: Failure) -> Self {
        let run = &mut self.run;
        (run.status, run.kept.is_back, run.error) = (Status::Compensating, true, Some(why));
        let event = told(&self.run, Family::BundleCompensating);
        self.telling(event)
    }

    /// The run is over.
    pub(super) fn ended(mut self, status: Status) -> Self {
        self.run.status = status;
        if rules::gives_key_back(&self.run) {
            self.run.idempotency_key = None;
        }
        let ending = match status {
            Status::Done => Ending::Done,
            _ => Ending::Failed,
        };
        self.record = self.record.ended(ending).with("status", status.as_str()).with(
            "error",
            self.run
                .error
                .as_ref()
                .map_or(Value::Null, |error| error.kind.as_str().into()),
        );
        let event = told(&self.run, Family::BundleEnded).with("status", status.as_str());
        self.telling(event).releasing(None)
    }
}

/// What a parked run says of its step.
fn of_step(step: &str, why: Parked, failure: &Failure) -> Failure {
    let (what, hint) = match why {
        Parked::Uncertain => (
            format!("it is not known whether step '{step}' happened"),
            "find out at the vendor, then say it: `weir bundle settle`",
        ),
        Parked::Compensation => (
            format!("step '{step}' cannot be taken back"),
            "mend it and run `weir bundle retry`, or take it back by hand and say so: `weir bundle settle`",
        ),
        Parked::Pivot => (
            format!("step '{step}' failed, and what is done before it cannot be taken back"),
            "mend it and run `weir bundle retry`, or let the rest be taken back: `weir bundle settle`",
        ),
    };
    Failure {
        kind: failure.kind.clone(),
        message: format!("{what}: {}", failure.message),
        hint: Some(hint.to_owned()),
    }
}

/// Why a run turns back at a step.
pub(super) fn at_step(step: &str, failure: &Failure) -> Failure {
    Failure {
        kind: failure.kind.clone(),
        message: format!("step '{step}' failed: {}", failure.message),
        hint: failure.hint.clone(),
    }
}

impl Desk {
    /// Stores a change. False where another process has the run by now, or knows more of the step.
    pub(super) async fn make(&self, change: Move) -> Result<bool> {
        let acting = self.store.acting();
        let (run, change) = (&change.run, &change);
        let made = self
            .store
            .write(Scope::Tenant(&run.tenant), "go on with the bundle", |db, _| {
                Box::pin(async move {
                    // By a commit whose answer was lost.
                    if audit::is_noted_in(db, &change.record).await? {
                        return Ok(());
                    }
                    let mut is_mine = sql::store(db, run, change.grip).await?;
                    if let Some(seen) = &change.step
                        && let Some(step) = run.steps.get(seen.number)
                    {
                        let calls = (&seen.call, &seen.compensation_call);
                        is_mine &= sql::store_step(db, run, step, calls).await?;
                    }
                    if !is_mine {
                        return Err(lost(run).into());
                    }
                    if let Some(event) = &change.event {
                        events::append_in(db, event).await?;
                    }
                    audit::append_in(db, acting, &change.record).await
                })
            })
            .await;
        match made {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn lost(run: &Run) -> Error {
    Error::new(ErrorKind::Conflict, "another process has the bundle's run")
        .with("run", &run.id)
        .hint("read the run: it is gone on with there")
}
