//! Takes runs from the queue and carries them out, a bounded number at once, until it is asked to
//! stop. What a run is made of, the performer knows.

mod supply;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use weir_protocol::{Error, ErrorKind, Result};

use crate::leases::{HEARTBEAT, LEASE_TIME};
use crate::runs::queue::{Claimed, Held};
use crate::slices::{self, Helper, SliceSupply};
use crate::{Store, runs, schedules};

pub use supply::{RunSupply, StoreSupply};

/// After it could not help it offers itself to nobody for so long: what was wrong is wrong in a second, too.
const HELP_AGAIN: Duration = Duration::from_secs(30);

/// Carries out one run.
#[async_trait]
pub trait Performer: Send + Sync {
    /// Carries out the run to its end, which it stores itself. An error means that it came to nothing
    /// before it began. Stops at the next checkpoint once `cancel` is called.
    async fn perform(&self, claimed: &Claimed, cancel: CancellationToken) -> Result<()>;
}

/// What a worker is allowed, each with its unit.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Runs that it carries out at once.
    pub runs_at_once: usize,
    /// How often it looks for work while it has room.
    pub poll: Duration,
    /// After a wish to stop, runs may go on for so long before they are asked to stop too.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            runs_at_once: 4,
            poll: Duration::from_secs(1),
            drain: Duration::from_secs(30),
        }
    }
}

/// One worker of any number. It keeps nothing that another could not go on with.
pub struct Worker {
    supply: Arc<dyn RunSupply>,
    performer: Arc<dyn Performer>,
    limits: Limits,
    running: HashMap<Id, (Claimed, CancellationToken)>,
    tasks: JoinSet<Result<()>>,
    /// When the store last agreed that the runs are this worker's.
    renewed_at: Instant,
    /// What it does with places that no run needs.
    helping: Option<(Arc<dyn SliceSupply>, Arc<dyn Helper>)>,
    helps: JoinSet<Result<()>>,
    /// Ends what it helps with, the latest last.
    helps_stops: Vec<(Id, CancellationToken)>,
    /// It helps nobody before then.
    helps_after: Instant,
    /// Why it may not work any more.
    refusal: Option<Error>,
}

impl Worker {
    pub fn new(store: Store, performer: Arc<dyn Performer>, limits: Limits) -> Self {
        Self::over(Arc::new(StoreSupply::new(store)), performer, limits)
    }

    /// A worker whose runs come from elsewhere.
    pub fn over(supply: Arc<dyn RunSupply>, performer: Arc<dyn Performer>, limits: Limits) -> Self {
        Self {
            supply,
            performer,
            limits,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            renewed_at: Instant::now(),
            helping: None,
            helps: JoinSet::new(),
            helps_stops: Vec::new(),
            helps_after: Instant::now(),
            refusal: None,
        }
    }

    /// Reads slices of other workers' runs with places that no run needs.
    #[must_use]
    pub fn helping(mut self, supply: Arc<dyn SliceSupply>, helper: Arc<dyn Helper>) -> Self {
        self.helping = Some((supply, helper));
        self
    }

    /// Works until `stop` is called, then ends what it has. An error says why it may not go on.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut polls = interval(self.limits.poll);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = interval(HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.refusal.is_none() {
            tokio::select! {
                // A wish to stop comes before work.
                biased;
                () = stop.cancelled() => break,
                _ = beats.tick() => {
                    // Nor does a control that is away hold up who wants to stop.
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = self.renew() => {}
                    }
                }
                _ = polls.tick() => self.claim(&stop).await,
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.ended(ended).await;
                    // There is room again: no need to wait for the next look.
                    self.claim(&stop).await;
                }
                Some(ended) = self.helps.join_next_with_id() => self.helped(ended),
            }
        }
        self.drain(beats).await
    }

    /// A worker that nobody lets in any more asks no more. Whatever else is wrong may pass.
    fn trouble(&mut self, error: Error, what: &str) {
        if matches!(
            error.kind(),
            ErrorKind::Auth | ErrorKind::Denied | ErrorKind::Usage
        ) {
            self.stop_all();
            self.refusal.get_or_insert(error);
        } else {
            tracing::error!(%error, "{what}");
        }
    }

    async fn claim(&mut self, stop: &CancellationToken) {
        // Whom it helps can do without it; a run that waits has nobody.
        let room = (self.limits.runs_at_once).saturating_sub(self.running.len());
        if room == 0 {
            return;
        }
        // A database that is away holds up nobody who wants to stop. What was claimed without our
        // knowing expires, and is tried again.
        let claimed = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            claimed = self.supply.claim(room) => claimed,
        };
        match claimed {
            Ok(claimed) => claimed.into_iter().for_each(|claimed| self.begin(claimed)),
            Err(error) => return self.trouble(error, "cannot look for work"),
        }
        self.leave_room();
        if self.running.len() + self.helps.len() < self.limits.runs_at_once {
            self.help(stop).await;
        }
    }

    /// Helps no more with places that its own runs have.
    fn leave_room(&mut self) {
        let places = (self.limits.runs_at_once).saturating_sub(self.running.len());
        while self.helps_stops.len() > places
            && let Some((_, stop)) = self.helps_stops.pop()
        {
            stop.cancel();
        }
    }

    /// Joins another worker's run, where one has slices to spare.
    async fn help(&mut self, stop: &CancellationToken) {
        let Some((supply, helper)) = self.helping.clone() else {
            return;
        };
        if Instant::now() < self.helps_after {
            return;
        }
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            first = supply.claim(None, 1) => first,
        };
        match first {
            Ok(first) if first.is_empty() => {}
            Ok(first) => {
                let stop = CancellationToken::new();
                let helping = slices::help(supply, helper, first, stop.clone());
                let id = self.helps.spawn(helping).id();
                self.helps_stops.push((id, stop));
            }
            // A server of before slices were shared.
            Err(error) if error.kind() == ErrorKind::NotFound => self.helping = None,
            Err(error) => self.trouble(error, "cannot look for slices"),
        }
    }

    fn helped(&mut self, ended: std::result::Result<(Id, Result<()>), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(panic) => panic.id(),
        };
        self.helps_stops.retain(|(helping, _)| *helping != id);
        match ended {
            Ok((_, Ok(()))) => {}
            // The run's own worker reads what this one does not.
            Ok((_, Err(error))) => {
                tracing::error!(%error, "cannot help a run");
                self.helps_after = Instant::now() + HELP_AGAIN;
            }
            Err(panic) => tracing::error!(%panic, "helping a run broke off"),
        }
    }

    fn begin(&mut self, claimed: Claimed) {
        tracing::info!(
            run = claimed.run,
            connection = claimed.connection,
            attempt = claimed.attempt,
            "run claimed"
        );
        let cancel = CancellationToken::new();
        let performer = self.performer.clone();
        let (performed, stopper) = (claimed.clone(), cancel.clone());
        let task = self
            .tasks
            .spawn(async move { performer.perform(&performed, stopper).await });
        self.running.insert(task.id(), (claimed, cancel));
    }

    async fn ended(&mut self, ended: std::result::Result<(Id, Result<()>), JoinError>) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(panic) => {
                let error = Error::internal(format!("the run broke off: {panic}"))
                    .hint("what was committed stays; report this if it comes back");
                (panic.id(), Err(error))
            }
        };
        let Some((claimed, _)) = self.running.remove(&id) else {
            return;
        };
        let Err(error) = outcome else { return };
        tracing::error!(run = claimed.run, connection = claimed.connection, %error, "run failed");
        if let Err(error) = self.supply.fail(&claimed, &error).await
            && error.kind() != ErrorKind::Conflict
        {
            tracing::error!(run = claimed.run, %error, "the run's end could not be stored");
        }
    }

    async fn renew(&mut self) {
        let runs: Vec<String> = self
            .running
            .values()
            .map(|(claimed, _)| claimed.run.clone())
            .collect();
        match self.supply.renew(&runs).await {
            Ok(held) => {
                self.renewed_at = Instant::now();
                let held: HashMap<String, Held> = held.into_iter().collect();
                for (claimed, cancel) in self.running.values() {
                    match held.get(&claimed.run) {
                        Some(Held::Yes) => {}
                        Some(Held::CancelAsked) => cancel.cancel(),
                        None => {
                            tracing::error!(run = claimed.run, "the run was taken away from this worker");
                            cancel.cancel();
                        }
                    }
                }
            }
            Err(error) => {
                self.trouble(error, "cannot renew the runs of this worker");
                if self.renewed_at.elapsed() >= LEASE_TIME {
                    self.stop_all();
                }
            }
        }
    }

    fn stop_all(&self) {
        self.running.values().for_each(|(_, cancel)| cancel.cancel());
    }

    /// Ends what it has: first by itself, then by asking.
    async fn drain(mut self, mut beats: tokio::time::Interval) -> Result<()> {
        let deadline = tokio::time::sleep(self.limits.drain);
        tokio::pin!(deadline);
        let mut is_asked = false;
        // What it helps with others can go on with at once.
        self.helps_stops.iter().for_each(|(_, stop)| stop.cancel());
        while !self.tasks.is_empty() || !self.helps.is_empty() {
            tokio::select! {
                () = &mut deadline, if !is_asked => {
                    is_asked = true;
                    self.stop_all();
                }
                Some(ended) = self.helps.join_next_with_id() => self.helped(ended),
                _ = beats.tick() => self.renew().await,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
            }
        }
        self.refusal.map_or(Ok(()), Err)
    }
}

/// Queues what is due and tries again what died, until `stop` is called. Any number of servers may
/// do so at once.
pub async fn schedule(store: Store, poll: Duration, stop: CancellationToken) {
    let mut polls = interval(poll);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let look = async {
            polls.tick().await;
            // What is due waits for a server that can do it, or until this one can.
            if store.fit().is_err() {
                return;
            }
            say(schedules::tick(&store).await, "cannot look at the schedules");
            say(runs::sweep(&store).await, "cannot look for runs that died");
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = look => {}
        }
    }
}

fn say(outcome: Result<u64, Error>, what: &str) {
    if let Err(error) = outcome {
        tracing::error!(%error, "{what}");
    }
}
