//! The side of a worker that helps: reads slices of one run and keeps what it read, until there is none
//! left. It writes nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;
use weir_protocol::slices::Spools;
use weir_protocol::{Error, ErrorKind, ReadEvent, Result, Source};

use super::{ClaimedSlice, HeldSlice, SliceEnd, SliceSupply};
use crate::failpoint;
use crate::leases::HEARTBEAT;
use crate::runs::queue::Claimed;

/// How long a helper stays with a run that has no slice for it just now.
const LINGER: Duration = Duration::from_secs(5);
/// How often it looks again meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// What slices of a run are read with.
pub struct Tools {
    pub source: Arc<dyn Source>,
    pub spools: Arc<dyn Spools>,
    /// A slice without a page for so long has hung, and is left to the run's own worker.
    pub hung_after: Duration,
}

/// Gets what a worker helps with.
#[async_trait]
pub trait Helper: Send + Sync {
    /// Asked once while a run is helped; its slices are held by then.
    async fn tools(&self, run: &Claimed) -> Result<Tools>;
}

/// Reads slices of one run, beginning with `first`, until none is left or `stop` is called. What is held
/// then is given back.
pub(crate) async fn help(
    supply: Arc<dyn SliceSupply>,
    helper: Arc<dyn Helper>,
    first: Vec<ClaimedSlice>,
    stop: CancellationToken,
) -> Result<()> {
    let Some(slice) = first.first() else {
        return Ok(());
    };
    let (run, stream) = (slice.run.clone(), slice.stream.clone());
    tracing::info!(run = run.run, stream, "helping a run");
    let tools = tokio::select! {
        biased;
        () = stop.cancelled() => {
            return end_all(supply.as_ref(), &first, &SliceEnd::GivenBack).await;
        }
        tools = helper.tools(&run) => tools,
    };
    let tools = match tools {
        Ok(tools) => tools,
        Err(error) => {
            end_all(supply.as_ref(), &first, &SliceEnd::Failed(error.to_string())).await?;
            return Err(error);
        }
    };
    let at_once = tools.source.slices_at_once(&stream).max(1);
    let mut session = Session {
        supply,
        tools: Arc::new(tools),
        run: run.run,
        at_once,
        reading: JoinSet::new(),
        held: HashMap::new(),
    };
    first.into_iter().for_each(|slice| session.begin(slice));
    session.work(stop).await
}

async fn end_all(supply: &dyn SliceSupply, slices: &[ClaimedSlice], end: &SliceEnd) -> Result<()> {
    for slice in slices {
        supply.report(&slice.id, slice.attempt, end.clone()).await?;
    }
    Ok(())
}

/// A slice that is being read.
struct Reading {
    id: String,
    attempt: i64,
    pages: Arc<AtomicU64>,
    stop: AbortHandle,
}

struct Session {
    supply: Arc<dyn SliceSupply>,
    tools: Arc<Tools>,
    run: String,
    at_once: usize,
    reading: JoinSet<Result<()>>,
    held: HashMap<Id, Reading>,
}

impl Session {
    async fn work(mut self, stop: CancellationToken) -> Result<()> {
        let mut beats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut busy_at = Instant::now();
        loop {
            if !self.held.is_empty() {
                busy_at = Instant::now();
            } else if busy_at.elapsed() >= LINGER {
                tracing::info!(run = self.run, "no slice is left to help with");
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.give_back().await,
                _ = beats.tick() => self.renew().await,
                Some(ended) = self.reading.join_next_with_id() => {
                    self.ended(ended).await?;
                    self.take().await?;
                }
                _ = looks.tick(), if self.held.len() < self.at_once => self.take().await?,
            }
        }
    }

    async fn take(&mut self) -> Result<()> {
        let room = self.at_once.saturating_sub(self.held.len());
        if room == 0 {
            return Ok(());
        }
        let taken = match self.supply.claim(Some(&self.run), room).await {
            // What is held goes on; the next look may find the server again.
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                tracing::warn!(run = self.run, %error, "cannot look for slices");
                return Ok(());
            }
            taken => taken?,
        };
        taken.into_iter().for_each(|slice| self.begin(slice));
        Ok(())
    }

    fn begin(&mut self, slice: ClaimedSlice) {
        let pages = Arc::new(AtomicU64::new(0));
        let (id, attempt) = (slice.id.clone(), slice.attempt);
        let work = read(self.tools.clone(), slice, pages.clone());
        let stop = self.reading.spawn(work);
        let reading = Reading {
            id,
            attempt,
            pages,
            stop,
        };
        self.held.insert(reading.stop.id(), reading);
    }

    async fn ended(&mut self, ended: std::result::Result<(Id, Result<()>), JoinError>) -> Result<()> {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(broke) if broke.is_cancelled() => {
                self.held.remove(&broke.id());
                return Ok(());
            }
            Err(panic) => {
                let id = panic.id();
                let error = Error::internal("the reading of a slice broke off").caused_by(panic);
                (id, Err(error.hint("report it")))
            }
        };
        let Some(reading) = self.held.remove(&id) else {
            return Ok(());
        };
        let end = match outcome {
            Ok(()) => SliceEnd::Done,
            // Whoever has what the run has may read it.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let end = SliceEnd::GivenBack;
                self.supply.report(&reading.id, reading.attempt, end).await?;
                self.give_back().await?;
                return Err(error.with("run", &self.run));
            }
            Err(error) => {
                tracing::warn!(run = self.run, slice = reading.id, %error, "the slice is left to the run's own worker");
                SliceEnd::Failed(error.to_string())
            }
        };
        self.supply.report(&reading.id, reading.attempt, end).await
    }

    /// What was taken away is read no further. What cannot be renewed now may be with the next beat.
    async fn renew(&mut self) {
        let held: Vec<HeldSlice> = self.held.values().map(Reading::held).collect();
        if held.is_empty() {
            return;
        }
        match self.supply.renew(&held).await {
            Ok(kept) => {
                for reading in self.held.values().filter(|reading| !kept.contains(&reading.id)) {
                    tracing::info!(
                        run = self.run,
                        slice = reading.id,
                        "the slice was taken away from this worker"
                    );
                    reading.stop.abort();
                }
            }
            Err(error) => tracing::warn!(run = self.run, %error, "cannot renew slices"),
        }
    }

    async fn give_back(&mut self) -> Result<()> {
        self.reading.shutdown().await;
        for reading in self.held.values() {
            let end = SliceEnd::GivenBack;
            self.supply.report(&reading.id, reading.attempt, end).await?;
        }
        Ok(())
    }
}

impl Reading {
    fn held(&self) -> HeldSlice {
        HeldSlice {
            id: self.id.clone(),
            attempt: self.attempt,
            pages: self.pages.load(Ordering::Relaxed),
        }
    }
}

async fn read(tools: Arc<Tools>, slice: ClaimedSlice, pages: Arc<AtomicU64>) -> Result<()> {
    let place = slice.place();
    let events = tools.source.read_slice(slice.task);
    let events = watched(events, tools.hung_after, pages);
    failpoint::reach(failpoint::BEFORE_SPOOL)?;
    tools.spools.write(&place, events).await?;
    failpoint::reach(failpoint::AFTER_SPOOL)
}

/// Counts pages, and ends what hangs.
fn watched(
    events: BoxStream<'static, Result<ReadEvent>>,
    hung_after: Duration,
    pages: Arc<AtomicU64>,
) -> BoxStream<'static, Result<ReadEvent>> {
    let next = move |events: Option<BoxStream<'static, Result<ReadEvent>>>| {
        let pages = pages.clone();
        async move {
            let mut events = events?;
            match tokio::time::timeout(hung_after, events.next()).await {
                Ok(event) => {
                    let event = event?;
                    if let Ok(ReadEvent::Progress(progress)) = &event {
                        pages.store(progress.pages, Ordering::Relaxed);
                    }
                    Some((event, Some(events)))
                }
                Err(_) => {
                    let error = Error::timeout(format!(
                        "the slice hung: no page for {} s",
                        hung_after.as_secs_f64()
                    ));
                    Some((Err(error.hint("allow more with --hung-after")), None))
                }
            }
        }
    };
    stream::unfold(Some(events), next).boxed()
}
