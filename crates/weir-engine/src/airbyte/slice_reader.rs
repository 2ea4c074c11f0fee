//! Reading the slices of a stream, and telling what they hold and how far they are read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::state::{StateChange, WHOLE};
use weir_protocol::{Batch, ReadEvent, ReadMode, ReadRequest, Result, SliceState};

use super::edges::Edges;
use super::slices::Slice;
use super::stream::Tracking;

/// How often the state of a stream with partitions is told.
const STATE_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct SliceReader {
    tracking: Tracking,
    out: mpsc::Sender<Result<ReadEvent>>,
    records_max: Option<u64>,
    edges: Option<Arc<Edges>>,
    /// Whether states are told before the read's end.
    advances: bool,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    progress: Progress,
    records: u64,
    told: Option<Instant>,
}

impl SliceReader {
    pub(crate) fn new(
        tracking: Tracking,
        out: mpsc::Sender<Result<ReadEvent>>,
        request: &ReadRequest,
    ) -> Self {
        let known = request.state.as_ref().and_then(|state| state.slices.get(WHOLE));
        let stored = known.map(|slice| slice.edge.as_slice()).unwrap_or_default();
        Self {
            tracking,
            out,
            records_max: request.records_max,
            edges: request.skip_edge.then(|| Arc::new(Edges::new(stored))),
            // A state covers what was read of the other slices so far, too. A full read that is begun
            // anew reads that again and must not find it in its place, unless a key makes it one.
            advances: request.mode == ReadMode::Incremental || !request.skip_edge,
            counts: Arc::default(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records_max.is_some_and(|most| self.counts().records >= most)
    }

    pub(crate) async fn read(self, slice: Arc<Slice>) -> Result<()> {
        let mut pages = self.tracking.pages(&slice).await?;
        let mut edge = self.edges.as_ref().map(|edges| edges.begin(&slice));
        while let Some(page) = pages.next().await? {
            let records = self.tracking.observe(&slice, &page, edge.as_mut())?;
            let deduplicated = page.records.len().saturating_sub(records.len()) as u64;
            let progress = {
                let mut counts = self.counts();
                counts.records += records.len() as u64;
                counts.progress.pages += 1;
                counts.progress.requests += 1;
                counts.progress.bytes += page.bytes;
                counts.progress
            };
            let batch = Batch {
                slice: WHOLE.into(),
                body: page.body,
                records,
                filtered: page.filtered,
                deduplicated,
                emitted_at: page.received_at,
            };
            if batch.read() > 0 && self.out.send(Ok(ReadEvent::Batch(batch))).await.is_err() {
                return Ok(());
            }
            let _closed = self.out.send(Ok(ReadEvent::Progress(progress))).await;
            if self.is_full() {
                return Ok(());
            }
        }
        // Before the cursor moves: a cursor without its edge would have records taken twice.
        if let Some(edge) = edge {
            edge.close();
        }
        self.tracking.close(&slice);
        self.counts().progress.slices_done += 1;
        self.tell_state().await;
        Ok(())
    }

    /// After each slice; less often where the state is large.
    async fn tell_state(&self) {
        if !self.advances {
            return;
        }
        if self.tracking.is_partitioned() {
            let mut counts = self.counts();
            let now = Instant::now();
            let is_due = counts
                .told
                .is_some_and(|told| now.duration_since(told) >= STATE_EVERY);
            if counts.told.is_none() || is_due {
                counts.told = Some(now);
            }
            if !is_due {
                return;
            }
        }
        let state = SliceState {
            cursor: Some(self.tracking.state()),
            ..self.edge()
        };
        let change = StateChange::Slice {
            key: WHOLE.into(),
            state,
        };
        let _closed = self.out.send(Ok(ReadEvent::Advance(change))).await;
    }

    /// What a person should know of the next read, when all slices are read.
    pub(crate) fn notice(&self) -> Option<Notice> {
        self.edges.as_ref()?.notice()
    }

    /// What the next read goes on from, when all slices are read.
    pub(crate) fn complete(&self) -> StateChange {
        let floor = Some(self.tracking.state());
        if let Some(edges) = &self.edges {
            edges.settle();
        }
        let edge = self.edge();
        let slices = if edge.edge.is_empty() {
            BTreeMap::new()
        } else {
            [(Arc::from(WHOLE), edge)].into()
        };
        StateChange::Complete {
            floor,
            groups: Vec::new(),
            slices,
        }
    }

    /// The digests stand beside the cursor, which is in the reference's format and has no place for them.
    fn edge(&self) -> SliceState {
        SliceState {
            edge: self.edges.as_deref().map(Edges::stored).unwrap_or_default(),
            ..SliceState::default()
        }
    }
}
