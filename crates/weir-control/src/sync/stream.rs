//! One stream of a sync: its lease, its tries, its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use weir_protocol::destination::Committed;
use weir_protocol::slices::SliceReaders;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{
    Books, Error, ErrorKind, ReadMode, Receipt, Result, StreamDescriptor, StreamWriter, SyncMode,
};
use weir_protocol::{WritePlan, name};

use super::heartbeat::{self, Heartbeat};
use super::pulse::{Pulse, hung, stalled};
use super::pump::{End, Pump};
use super::rules::{self, Decision, Last};
use super::{StreamOutcome, SyncPlan, backfill};
use crate::failpoint;
use crate::leases::{HEARTBEAT, Lease};
use crate::ledger::{Entry, SharedLedger, Standing, failure};
use crate::runs::RunStatus;
use crate::slices::{Shares, Sharing, SliceAsk, may_share};
use crate::states::Wish;

pub(super) struct StreamJob {
    pub(super) ledger: SharedLedger,
    pub(super) plan: Arc<SyncPlan>,
    /// Place of the stream in the plan.
    pub(super) index: usize,
    pub(super) lease: Lease,
    /// The mode that is wanted; an interrupted full read may be ended in its own first.
    pub(super) mode: SyncMode,
    pub(super) memory_bytes: u64,
    pub(super) pulse: Pulse,
}

/// What a stream has come to so far, over all its tries.
pub(super) struct Tally {
    pub(super) mode: SyncMode,
    pub(super) progress: Progress,
    pub(super) receipt: Option<Receipt>,
    pub(super) books: Books,
}

/// The newest checkpoint that the store knows of.
#[derive(Default)]
struct Known {
    sequence: u64,
    run: Option<String>,
    mode: Option<SyncMode>,
    is_complete: bool,
}

impl From<Last<'_>> for Known {
    fn from(last: Last<'_>) -> Self {
        Self {
            sequence: last.committed.sequence,
            run: Some(last.committed.run.clone()),
            mode: last.mode,
            is_complete: last.committed.state.complete,
        }
    }
}

impl Known {
    /// What a person is told where the lake does not have that checkpoint any more.
    fn gone(&self, lake: u64) -> Notice {
        let unpublished = self.mode.is_some_and(|mode| mode.read() == ReadMode::FullRefresh);
        match &self.run {
            Some(run) if unpublished && !self.is_complete => Notice {
                message: format!(
                    "the full refresh that run {run} began was never published and is given up"
                ),
                hint: Some("the table is as it was before that run; this run does not go on with it".to_owned()),
            },
            _ => Notice {
                message: format!(
                    "the lake holds checkpoint {lake}, the control store knew {}: the lake counts",
                    self.sequence
                ),
                hint: Some(
                    "the table was removed, or an older copy of it put back; if nobody did that, look for who changed it"
                        .to_owned(),
                ),
            },
        }
    }
}

/// Why a try ended badly.
pub(super) enum Fault {
    /// Another writer changed the table first: a new try may succeed.
    Conflict(Error),
    Final(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Fault {
    pub(super) fn of_destination(error: Error) -> Self {
        if error.kind() == ErrorKind::Conflict {
            Self::Conflict(error)
        } else {
            Self::Final(error)
        }
    }
}

impl StreamJob {
    pub(super) fn stream(&self) -> &StreamDescriptor {
        &self.plan.streams[self.index]
    }

    /// Waits for its turn, syncs, and gives the lease back. The heartbeat beats from the beginning,
    /// because the lease is held while waiting too.
    pub(super) async fn run(self, turns: Arc<Semaphore>) -> StreamOutcome {
        let started = Instant::now();
        let heartbeat = Heartbeat::start(self.ledger.clone(), self.lease.clone(), self.plan.cancel.clone());
        let mut tally = Tally {
            mode: self.mode,
            progress: Progress::default(),
            receipt: None,
            books: Books::default(),
        };
        let result = tokio::select! {
            biased;
            () = self.plan.cancel.cancelled() => Ok(End::Cancelled),
            turn = turns.acquire_owned() => match turn {
                Ok(_turn) => self.sync_unless_hung(&heartbeat, &mut tally).await,
                Err(closed) => Err(Error::internal("no turn for the stream").caused_by(closed).hint("report it")),
            },
        };
        self.conclude(result, tally, started.elapsed()).await
    }

    /// What hangs is dropped where it stands, as if its process had died.
    async fn sync_unless_hung(&self, heartbeat: &Heartbeat, tally: &mut Tally) -> Result<End> {
        let limit = self.plan.options.hung_after;
        self.pulse.beat();
        tokio::select! {
            ended = self.sync(heartbeat, tally) => ended,
            () = self.pulse.still_for(limit) => Err(hung(&self.lease.stream, limit)),
            never = self.mark_stalled() => match never {},
        }
    }

    /// Marks the run once its source was silent for a while. What hangs and what is slow cannot be told apart
    /// so early: nothing is ended for it.
    async fn mark_stalled(&self) -> Infallible {
        let options = &self.plan.options;
        self.pulse.silent_for(options.stalled_after).await;
        self.note(&stalled(options.stalled_after, options.hung_after))
            .await;
        std::future::pending().await
    }

    async fn sync(&self, heartbeat: &Heartbeat, tally: &mut Tally) -> Result<End> {
        self.step(RunStatus::Running, tally.mode, None).await?;
        let mut tries = 0;
        loop {
            let fault = match self.attempt(heartbeat, tally).await {
                Ok(end) => return Ok(end),
                Err(fault) => fault,
            };
            match fault {
                Fault::Conflict(error)
                    if tries < self.plan.options.conflict_retries_max && !heartbeat.is_lost() =>
                {
                    tracing::warn!(run = self.lease.run, stream = self.lease.stream, %error, "trying the stream again");
                    tokio::time::sleep(self.plan.options.conflict_wait * 2_u32.saturating_pow(tries)).await;
                    tries += 1;
                }
                Fault::Conflict(error) | Fault::Final(error) => return Err(error),
            }
        }
    }

    /// Others that read the stream's slices, where it has some that may be shared. What earlier runs and
    /// tries left on offer is taken away first.
    pub(super) async fn shares(&self) -> Result<Option<Arc<dyn SliceReaders>>> {
        let Some(sharing) = self.sharing() else {
            // An earlier run may have been allowed to, and have died.
            self.sweep_spools().await;
            return Ok(None);
        };
        self.stop_sharing().await?;
        let at_once = self.plan.source.slices_at_once(&self.lease.stream);
        let (ledger, lease, pulse) = (self.ledger.clone(), self.lease.clone(), self.pulse.clone());
        let shares = Shares::new(ledger, lease, sharing, at_once, move || pulse.beat());
        Ok(Some(Arc::new(shares)))
    }

    fn sharing(&self) -> Option<&Sharing> {
        let sharing = self.plan.sharing.as_ref().filter(|sharing| sharing.workers > 1)?;
        let has_slices = self.plan.source.slices_at_once(&self.lease.stream) > 0;
        (has_slices && may_share(self.stream())).then_some(sharing)
    }

    /// Nothing is on offer any more, and nothing that was read for it is kept.
    async fn stop_sharing(&self) -> Result<()> {
        self.ledger.slices(&self.lease, &SliceAsk::Clear).await?;
        self.sweep_spools().await;
        Ok(())
    }

    async fn sweep_spools(&self) {
        let Some(sharing) = &self.plan.sharing else {
            return;
        };
        let Lease {
            connection, stream, ..
        } = &self.lease;
        if let Err(error) = sharing.spools.sweep(connection, stream).await {
            // Nobody reads it: each reading lies in a place of its own. The stream's next run tries again.
            tracing::warn!(run = self.lease.run, stream, %error, "what other workers read is kept");
        }
    }

    /// Opens the stream where the lake says it stands, and pumps it to its end.
    async fn attempt(&self, heartbeat: &Heartbeat, tally: &mut Tally) -> Result<End, Fault> {
        let (writer, decision) = self.open().await?;
        if decision.mode != tally.mode {
            tally.mode = decision.mode;
            self.note(&unfinished(&decision)).await;
            self.step(RunStatus::Running, decision.mode, None).await?;
        }
        Pump::new(self, heartbeat, tally, writer, decision).run().await
    }

    /// Opens the writer; what the lake knows and the store does not is repaired here.
    async fn open(&self) -> Result<(Box<dyn StreamWriter>, Decision), Fault> {
        let options = &self.plan.options;
        let Standing { stored, mode } = self.ledger.standing(&self.lease).await?;
        // Only the first try may forget what was left; later ones would forget this run's own work.
        let known_run = stored.as_ref().and_then(|stored| stored.run.as_deref());
        let restart = options.restart && known_run != Some(self.lease.run.as_str());
        let known = match &stored {
            Some(stored) => Known {
                sequence: stored.sequence,
                run: stored.run.clone(),
                mode,
                is_complete: stored.state.complete,
            },
            None => Known::default(),
        };
        let is_begun = known_run == Some(self.lease.run.as_str());
        if !is_begun {
            self.ask_full().await?;
        }
        let wish = stored
            .as_ref()
            .and_then(|stored| stored.open_wish(known.sequence));
        self.allow_range(known.run.as_ref().map(|_| (known.mode, known.is_complete)), wish)?;
        let first = rules::opening_mode(self.mode, options, known.mode, known.is_complete);
        let mut writer = self.open_as(first, restart, known.sequence).await?;
        let committed = writer.committed().cloned();
        let sequence = committed.as_ref().map_or(0, |committed| committed.sequence);
        let wish = stored
            .as_ref()
            .and_then(|stored| stored.open_wish(sequence).cloned());
        if self.repair(&known, committed.as_ref()).await? && !is_begun {
            // The lake's checkpoint is older than the wish, though the store heard of it later.
            self.ask_full().await?;
        }
        self.refuse_doubles(committed.as_ref())?;
        let last = match &committed {
            Some(committed) => Some(Last {
                committed,
                mode: self.ledger.mode_of(&self.lease, &committed.run).await?,
                is_ours: committed.run == self.lease.run,
            }),
            None => None,
        };
        let ended = last
            .as_ref()
            .map(|last| (last.mode, last.committed.state.complete));
        self.allow_range(ended, wish.as_ref())?;
        let decision = match options.to {
            Some(_) => backfill::decision(self.mode, last.as_ref()),
            None => rules::decide(self.mode, options, last.as_ref(), wish.as_ref()),
        };
        if wish == Some(Wish::Full) && decision.mode.read() == ReadMode::Incremental {
            // It is given up, even if this run commits nothing that would end it.
            self.write(&Entry::FullDone).await?;
        }
        let decision = Box::pin(self.unless_outdated(decision, last.as_ref())).await?;
        if decision.mode != first || (decision.restart && !restart) {
            drop(writer);
            writer = self
                .open_as(decision.mode, decision.restart, known.sequence)
                .await?;
            let known = last.map_or_else(Known::default, Known::from);
            self.repair(&known, writer.committed()).await?;
        }
        Ok((writer, decision))
    }

    fn allow_range(&self, last: Option<(Option<SyncMode>, bool)>, wish: Option<&Wish>) -> Result<()> {
        match self.plan.options.to {
            Some(_) => backfill::allow(self.stream(), last, wish),
            None => Ok(()),
        }
    }

    async fn open_as(
        &self,
        mode: SyncMode,
        restart: bool,
        known_sequence: u64,
    ) -> Result<Box<dyn StreamWriter>, Fault> {
        // Opening removes what nobody finished: only who holds the stream may say what that is.
        let now_ms = self.ledger.renew(&self.lease).await?.held(&self.lease)?;
        let started_at = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let plan = WritePlan {
            run: self.lease.run.clone(),
            connection: self.lease.connection.clone(),
            source: self.plan.connection.source.clone(),
            stream: self.stream().clone(),
            mode,
            restart,
            known_sequence,
            memory_bytes: self.memory_bytes,
            started_at,
        };
        self.plan
            .destination
            .open(plan)
            .await
            .map_err(Fault::of_destination)
    }

    /// Remembers that a full read is asked for, so that a run which dies before its first checkpoint
    /// does not drop it.
    async fn ask_full(&self) -> Result<()> {
        let is_usual = rules::usual_mode(self.stream()).read() == ReadMode::FullRefresh;
        if !self.plan.options.full || is_usual || self.stream().is_received {
            return Ok(());
        }
        self.write(&Entry::FullAsked).await?;
        failpoint::reach(failpoint::AFTER_WISH)
    }

    fn refuse_doubles(&self, committed: Option<&Committed>) -> Result<()> {
        let options = &self.plan.options;
        let is_earlier = committed.is_some_and(|committed| committed.run != self.lease.run);
        if options.from.is_some() && !options.accept_duplicates && is_earlier && rules::doubles(self.stream())
        {
            return Err(rules::would_double(&self.lease.connection, self.stream()));
        }
        Ok(())
    }

    /// Where the lake stands elsewhere than the store knew, the lake counts. Answers whether it did.
    async fn repair(&self, known: &Known, committed: Option<&Committed>) -> Result<bool> {
        let lake = committed.map_or(0, |committed| committed.sequence);
        // A refresh that was given up leaves its numbers to whoever gave it up.
        let is_same_run = committed.map(|committed| &committed.run) == known.run.as_ref();
        if lake == known.sequence && (is_same_run || lake == 0) {
            return Ok(false);
        }
        if lake <= known.sequence {
            self.note(&known.gone(lake)).await;
        } else {
            tracing::info!(
                run = self.lease.run,
                stream = self.lease.stream,
                known = known.sequence,
                lake,
                "state repaired from the lake"
            );
        }
        let committed = committed.cloned().map(Box::new);
        self.write(&Entry::Recovered(committed)).await?;
        Ok(true)
    }

    /// Ends the stream in the store and gives the lease back. What made it fail is never hidden by
    /// a store that cannot take it.
    async fn conclude(self, result: Result<End>, tally: Tally, duration: Duration) -> StreamOutcome {
        let (status, error) = match result {
            Ok(End::Complete) => (RunStatus::Succeeded, None),
            Ok(End::Cancelled) => (RunStatus::Cancelled, Some(cancelled(&self.lease.stream))),
            Err(error) => (RunStatus::Failed, Some(error)),
        };
        if self.sharing().is_some()
            && let Err(trouble) = self.stop_sharing().await
        {
            // Who lost the lease has nothing to say about it; whoever has it did it already.
            tracing::warn!(run = self.lease.run, stream = self.lease.stream, %trouble, "slices stay on offer");
        }
        let stored = self.step(status, tally.mode, error.as_ref()).await;
        let stored = stored.and(failpoint::reach(failpoint::BEFORE_RELEASE));
        let released = self.write(&Entry::Release).await;
        let (status, error) = match stored.and(released) {
            Ok(()) => (status, error),
            Err(trouble) => {
                tracing::error!(run = self.lease.run, stream = self.lease.stream, %trouble, "the stream's end could not be stored");
                (RunStatus::Failed, error.or(Some(trouble)))
            }
        };
        let outcome = StreamOutcome {
            stream: self.lease.stream.clone(),
            name: name::run(&self.plan.connection.source, &self.lease.stream, tally.mode),
            mode: tally.mode,
            status,
            books: tally.books,
            progress: tally.progress,
            receipt: tally.receipt,
            error,
            duration,
        };
        self.plan.observer.on_stream_done(&outcome);
        outcome
    }

    pub(super) async fn write(&self, entry: &Entry) -> Result<()> {
        self.ledger.write(&self.lease, entry).await
    }

    async fn step(&self, to: RunStatus, mode: SyncMode, error: Option<&Error>) -> Result<()> {
        let entry = Entry::Status {
            source: self.plan.connection.source.clone(),
            mode,
            to,
            error: failure(error),
        };
        self.write(&entry).await
    }

    /// Tells a notice to everybody. A store that cannot take it does not stop the sync.
    pub(super) async fn note(&self, notice: &Notice) {
        tracing::warn!(
            run = self.lease.run,
            stream = self.lease.stream,
            hint = notice.hint,
            "{}",
            notice.message
        );
        self.plan.observer.on_notice(&self.lease.stream, notice);
        if let Err(error) = self.write(&Entry::Notice(notice.clone())).await {
            tracing::warn!(run = self.lease.run, %error, "the notice could not be stored");
        }
    }

    /// Proves, right before a commit to the lake, that the lease is still held.
    pub(super) async fn hold(&self, heartbeat: &Heartbeat) -> Result<()> {
        if heartbeat.is_lost() {
            return Err(heartbeat::lost(&self.lease));
        }
        loop {
            let asked_at = Instant::now();
            self.ledger.renew(&self.lease).await?.held(&self.lease)?;
            // An answer that was long under way says how it was once.
            if asked_at.elapsed() < HEARTBEAT {
                return Ok(());
            }
        }
    }
}

/// What a person is told whose run reads in full though it was not asked to.
fn unfinished(decision: &Decision) -> Notice {
    let mode = decision.mode;
    let (message, hint) = if decision.state.is_some() {
        (
            format!("this run ends the {mode} that an earlier run left unfinished"),
            "run again afterwards to fetch what changed since",
        )
    } else if decision.restart {
        (
            format!("this run makes the {mode} anew that an earlier run left unfinished"),
            "run again afterwards to fetch what changed since; to give it up instead, run with --restart and without --full",
        )
    } else {
        (
            format!(
                "this run makes the {mode} that an earlier run was asked for and left unfinished before its first checkpoint"
            ),
            "to give a full read up instead of making it, run with --restart and without --full",
        )
    };
    Notice {
        message,
        hint: Some(hint.to_owned()),
    }
}

fn cancelled(stream: &str) -> Error {
    Error::cancelled(format!("the sync of stream '{stream}' was stopped"))
        .hint("what was committed stays; the next run goes on from there")
}
