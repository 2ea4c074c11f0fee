//! Decisions about runs that need no I/O.

use weir_protocol::{Error, ErrorKind, Result};

use super::RunStatus;

impl RunStatus {
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Abandoned,
    ];

    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The state machine, as drawn in `docs/reference/runs.md`.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Running | Self::Cancelled | Self::Abandoned),
            Self::Running => next.is_final(),
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Abandoned => false,
        }
    }
}

/// Refuses a step that the state machine does not have.
pub(super) fn step(run: &str, from: RunStatus, to: RunStatus) -> Result<()> {
    if from.may_become(to) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("run is {from} and cannot become {to}"),
    )
    .with("run", run)
    .hint("`weir run show` tells what happened; start a new run"))
}

/// What a worker is told that went on with a run which is no longer its own.
pub(super) fn taken_away(run: &str, status: RunStatus) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("the run is {status}: its worker lost it"),
    )
    .with("run", run)
    .hint("nothing was lost: another attempt goes on; `weir run list` shows it")
}

/// Whether every stream of a run came to an end of its own.
pub(super) fn has_ended(streams: &[RunStatus]) -> bool {
    let ended = |status: &RunStatus| status.is_final() && *status != RunStatus::Abandoned;
    !streams.is_empty() && streams.iter().all(ended)
}

/// What the whole run is, once all its streams have ended.
pub(crate) fn overall(streams: impl IntoIterator<Item = RunStatus>) -> RunStatus {
    let mut status = RunStatus::Succeeded;
    for stream in streams {
        match stream {
            RunStatus::Succeeded => {}
            RunStatus::Cancelled if status == RunStatus::Succeeded => status = RunStatus::Cancelled,
            RunStatus::Cancelled => {}
            RunStatus::Failed | RunStatus::Abandoned | RunStatus::Queued | RunStatus::Running => {
                status = RunStatus::Failed;
            }
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The drawing and the rule are the same thing.
    #[test]
    fn the_documentation_draws_every_step() {
        let drawn = include_str!("../../../../docs/reference/runs.md");
        let mut steps: Vec<String> = drawn
            .lines()
            .map(str::trim)
            .filter(|line| line.contains("-->") && !line.contains("[*]"))
            .map(|line| line.split(':').next().unwrap_or_default().trim().to_owned())
            .collect();
        let mut allowed = Vec::new();
        for from in RunStatus::ALL {
            for to in RunStatus::ALL {
                if from.may_become(to) {
                    allowed.push(format!("{from} --> {to}"));
                }
            }
        }
        steps.sort();
        allowed.sort();
        assert_eq!(steps, allowed);
    }

    #[test]
    fn one_failure_makes_the_run_fail_and_cancelling_comes_second() {
        use RunStatus::{Cancelled, Failed, Succeeded};
        assert_eq!(overall([Succeeded, Succeeded]), Succeeded);
        assert_eq!(overall([Succeeded, Cancelled]), Cancelled);
        assert_eq!(overall([Cancelled, Failed]), Failed);
        assert_eq!(overall([Failed, Cancelled]), Failed);
        assert_eq!(overall([]), Succeeded);
    }
}
