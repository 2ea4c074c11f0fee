//! Takes runs from the queue and carries them out, a bounded number at once, until it is asked to
//! stop. What a run is made of, the performer knows.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use weir_protocol::{Error, ErrorKind, Result};

use crate::leases::{HEARTBEAT, LEASE_TIME};
use crate::runs::queue::{self, Claimed, Held};
use crate::{Owner, Store, runs, schedules};

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
    store: Store,
    performer: Arc<dyn Performer>,
    limits: Limits,
    /// Names this process among all workers.
    name: String,
    running: HashMap<Id, (Claimed, CancellationToken)>,
    tasks: JoinSet<Result<()>>,
    /// When the store last agreed that the runs are this worker's.
    renewed_at: Instant,
}

impl Worker {
    pub fn new(store: Store, performer: Arc<dyn Performer>, limits: Limits) -> Self {
        let Owner { host, pid, .. } = Owner::this_process();
        Self {
            store,
            performer,
            limits,
            name: format!("{host}/{pid}/{}", Uuid::now_v7()),
            running: HashMap::new(),
            tasks: JoinSet::new(),
            renewed_at: Instant::now(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Works until `stop` is called, then ends what it has.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut polls = interval(self.limits.poll);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = interval(HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // A wish to stop comes before work.
                biased;
                () = stop.cancelled() => break,
                _ = beats.tick() => self.renew().await,
                _ = polls.tick() => self.claim(&stop).await,
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.ended(ended).await;
                    // There is room again: no need to wait for the next look.
                    self.claim(&stop).await;
                }
            }
        }
        self.drain(beats).await;
    }

    async fn claim(&mut self, stop: &CancellationToken) {
        let room = self.limits.runs_at_once.saturating_sub(self.running.len());
        if room == 0 {
            return;
        }
        // A database that is away holds up nobody who wants to stop. What was claimed without our
        // knowing expires, and is tried again.
        let claimed = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            claimed = queue::claim(&self.store, &self.name, room) => claimed,
        };
        match claimed {
            Ok(claimed) => claimed.into_iter().for_each(|claimed| self.begin(claimed)),
            Err(error) => tracing::error!(%error, "cannot look for work"),
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
        if let Err(error) = queue::end(&self.store, &claimed, Err(&error)).await
            && error.kind() != ErrorKind::Conflict
        {
            tracing::error!(run = claimed.run, %error, "the run's end could not be stored");
        }
    }

    async fn renew(&mut self) {
        if self.running.is_empty() {
            self.renewed_at = Instant::now();
            return;
        }
        let runs: Vec<String> = self
            .running
            .values()
            .map(|(claimed, _)| claimed.run.clone())
            .collect();
        match queue::renew(&self.store, &self.name, &runs).await {
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
                tracing::error!(%error, "cannot renew the runs of this worker");
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
    async fn drain(mut self, mut beats: tokio::time::Interval) {
        let deadline = tokio::time::sleep(self.limits.drain);
        tokio::pin!(deadline);
        let mut is_asked = false;
        while !self.tasks.is_empty() {
            tokio::select! {
                () = &mut deadline, if !is_asked => {
                    is_asked = true;
                    self.stop_all();
                }
                _ = beats.tick() => self.renew().await,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
            }
        }
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
