//! Decisions about runs of bundles that need no I/O.

use serde_json::{Map, Value, json};
use weir_protocol::{Error, ErrorKind, Result};

use super::{Answered, Run, Status, Step, StepStatus};
use crate::calls::rules::{STEP_KEYS, digest};
use crate::runs::Failure;

/// As long as a process may be at work on a run between two things that it writes down.
pub(crate) const LEASE_MS: i64 = 240_000;
/// So often a compensation, or a step behind the pivot, is tried; then a person looks at it.
pub(super) const TRIES_MAX: u32 = 4;
const FIRST_WAIT_MS: i64 = 1_000;

/// What is done next with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The step is skipped, or its compensation written down.
    Begin(usize),
    /// Its call is asked for.
    Ask(usize),
    /// Its call is looked at.
    Look(usize),
    /// It was cancelled: what is done is taken back.
    TurnBack,
    /// The call that takes the step back is asked for.
    Undo(usize),
    /// That call is looked at.
    LookAtUndo(usize),
    /// The step stays, as a person let it.
    Leave(usize),
    End(Status),
}

pub(super) fn next(run: &Run) -> Next {
    if run.kept.is_back {
        return next_back(run);
    }
    let open = |step: &Step| !matches!(step.status, StepStatus::Done | StepStatus::Skipped);
    // Behind the pivot only forward leads to an end.
    let is_given_up = run.cancelled_by.is_some() && pivot_passed(run).is_none();
    let Some(number) = run.steps.iter().position(open) else {
        return if is_given_up {
            Next::TurnBack
        } else {
            Next::End(Status::Done)
        };
    };
    let status = run.steps.get(number).map(|step| step.status);
    match status {
        Some(StepStatus::Sent) => Next::Look(number),
        _ if is_given_up => Next::TurnBack,
        Some(StepStatus::Planned) => Next::Begin(number),
        Some(StepStatus::Registered) => Next::Ask(number),
        // A step that failed turned the run in the same transaction.
        _ => Next::TurnBack,
    }
}

fn next_back(run: &Run) -> Next {
    let is_left = |step: &Step| step.status == StepStatus::Done && !step.effect.is_harmless();
    match run.steps.iter().rposition(is_left) {
        Some(number) => match run.steps.get(number) {
            Some(step) if is_final(step) => Next::Leave(number),
            Some(step) if step.compensation_call.is_some() => Next::LookAtUndo(number),
            _ => Next::Undo(number),
        },
        None => Next::End(ended(run)),
    }
}

/// How a run ends that took back what it could.
fn ended(run: &Run) -> Status {
    let had_effect = |step: &Step| {
        matches!(
            step.status,
            StepStatus::Undone | StepStatus::Kept | StepStatus::Settled
        )
    };
    if run.steps.iter().any(had_effect) {
        Status::Compensated
    } else {
        Status::Failed
    }
}

/// Whether nothing takes it back.
pub(super) fn is_final(step: &Step) -> bool {
    step.compensation
        .as_ref()
        .is_none_or(|compensation| compensation.action.is_none())
        && !step.effect.is_harmless()
}

/// The last step that is done and that nothing takes back.
pub(super) fn pivot_passed(run: &Run) -> Option<&Step> {
    let passed = |step: &&Step| step.status == StepStatus::Done && is_final(step);
    run.steps.iter().rev().find(passed)
}

/// Whether what did not work may work when it is tried again: what nobody allowed, or what is asked for wrongly, will not.
pub(super) fn may_pass(failure: &Failure) -> bool {
    !matches!(
        kind(failure),
        ErrorKind::Denied
            | ErrorKind::Usage
            | ErrorKind::Spec
            | ErrorKind::Template
            | ErrorKind::NotFound
            | ErrorKind::Cancelled
    )
}

pub(super) fn kind(failure: &Failure) -> ErrorKind {
    Error::from(failure.clone()).kind()
}

/// Whether another try follows after so many, without a person.
pub(super) fn is_tried_again(tries: u32) -> bool {
    !tries.is_multiple_of(TRIES_MAX)
}

/// How long nobody tries again after so many tries.
pub(super) fn wait_ms(tries: u32) -> i64 {
    FIRST_WAIT_MS << (tries % TRIES_MAX).saturating_sub(1)
}

/// The key of a step's call: the same for each process that goes on with the run.
pub(super) fn key(run: &str, step: &Step, takes_back: bool) -> String {
    if takes_back {
        format!(
            "{STEP_KEYS}{run}/{}/back/{}",
            step.name, step.compensation_attempt
        )
    } else {
        format!("{STEP_KEYS}{run}/{}/{}", step.name, step.attempt)
    }
}

/// What makes two bundles under one key the same.
pub(super) fn asked_digest(bundle: &str, input: &Map<String, Value>) -> String {
    digest(&json!({ "bundle": bundle, "input": input }))
}

/// Whether the caller may use the key again: nothing happened, and the same may work later.
pub(super) fn gives_key_back(run: &Run) -> bool {
    let passes = |failure: &Failure| kind(failure).is_transient() || kind(failure) == ErrorKind::Auth;
    run.status == Status::Failed && run.error.as_ref().is_some_and(passes)
}

/// What templates of steps may name.
pub(super) fn names(run: &Run) -> Value {
    let mut steps = Map::new();
    for step in &run.steps {
        let call = step.call.as_ref().and_then(|id| run.kept.calls.get(id));
        let known = match step.status {
            StepStatus::Done => json!({
                "status": "done",
                "input": step.input,
                "output": call.and_then(|call| call.output.clone()).unwrap_or_else(|| json!({})),
                "remote_id": call.and_then(|call| call.remote_id.clone()),
            }),
            StepStatus::Skipped => {
                json!({ "status": "skipped", "input": {}, "output": {}, "remote_id": null })
            }
            _ => continue,
        };
        steps.insert(step.name.clone(), known);
    }
    json!({ "input": run.input, "steps": steps, "correlation_id": run.id })
}

/// What the templates of a step's compensation may name.
pub(super) fn names_back(run: &Run, step: &Step) -> Value {
    let call = step.call.as_ref().and_then(|id| run.kept.calls.get(id));
    json!({
        "input": step.input,
        "output": call.and_then(|call| call.output.clone()).unwrap_or_else(|| json!({})),
        "remote_id": call.and_then(|call| call.remote_id.clone()),
        "correlation_id": run.id,
    })
}

/// What a key that was used before gives: its run, unless it is another one or somebody is at work on it.
pub(super) fn replay(found: Run, asked_digest: &str, is_at_work: bool) -> Result<Answered> {
    let key = found.idempotency_key.clone().unwrap_or_default();
    if found.kept.asked_digest != asked_digest {
        return Err(Error::spec("the idempotency key was used for another bundle")
            .with("key", key)
            .with("run", &found.id)
            .hint("use a new key for every new run"));
    }
    if is_at_work {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the bundle with this idempotency key is under way",
        )
        .with("key", key)
        .with("run", &found.id)
        .hint("ask again in a moment, or read the run"));
    }
    Ok(Answered {
        run: found,
        is_replay: true,
    })
}
