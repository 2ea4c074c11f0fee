//! Taking back what a run has done, the last step first.

use std::sync::Arc;

use weir_protocol::bundle::{Part, Recipe};
use weir_protocol::{Error, Result};

use super::drive::{Came, Flow, object};
use super::moves::Move;
use super::{Desk, Parked, Run, StepStatus, rules};
use crate::calls;
use crate::principals::Access;
use crate::runs::Failure;

impl Desk {
    /// Asks for the call that takes a step back.
    pub(super) async fn undo(&self, run: Run, number: usize, recipe: &Arc<dyn Recipe>) -> Result<Flow> {
        fail::fail_point!("control.bundle_before_undo", |_| std::process::abort());
        let Some(step) = run.steps.get(number) else {
            return Ok(Flow::Off);
        };
        let names = rules::names_back(&run, step);
        let input = recipe.render(Part::Compensation(number), &names).and_then(object);
        let input = match input {
            Ok(input) => input,
            Err(error) => return self.not_undone(run, number, Failure::from(&error)).await,
        };
        let back = step
            .compensation
            .as_ref()
            .and_then(|compensation| compensation.of(&step.connection));
        let Some((connection, action)) = back else {
            return self.leave(run, number).await;
        };
        let wanted = calls::Wanted {
            connection: connection.to_owned(),
            action: action.to_owned(),
            input,
        };
        let access = match self.who_takes_back(&run).await {
            Ok(access) => access,
            Err(error) if error.kind().is_transient() => return Err(error),
            Err(error) => return self.not_undone(run, number, Failure::from(&error)).await,
        };
        match self.ask_for(&run, step, (&access, &wanted), true).await {
            Ok(()) => Ok(Flow::On),
            Err(error) => match self.unasked(&run, number, true).await? {
                Some(run) => self.not_undone(run, number, Failure::from(&error)).await,
                None => Ok(Flow::On),
            },
        }
    }

    /// Who asked for the run; where they may not any more, who let it go on.
    async fn who_takes_back(&self, run: &Run) -> Result<Access> {
        let first = match self.holder(&run.kept.caller).await {
            Ok(access) => return Ok(access),
            Err(error) => error,
        };
        match &run.kept.retried_by {
            Some(other) => self.holder(other).await,
            None if first.kind().is_transient() => Err(first),
            None => Err(Error::denied(format!(
                "whoever asked for it may not any more: {}",
                first.message()
            ))
            .caused_by(first)
            .hint("somebody who may call its actions lets it go on: `weir bundle retry`")),
        }
    }

    pub(super) async fn look_at_undo(&self, run: Run, number: usize) -> Result<Flow> {
        let id = run
            .steps
            .get(number)
            .and_then(|step| step.compensation_call.clone())
            .unwrap_or_default();
        let came = self.came(&run, &id).await?;
        fail::fail_point!("control.bundle_after_undo", |_| std::process::abort());
        match came {
            Came::Done => {
                let undone = Move::of_step(run, number, "bundle.undo")
                    .step(|step| (step.status, step.error) = (StepStatus::Undone, None));
                self.make(undone).await.map(Flow::after)
            }
            Came::Failed(failure) => self.not_undone(run, number, failure).await,
            Came::Waits => self.wait(run, number, &id).await,
            Came::Unknown(failure) => self.park_unknown(run, number, (&id, failure)).await,
        }
    }

    /// A compensation surely had no effect: it is tried again a few times, then a person looks at it.
    async fn not_undone(&self, run: Run, number: usize, failure: Failure) -> Result<Flow> {
        let tries = run
            .steps
            .get(number)
            .map_or(1, |step| step.compensation_attempt + 1);
        let change = |step: &mut super::Step| {
            (step.compensation_call, step.compensation_attempt) = (None, tries);
        };
        let change = if rules::may_pass(&failure) && rules::is_tried_again(tries) {
            Move::of_step(run, number, "bundle.undo")
                .step(change)
                .failed(&failure)
                .releasing(Some(rules::wait_ms(tries)))
        } else {
            Move::of_step(run, number, "bundle.park")
                .step(change)
                .failed(&failure)
                .parked(Parked::Compensation, &failure)
        };
        self.make(change).await.map(Flow::unless_released)
    }

    /// Lets a step stay that nothing takes back.
    pub(super) async fn leave(&self, run: Run, number: usize) -> Result<Flow> {
        let left = Move::of_step(run, number, "bundle.undo").step(|step| step.status = StepStatus::Kept);
        self.make(left).await.map(Flow::after)
    }
}
