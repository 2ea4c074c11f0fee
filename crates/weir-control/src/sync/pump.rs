//! The loop of one try: events in, batches and checkpoints out.

use std::ops::ControlFlow;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{
    Batch, Books, Error, Finished, ReadEvent, ReadMode, ReadRequest, Receipt, Result, StateChange,
    StreamState, StreamWriter, SyncMode,
};

use super::heartbeat::{self, Heartbeat};
use super::rules::{self, Decision, Pending};
use super::stream::{Fault, StreamJob, Tally};
use crate::failpoint;
use crate::ledger::{Checkpoint, Entry};

/// How long a cancelled read may go on to reach a state that covers what it gave.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// What a person is told whose starting point a stream cannot take.
fn not_from(mode: SyncMode) -> Notice {
    Notice {
        message: format!("the stream is read in full ({mode}), so the starting point is not used"),
        hint: Some("give the stream an incremental mode to read it from a cursor on".to_owned()),
    }
}

/// How a try ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Cancelled,
}

/// What wakes the loop.
#[expect(
    clippy::large_enum_variant,
    reason = "lives for one turn of the loop; boxing each event costs more"
)]
enum Wake {
    Event(Option<Result<ReadEvent>>),
    Cancelled,
    GraceOver,
    Age,
    LeaseLost,
}

pub(super) struct Pump<'a> {
    job: &'a StreamJob,
    heartbeat: &'a Heartbeat,
    tally: &'a mut Tally,
    writer: Box<dyn StreamWriter>,
    decision: Decision,
    /// Whether only the read's end is committed.
    is_landed_whole: bool,
    /// Covers every batch accepted before the last Advance.
    state: StreamState,
    pending: Pending,
    checkpoint_at: Instant,
    /// Records that the source gave in this run, as far as they are committed or accepted.
    given: u64,
    /// Counts of earlier tries, which the source does not know of.
    earlier: Progress,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        job: &'a StreamJob,
        heartbeat: &'a Heartbeat,
        tally: &'a mut Tally,
        writer: Box<dyn StreamWriter>,
        decision: Decision,
    ) -> Self {
        // An earlier try of this run has books already.
        let ours = writer
            .committed()
            .filter(|committed| committed.run == job.lease.run);
        let given = ours.map_or(0, |committed| committed.books.read);
        tally.books = ours.map_or_else(Books::default, |committed| committed.books);
        Self {
            job,
            heartbeat,
            writer,
            state: decision
                .kept
                .clone()
                .or_else(|| decision.state.clone())
                .unwrap_or_default(),
            is_landed_whole: job.is_landed_whole(decision.mode),
            decision,
            pending: Pending::none(),
            checkpoint_at: Instant::now(),
            given,
            earlier: tally.progress,
            tally,
        }
    }

    pub(super) async fn run(mut self) -> Result<End, Fault> {
        let plan = &self.job.plan;
        let is_incremental = self.decision.mode.read() == ReadMode::Incremental;
        if plan.options.from.is_some() && !is_incremental {
            self.job.note(&not_from(self.decision.mode)).await;
        }
        let request = ReadRequest {
            stream: self.job.stream().name.clone(),
            mode: self.decision.mode.read(),
            state: self.decision.state.take(),
            skip_edge: rules::skip_edge(self.decision.mode, self.job.stream()),
            // What is read in full is read whole: a part of it must not replace the table.
            from: is_incremental.then(|| plan.options.from.clone()).flatten(),
            set_aside: self.decision.set_aside.take(),
            to: is_incremental.then(|| plan.options.to.clone()).flatten(),
            records_max: None,
        };
        let mut events = match self.job.shares().await? {
            Some(others) => plan.source.read_with(request, others),
            None => plan.source.read(request),
        };
        let age_max = plan.options.bounds.age;
        let mut grace = None;
        let mut waiting_since = Instant::now();
        loop {
            let due = self.pending.can_commit().then_some(self.checkpoint_at + age_max);
            self.job.pulse.wait(waiting_since);
            let wake = wake(&self.job.plan.cancel, self.heartbeat, grace, due, events.next()).await;
            self.job.pulse.work();
            let (is_age, woken) = (matches!(wake, Wake::Age), Instant::now());
            let step = match wake {
                Wake::Event(event) => self.take(event).await?,
                Wake::Age => self.checkpoint().await.map(ControlFlow::Continue)?,
                Wake::LeaseLost => return Err(heartbeat::lost(&self.job.lease).into()),
                Wake::GraceOver => ControlFlow::Break(End::Cancelled),
                Wake::Cancelled => {
                    grace = Some(Instant::now() + CANCEL_GRACE);
                    ControlFlow::Continue(())
                }
            };
            match step {
                ControlFlow::Break(End::Complete) => {
                    drop(events);
                    return self.finish().await;
                }
                ControlFlow::Break(End::Cancelled) => break,
                ControlFlow::Continue(()) if grace.is_some() && self.pending.covered => break,
                ControlFlow::Continue(()) => {}
            }
            // A checkpoint for its age is no word of the source, and the time that it took is not the source's.
            waiting_since = if is_age {
                waiting_since + woken.elapsed()
            } else {
                Instant::now()
            };
        }
        drop(events);
        if self.is_worth_keeping() {
            self.checkpoint().await?;
        }
        Ok(End::Cancelled)
    }

    async fn take(&mut self, event: Option<Result<ReadEvent>>) -> Result<ControlFlow<End>, Fault> {
        match event {
            Some(Ok(ReadEvent::Batch(batch))) => self.accept(batch).await?,
            Some(Ok(ReadEvent::Advance(change))) => {
                let complete = matches!(change, StateChange::Complete { .. });
                if self.is_landed_whole && !complete {
                    return Ok(ControlFlow::Continue(()));
                }
                if self.decision.kept.is_none() {
                    self.state.apply(change);
                }
                (self.pending.moved, self.pending.covered) = (true, true);
                if complete {
                    return Ok(ControlFlow::Break(End::Complete));
                }
                let age = self.checkpoint_at.elapsed();
                if self.pending.is_due(&self.job.plan.options.bounds, age) {
                    self.checkpoint().await?;
                }
            }
            Some(Ok(ReadEvent::Progress(progress))) => {
                self.tally.progress = sum(self.earlier, progress);
                self.report();
            }
            Some(Ok(ReadEvent::Notice(notice))) => self.job.note(&notice).await,
            Some(Err(error)) => return Err(self.broke_off(error).await),
            None => {
                let error = Error::internal("the source ended without saying that it was read to its end")
                    .with("stream", &self.job.lease.stream)
                    .hint("what was committed stays; report it with the connector's name");
                return Err(self.broke_off(error).await);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn accept(&mut self, batch: Batch) -> Result<(), Fault> {
        self.given += batch.read();
        self.pending.rows += batch.records.len() as u64;
        self.pending.bytes += batch.body.len() as u64;
        self.pending.covered = false;
        self.writer.write(batch).await.map_err(Fault::of_destination)?;
        self.report();
        Ok(())
    }

    fn report(&self) {
        let books = Books {
            read: self.given,
            ..self.tally.books
        };
        let stream = &self.job.lease.stream;
        self.job
            .plan
            .observer
            .on_progress(stream, &self.tally.progress, &books);
    }

    /// Whether a read that is cut off came to anything: a full refresh that never saw a page would only
    /// be told as given up later.
    fn is_worth_keeping(&self) -> bool {
        self.pending.can_commit() && (self.given > 0 || self.tally.progress.pages > 0)
    }

    /// Saves what is covered by state before a source's error ends the stream.
    async fn broke_off(&mut self, error: Error) -> Fault {
        if self.is_worth_keeping()
            && let Err(Fault::Conflict(trouble) | Fault::Final(trouble)) = self.checkpoint().await
        {
            tracing::error!(run = self.job.lease.run, %trouble, "the last checkpoint before the error failed");
        }
        Fault::Final(error)
    }

    async fn checkpoint(&mut self) -> Result<(), Fault> {
        let span = self.checkpoint_span();
        self.make_checkpoint().instrument(span).await
    }

    fn checkpoint_span(&self) -> tracing::Span {
        let sequence = self.writer.committed().map_or(1, |last| last.sequence + 1);
        tracing::info_span!("checkpoint", sequence)
    }

    async fn make_checkpoint(&mut self) -> Result<(), Fault> {
        self.job.hold(self.heartbeat).await?;
        failpoint::reach(failpoint::BEFORE_CHECKPOINT)?;
        let commit = self.writer.checkpoint(&self.state);
        let receipt = commit.instrument(tracing::info_span!("commit")).await;
        let receipt = receipt.map_err(Fault::of_destination)?;
        keep(self.job, self.tally, &self.state, self.given, receipt).await?;
        self.job.pulse.beat();
        self.pending = Pending::none();
        self.checkpoint_at = Instant::now();
        Ok(())
    }

    async fn finish(self) -> Result<End, Fault> {
        let span = self.checkpoint_span();
        self.make_last_checkpoint().instrument(span).await
    }

    async fn make_last_checkpoint(self) -> Result<End, Fault> {
        self.job.hold(self.heartbeat).await?;
        failpoint::reach(failpoint::BEFORE_FINISH)?;
        let commit = self.writer.finish(&self.state);
        let finished = commit.instrument(tracing::info_span!("commit")).await;
        let Finished { receipt, refusal } = finished.map_err(Fault::of_destination)?;
        let is_full = self.decision.mode.read() == ReadMode::FullRefresh;
        let Some(refusal) = refusal else {
            keep(self.job, self.tally, &self.state, self.given, receipt).await?;
            if is_full {
                self.job.write(&Entry::FullDone).await?;
            }
            return Ok(End::Complete);
        };
        // The lake forgets that read: its books are kept, its state is not.
        let refused = Entry::Refused {
            receipt: Box::new(receipt.clone()),
            progress: self.tally.progress,
        };
        self.job.write(&refused).await?;
        if is_full {
            self.job.write(&Entry::FullDone).await?;
        }
        self.tally.books = receipt.books;
        self.tally.receipt = Some(receipt);
        Err(Fault::Final(refusal))
    }
}

/// Waits for the next thing to do. Dropping `next` loses no event: a stream's `next` is safe to drop.
async fn wake(
    cancel: &CancellationToken,
    heartbeat: &Heartbeat,
    grace: Option<Instant>,
    due: Option<Instant>,
    next: impl Future<Output = Option<Result<ReadEvent>>>,
) -> Wake {
    tokio::select! {
        biased;
        () = heartbeat.lost() => Wake::LeaseLost,
        () = cancel.cancelled(), if grace.is_none() => Wake::Cancelled,
        () = until(grace) => Wake::GraceOver,
        () = until(due) => Wake::Age,
        event = next => Wake::Event(event),
    }
}

/// Waits for a moment, or for ever where there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Stores what a checkpoint left behind, then refuses books that do not balance: they are stored
/// all the same, because the data is committed and somebody will want to see them.
async fn keep(
    job: &StreamJob,
    tally: &mut Tally,
    state: &StreamState,
    given: u64,
    receipt: Receipt,
) -> Result<()> {
    failpoint::reach(failpoint::AFTER_RECEIPT)?;
    let checkpoint = Checkpoint {
        receipt: receipt.clone(),
        state: state.clone(),
        mode: tally.mode,
        progress: tally.progress,
    };
    job.write(&Entry::Checkpoint(Box::new(checkpoint))).await?;
    failpoint::reach(failpoint::AFTER_STORE)?;
    tally.books = receipt.books;
    let audited = rules::audit(&receipt.books, given);
    tally.receipt = Some(receipt);
    audited.map_err(|error| {
        error
            .with("run", &job.lease.run)
            .with("stream", &job.lease.stream)
    })
}

fn sum(a: Progress, b: Progress) -> Progress {
    Progress {
        pages: a.pages + b.pages,
        requests: a.requests + b.requests,
        bytes: a.bytes + b.bytes,
        slices_done: b.slices_done,
        slices_total: b.slices_total,
        records_total: b.records_total,
    }
}
