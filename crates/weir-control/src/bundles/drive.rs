//! Going forward with a run: one step after another, each a call that is governed as any other.

use std::sync::Arc;

use serde_json::{Map, Value};
use weir_protocol::bundle::{Part, Recipe};
use weir_protocol::{Error, ErrorKind, Result};

use super::moves::{Move, at_step, noted};
use super::rules::{self, Next};
use super::{Desk, Link, Parked, Run, Status, Step, StepStatus, sql};
use crate::approvals;
use crate::audit;
use crate::calls::{self, Call};
use crate::principals::{self, Access};
use crate::runs::Failure;
use crate::store::Scope;

/// So long after what failed without a word about the run, such as a database that was away, it is gone on with.
const LOOK_AGAIN_MS: i64 = 30_000;

/// Whether the process goes on with the run.
pub(super) enum Flow {
    On,
    Off,
}

impl Flow {
    /// Where a change was stored, or another process has the run, which the next look tells.
    pub(super) fn after(_made: bool) -> Self {
        Self::On
    }

    /// Where the run was let go by the change; if it was not, the next look tells why.
    pub(super) fn unless_released(made: bool) -> Self {
        if made { Self::Off } else { Self::On }
    }
}

/// What a call comes to for its step.
pub(super) enum Came {
    Done,
    Failed(Failure),
    /// For people, or for an outcome that is looked up.
    Waits,
    /// Only a person can find out.
    Unknown(Failure),
}

impl Desk {
    /// Whether a process that lives has the run.
    pub(super) async fn is_at_work(&self, run: &Run) -> Result<bool> {
        let holder = self
            .store
            .read(Scope::Tenant(&run.tenant), "look who has the run", |db, _| {
                Box::pin(async move { Ok(sql::holder(db, &run.tenant, &run.id).await?) })
            })
            .await?;
        Ok(holder.is_some_and(|(owner, is_expired)| !is_expired && !owner.is_dead()))
    }

    /// Goes on with a run that nobody has, or whose process is gone.
    pub(super) async fn drive(&self, id: &str) -> Result<()> {
        let run = self.found(id).await?;
        let waits_for_person = run.status == Status::Parked
            && (run.parked_for != Some(Parked::Uncertain) || self.is_unknown(&run));
        if run.status.is_over() || waits_for_person || self.is_at_work(&run).await? {
            return Ok(());
        }
        match self.take(&run).await? {
            Some(term) => Box::pin(self.go(id, term)).await,
            None => Ok(()),
        }
    }

    /// Whether the call that a run is parked for is as uncertain as it was.
    fn is_unknown(&self, run: &Run) -> bool {
        let call = run.waits_for.as_ref().and_then(|id| run.kept.calls.get(id));
        call.is_some_and(|call| call.status == calls::Status::Uncertain)
    }

    async fn take(&self, run: &Run) -> Result<Option<i64>> {
        let (record, acting, owner) = (&noted(run, "bundle.resume"), self.store.acting(), &self.owner);
        let taken = self
            .store
            .write(Scope::Tenant(&run.tenant), "take the bundle's run", |db, _| {
                Box::pin(async move {
                    if audit::is_noted_in(db, record).await? {
                        return Ok(true);
                    }
                    let taken = sql::take(db, run, owner).await?;
                    if taken {
                        audit::append_in(db, acting, record).await?;
                    }
                    Ok(taken)
                })
            })
            .await?;
        Ok(taken.then_some(run.kept.term + 1))
    }

    /// Goes on with a run that this process has until it is over, waits for somebody, or is another one's. Where that
    /// fails, the run is let go, so that the next look takes it up.
    pub(super) async fn go(&self, id: &str, term: i64) -> Result<()> {
        let gone = self.advance(id, term).await;
        if gone.is_err()
            && let Err(error) = self.let_go(id, term).await
        {
            tracing::warn!(%error, run = id, "cannot let a bundle's run go: its hold runs out by itself");
        }
        gone
    }

    async fn let_go(&self, id: &str, term: i64) -> Result<()> {
        let run = self.found(id).await?;
        if run.status.is_over() || run.kept.term != term || !run.kept.is_held {
            return Ok(());
        }
        let let_go = Move::of(run, "bundle.release").releasing(Some(LOOK_AGAIN_MS));
        self.make(let_go).await.map(drop)
    }

    async fn advance(&self, id: &str, term: i64) -> Result<()> {
        loop {
            let run = self.found(id).await?;
            if run.status.is_over() || run.kept.term != term || !run.kept.is_held {
                return Ok(());
            }
            if self.stop.is_cancelled() {
                let let_go = Move::of(run, "bundle.release").releasing(None);
                return self.make(let_go).await.map(drop);
            }
            let recipe = self.recipes.compile(run.kept.description.clone())?;
            let flow = match rules::next(&run) {
                Next::Begin(number) => self.begin_step(run, number, &recipe).await?,
                Next::Ask(number) => self.ask_step(run, number).await?,
                Next::Look(number) => self.look(run, number).await?,
                Next::TurnBack => self.turn_back(run).await?,
                Next::Undo(number) => self.undo(run, number, &recipe).await?,
                Next::LookAtUndo(number) => self.look_at_undo(run, number).await?,
                Next::Leave(number) => self.leave(run, number).await?,
                Next::End(status) => self.end(run, status, &recipe).await?,
            };
            if matches!(flow, Flow::Off) {
                return Ok(());
            }
        }
    }

    /// Skips a step, or writes its call's input and its compensation down.
    async fn begin_step(&self, run: Run, number: usize, recipe: &Arc<dyn Recipe>) -> Result<Flow> {
        let names = rules::names(&run);
        let input = match recipe.render(Part::Condition(number), &names) {
            Ok(Value::Bool(false)) => {
                let skipped =
                    Move::of_step(run, number, "bundle.step").step(|step| step.status = StepStatus::Skipped);
                return self.make(skipped).await.map(Flow::after);
            }
            Ok(_) => recipe.render(Part::Arguments(number), &names).and_then(object),
            Err(error) => Err(error),
        };
        let input = match input {
            Ok(input) => input,
            Err(error) => return self.fail(run, number, Failure::from(&error)).await,
        };
        let described = run.kept.description.spec.steps.get(number);
        let compensation = described.and_then(|step| step.compensation.clone());
        let back = compensation
            .as_ref()
            .and_then(|compensation| compensation.action.clone());
        let registered = Move::of_step(run, number, "bundle.register")
            .with("compensation", back.map_or(Value::Null, Value::from))
            .step(|step| {
                (step.status, step.input, step.compensation) =
                    (StepStatus::Registered, Some(input), compensation);
            });
        let made = self.make(registered).await?;
        fail::fail_point!("control.bundle_after_register", |_| std::process::abort());
        Ok(Flow::after(made))
    }

    async fn ask_step(&self, run: Run, number: usize) -> Result<Flow> {
        let Some(step) = run.steps.get(number) else {
            return Ok(Flow::Off);
        };
        let access = match self.holder(&run.kept.caller).await {
            Ok(access) => access,
            Err(error) if error.kind().is_transient() => return Err(error),
            Err(error) => return self.fail(run, number, Failure::from(&error)).await,
        };
        let wanted = calls::Wanted {
            connection: step.connection.clone(),
            action: step.action.clone(),
            input: step.input.clone().unwrap_or_default(),
        };
        match self.ask_for(&run, step, (&access, &wanted), false).await {
            Ok(()) => Ok(Flow::On),
            Err(error) => match self.unasked(&run, number, false).await? {
                Some(run) => self.fail(run, number, Failure::from(&error)).await,
                None => Ok(Flow::On),
            },
        }
    }

    /// Asks for the call of a step, which knows it from the transaction on in which it is written down.
    pub(super) async fn ask_for(
        &self,
        run: &Run,
        step: &Step,
        (access, wanted): (&Access, &calls::Wanted),
        takes_back: bool,
    ) -> Result<()> {
        let link = Link {
            tenant: run.tenant.clone(),
            run: run.id.clone(),
            term: run.kept.term,
            step: step.name.clone(),
            takes_back,
        };
        let key = rules::key(&run.id, step, takes_back);
        let desk = self.calls.acting_as(access.acting(Some(&run.id)));
        let asked = desk.ask_step(access, wanted, (&key, &link), &run.kept.via);
        Box::pin(asked).await.map(drop)
    }

    /// The run as it stands where a step has no call although it was asked for: nothing was sent. None where it has
    /// one, or another process has the run.
    pub(super) async fn unasked(&self, run: &Run, number: usize, takes_back: bool) -> Result<Option<Run>> {
        let now = self.found(&run.id).await?;
        if now.kept.term != run.kept.term {
            return Ok(None);
        }
        let step = now.steps.get(number);
        let call = step.and_then(|step| {
            if takes_back {
                step.compensation_call.as_ref()
            } else {
                step.call.as_ref()
            }
        });
        Ok(call.is_none().then_some(now))
    }

    /// What somebody may do now who asked for something before.
    pub(super) async fn holder(&self, access: &Access) -> Result<Access> {
        match &access.token {
            None => Ok(access.clone()),
            Some(token) => principals::holder(&self.store, &access.tenant, token).await,
        }
    }

    /// What a call has come to, gone on with as far as it can be now.
    pub(super) async fn came(&self, run: &Run, id: &str) -> Result<Came> {
        let Some(call) = run.kept.calls.get(id).cloned() else {
            let gone = Error::not_found(format!("its call '{id}' is gone, with its connection"))
                .hint("find out at the vendor whether it happened");
            return Ok(Came::Unknown(Failure::from(&gone)));
        };
        let call = Box::pin(self.calls.advanced(call)).await?;
        let failure = || {
            call.error
                .clone()
                .unwrap_or_else(|| Failure::from(&unsaid(&call)))
        };
        Ok(match call.status {
            calls::Status::Done => Came::Done,
            calls::Status::Failed | calls::Status::Refused => Came::Failed(failure()),
            calls::Status::Waiting | calls::Status::Ready | calls::Status::Running => Came::Waits,
            calls::Status::Uncertain if self.is_looked_at(&call).await? => Came::Waits,
            calls::Status::Uncertain => Came::Unknown(failure()),
        })
    }

    async fn is_looked_at(&self, call: &Call) -> Result<bool> {
        self.store
            .read(
                Scope::Tenant(&call.tenant),
                "look whether the call is looked up",
                |db, _| {
                    Box::pin(async move { Ok(calls::sql::is_looked_at(db, &call.tenant, &call.id).await?) })
                },
            )
            .await
    }

    async fn look(&self, run: Run, number: usize) -> Result<Flow> {
        let id = run.steps.get(number).and_then(|step| step.call.clone());
        let id = id.unwrap_or_default();
        if run.cancelled_by.is_some()
            && rules::pivot_passed(&run).is_none()
            && let Some(call) = run.kept.calls.get(&id)
            && matches!(call.status, calls::Status::Waiting | calls::Status::Ready)
        {
            let why = Error::new(ErrorKind::Cancelled, "its bundle was cancelled")
                .hint("ask for the bundle again if it is wanted after all");
            approvals::take_back(&self.store, call, &why).await?;
        }
        let term = run.kept.term;
        let run = self.found(&run.id).await?;
        if run.kept.term != term {
            // What another process has is not changed from here.
            return Ok(Flow::On);
        }
        let came = self.came(&run, &id).await?;
        fail::fail_point!("control.bundle_after_step", |_| std::process::abort());
        match came {
            Came::Done => {
                let done = Move::of_step(run, number, "bundle.step").step(|step| {
                    (step.status, step.error) = (StepStatus::Done, None);
                });
                self.make(done).await.map(Flow::after)
            }
            Came::Failed(failure) => self.fail(run, number, failure).await,
            Came::Waits => self.wait(run, number, &id).await,
            Came::Unknown(failure) => self.park_unknown(run, number, (&id, failure)).await,
        }
    }

    /// Nobody goes on before the call is over.
    pub(super) async fn wait(&self, run: Run, number: usize, call: &str) -> Result<Flow> {
        let mut waits = Move::of_step(run, number, "bundle.wait")
            .with("call", call)
            .releasing(None);
        waits.run.waits_for = Some(call.to_owned());
        self.make(waits).await.map(Flow::unless_released)
    }

    pub(super) async fn park_unknown(
        &self,
        run: Run,
        number: usize,
        (call, failure): (&str, Failure),
    ) -> Result<Flow> {
        let mut parked = Move::of_step(run, number, "bundle.park")
            .with("call", call)
            .parked(Parked::Uncertain, &failure);
        parked.run.waits_for = Some(call.to_owned());
        self.make(parked).await.map(Flow::unless_released)
    }

    /// A step surely had no effect. Before the pivot what is done is taken back; behind it only forward leads to an end.
    async fn fail(&self, run: Run, number: usize, failure: Failure) -> Result<Flow> {
        let name = run
            .steps
            .get(number)
            .map(|step| step.name.clone())
            .unwrap_or_default();
        let tries = run.steps.get(number).map_or(1, |step| step.attempt + 1);
        if rules::pivot_passed(&run).is_none() || run.kept.may_leave {
            let turned = Move::of_step(run, number, "bundle.step")
                .step(|step| step.status = StepStatus::Failed)
                .failed(&failure)
                .turned(at_step(&name, &failure));
            return self.make(turned).await.map(Flow::after);
        }
        if rules::may_pass(&failure) && rules::is_tried_again(tries) {
            let again = Move::of_step(run, number, "bundle.step")
                .step(|step| {
                    (step.status, step.call, step.attempt) = (StepStatus::Registered, None, tries);
                })
                .failed(&failure)
                .releasing(Some(rules::wait_ms(tries)));
            return self.make(again).await.map(Flow::unless_released);
        }
        let parked = Move::of_step(run, number, "bundle.park")
            .step(|step| step.status = StepStatus::Failed)
            .failed(&failure)
            .parked(Parked::Pivot, &failure);
        self.make(parked).await.map(Flow::unless_released)
    }

    async fn turn_back(&self, run: Run) -> Result<Flow> {
        let by = run.cancelled_by.clone();
        let why = Error::new(ErrorKind::Cancelled, "the bundle was cancelled")
            .hint("ask for the bundle again if it is wanted after all");
        let turned = Move::of(run, "bundle.compensate")
            .with("cancelled", by.is_some())
            .turned(Failure::from(&why));
        self.make(turned).await.map(Flow::after)
    }

    async fn end(&self, mut run: Run, status: Status, recipe: &Arc<dyn Recipe>) -> Result<Flow> {
        fail::fail_point!("control.bundle_before_end", |_| std::process::abort());
        if status == Status::Done {
            match recipe.render(Part::Output, &rules::names(&run)) {
                Ok(output) => (run.output, run.error) = (Some(output), None),
                // Every effect is there: that its output cannot be written takes none of them back.
                Err(error) => run.error = Some(Failure::from(&error)),
            }
        }
        let ended = Move::of(run, "bundle.end").ended(status);
        self.make(ended).await.map(Flow::unless_released)
    }
}

/// What a template has to give where an action's input is wanted.
pub(super) fn object(value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Error::template("the arguments are no object").hint("write them as name: value")),
    }
}

fn unsaid(call: &Call) -> Error {
    Error::internal(format!("its call is {} and says no reason", call.status)).hint("read the call")
}
