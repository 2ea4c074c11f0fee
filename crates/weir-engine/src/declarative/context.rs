//! What all parts of one read share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use weir_protocol::slices::SliceReaders;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::spec::CursorOrder;
use weir_protocol::{Error, ReadEvent, ReadMode, ReadRequest, Result, SliceState, StateChange, StreamState};

use super::Inner;
use super::elsewhere;
use super::fold::{Ends, is_reserved, is_window, rested};
use super::plan::StreamPlan;
use super::tracker::Tracking;
use super::turn::Turn;
use crate::cursor::{Bounds, Point};
use crate::interpolate::Scope;
use crate::slicing::Slice;

/// State entry that says which read is running, so that one that reads on keeps its bounds.
const RUNNING: &str = "@read";

/// What is kept of a running read.
#[derive(Serialize, Deserialize)]
struct Running {
    is_incremental: bool,
    until: Timestamp,
}

/// Events that belong together: a page's batches and the advance that covers them.
pub(super) type Events = Vec<ReadEvent>;

pub(super) struct ReadContext {
    pub(super) source: Arc<Inner>,
    pub(super) plan: Arc<StreamPlan>,
    pub(super) request: ReadRequest,
    pub(super) state: StreamState,
    /// Whether `state` is of an interrupted read that this one continues.
    pub(super) resumes: bool,
    pub(super) started_at: Timestamp,
    pub(super) until: Timestamp,
    /// No cursor moves past it: of a read that lists the parents of another read's slices.
    moves_until: Option<Timestamp>,
    /// What templates may name besides slice, cursor, page and answer.
    pub(super) scope: Scope,
    pub(super) start: Option<Point>,
    pub(super) end: Option<Point>,
    pub(super) ends: Ends,
    pub(super) counts: Counts,
    pub(super) notices: Notices,
    /// Whoever has it may give records away; see [`super::turn`].
    pub(super) turn: Arc<Turn>,
    /// Who reads slices besides this process.
    pub(super) others: Option<Arc<dyn SliceReaders>>,
    out: mpsc::Sender<Result<Events>>,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) pages: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) slices_done: AtomicU64,
    pub(super) slices_total: AtomicU64,
    pub(super) records_total: AtomicU64,
}

impl ReadContext {
    pub(super) fn new(
        source: Arc<Inner>,
        request: ReadRequest,
        out: mpsc::Sender<Result<Events>>,
    ) -> Result<Self> {
        let started_at = source.clock.now();
        Self::started(source, request, out, started_at)
    }

    /// Of a read that began at another moment, maybe elsewhere.
    pub(super) fn started(
        source: Arc<Inner>,
        request: ReadRequest,
        out: mpsc::Sender<Result<Events>>,
        started_at: Timestamp,
    ) -> Result<Self> {
        let plan = source.plan(&request.stream)?.clone();
        let state = request.state.clone().unwrap_or_default();
        let is_incremental = request.mode == ReadMode::Incremental;
        // What an interrupted read of the other mode got through says nothing about this one.
        let running = running(&state).filter(|running| running.is_incremental == is_incremental);
        let scope = source.scope.clone().with("now", started_at.to_string());
        let cursor = plan.cursor.as_ref();
        let start = cursor.map(|cursor| cursor.start(&scope, request.from.as_deref()));
        if let (Some(from), Some(state), Some(cursor)) = (&request.from, &request.set_aside, cursor) {
            elsewhere::check(cursor, &cursor.from(from)?, state)?;
        }
        let end = cursor.map(|cursor| cursor.end_at_most(&scope, request.to.as_deref()));
        Ok(Self {
            resumes: running.is_some(),
            until: running.map_or(started_at, |running| running.until),
            moves_until: None,
            ends: Ends::new(is_incremental.then_some(&state), !request.skip_edge),
            start: start.transpose()?.flatten(),
            end: end.transpose()?.flatten(),
            counts: Counts::default(),
            notices: Notices::default(),
            turn: Arc::default(),
            others: None,
            source,
            plan,
            request,
            state,
            started_at,
            scope,
            out,
        })
    }

    pub(super) fn with_others(self, others: Option<Arc<dyn SliceReaders>>) -> Self {
        // Where there is but one slice, there is nothing to share.
        let others = others.filter(|_| !self.plan.slicing.is_whole() && self.request.records_max.is_none());
        Self { others, ..self }
    }

    /// The same read, by which no cursor moves past a moment.
    pub(super) fn moving_until(self, until: Timestamp) -> Self {
        Self {
            moves_until: Some(until),
            ..self
        }
    }

    /// How far the cursors of parents may move: not past the moment from which on slices were read,
    /// be it by an interrupted read. A parent that changes later must be listed by the next read.
    pub(super) fn parents_until(&self) -> Timestamp {
        self.moves_until.map_or(self.until, |until| until.min(self.until))
    }

    pub(super) fn is_incremental(&self) -> bool {
        self.request.mode == ReadMode::Incremental && self.plan.cursor.is_some()
    }

    pub(super) fn tracking(&self, is_window: bool) -> Tracking {
        let is_ascending = self.plan.order() == CursorOrder::Ascending;
        Tracking {
            per_page: self.is_incremental() && is_ascending && !is_window,
            from_cursor: self.is_incremental(),
            keeps_edge: self.request.skip_edge,
            moves_until: self.moves_until,
        }
    }

    /// Whether a slice that leads from page to page by position is given as a whole, or not at all:
    /// where reading its beginning again is not harmless. A preview is never read on.
    pub(super) fn gives_whole_slices(&self) -> bool {
        let repeats_harm = !self.is_incremental() || self.request.skip_edge;
        repeats_harm && self.request.records_max.is_none()
    }

    /// The stored state of a slice, as far as this read may use it.
    pub(super) fn stored(&self, key: &str) -> SliceState {
        let stored = self.state.slices.get(key).cloned().unwrap_or_default();
        if self.resumes {
            return stored;
        }
        given_up(key, &stored)
    }

    /// The state that a slice's reader begins with.
    pub(super) fn begins_with(&self, slice: &Slice) -> SliceState {
        let mut begun = self.stored(&slice.key);
        if !self.is_incremental() || begun.cursor.is_some() {
            return begun;
        }
        if slice.window.is_none() {
            begun.cursor = self.state.cursor_of(&slice.base).cloned();
        } else if self.request.skip_edge
            && let Some(base) = self.state.slices.get(&slice.base)
        {
            // Records at the cursor are told apart in each window: which of them the source answers them to
            // depends on how exactly it compares times.
            begun.cursor.clone_from(&base.cursor);
            begun.edge.extend(base.edge.iter().cloned());
        }
        begun
    }

    /// From where to where a slice without windows is read.
    pub(super) fn bounds(&self, base: &str) -> Result<Bounds> {
        let Some(cursor) = &self.plan.cursor else {
            return Ok(Bounds::default());
        };
        let stored = self
            .is_incremental()
            .then(|| self.state.cursor_of(base))
            .flatten();
        Ok(Bounds {
            lower: cursor.lower(stored, self.start.as_ref())?,
            upper: self.upper(),
        })
    }

    pub(super) fn upper(&self) -> Option<Point> {
        let main = self.plan.cursor.as_ref()?.formats.main().clone();
        let is_time = !matches!(main, crate::cursor::Format::Integer | crate::cursor::Format::Text);
        self.end
            .clone()
            .or_else(|| is_time.then_some(Point::Instant(self.until)))
    }

    /// The first changes of the state: which read runs, and that an earlier one that was given up
    /// left nothing to rely on.
    pub(super) fn opening(&self) -> Result<Events> {
        let running = Self::running_entry(self.request.mode == ReadMode::Incremental, self.until)?;
        let stale = self
            .state
            .slices
            .iter()
            .filter(|(key, _)| !self.resumes && !is_reserved(key));
        let reset = stale.map(|(key, state)| (key, state, given_up(key, state)));
        let reset = reset.filter(|(_, state, reset)| *state != reset);
        let reset = reset.map(|(key, _, reset)| (key.clone(), reset));
        let changes = reset.chain([running]);
        Ok(changes
            .map(|(key, state)| ReadEvent::Advance(StateChange::Slice { key, state }))
            .collect())
    }

    /// The entry that says which read runs.
    pub(super) fn running_entry(is_incremental: bool, until: Timestamp) -> Result<(Arc<str>, SliceState)> {
        let running = serde_json::to_value(Running {
            is_incremental,
            until,
        })
        .map_err(|error| {
            Error::internal("the running read cannot be written")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?;
        let state = SliceState {
            cursor: Some(running),
            ..SliceState::default()
        };
        Ok((Arc::from(RUNNING), state))
    }

    /// Waits for room. An error means that nobody reads on.
    pub(super) async fn emit(&self, events: Events) -> Result<()> {
        self.out.send(Ok(events)).await.map_err(|_| {
            Error::cancelled("the read was stopped").hint("run it again; it reads on where it was stopped")
        })
    }

    pub(super) async fn fail(&self, error: Error) {
        // The error of a parent names that stream already.
        let is_named = error.context().iter().any(|(key, _)| *key == "stream");
        let error = if is_named {
            error
        } else {
            error.with("stream", &self.plan.name)
        };
        if self.out.send(Err(error)).await.is_err() {
            tracing::debug!(stream = %self.plan.name, "the reader left before it heard of the error");
        }
    }

    /// How many records may still be given out.
    pub(super) fn records_left(&self) -> Option<u64> {
        let most = self.request.records_max?;
        Some(most.saturating_sub(self.counts.records.load(Ordering::Relaxed)))
    }

    pub(super) fn progress(&self) -> Progress {
        let counts = &self.counts;
        let pages = counts.pages.load(Ordering::Relaxed);
        Progress {
            pages,
            requests: pages,
            bytes: counts.bytes.load(Ordering::Relaxed),
            slices_done: counts.slices_done.load(Ordering::Relaxed),
            slices_total: counts.slices_total.load(Ordering::Relaxed),
            records_total: counts.records_total.load(Ordering::Relaxed),
        }
    }
}

/// The read that an incomplete state belongs to.
fn running(state: &StreamState) -> Option<Running> {
    let entry = state.slices.get(RUNNING).filter(|_| !state.complete)?;
    serde_json::from_value(entry.cursor.clone()?).ok()
}

/// What an interrupted read leaves to one that does not continue it. Windows are of one read only.
fn given_up(key: &str, state: &SliceState) -> SliceState {
    if is_window(key) {
        SliceState::default()
    } else {
        rested(state.clone())
    }
}

/// What happens often and is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Oddity {
    CursorMissing,
    CursorUnreadable,
    CursorFarAhead,
    EdgeFull,
    OutOfOrder,
    PageRefused,
    ParentKeyMissing,
}

/// Counts oddities, with an example of each.
#[derive(Default)]
pub(super) struct Notices(Mutex<Vec<(Oddity, u64, String)>>);

impl Notices {
    pub(super) fn note(&self, oddity: Oddity, example: &[u8]) {
        let example = example.get(..example.len().min(120)).unwrap_or_default();
        self.add(oddity, 1, || String::from_utf8_lossy(example).into_owned());
    }

    fn add(&self, oddity: Oddity, times: u64, example: impl FnOnce() -> String) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match noted.iter_mut().find(|(other, _, _)| *other == oddity) {
            Some((_, count, _)) => *count += times,
            None => noted.push((oddity, times, example())),
        }
    }

    /// What was noted, for whoever holds the stream; none where nothing was.
    pub(super) fn carried(&self) -> Result<Option<Value>> {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let carried = (!noted.is_empty()).then(|| serde_json::to_value(noted));
        carried.transpose().map_err(|error| {
            Error::internal("what was noticed cannot be written")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })
    }

    /// Adds what was noted elsewhere.
    pub(super) fn merge(&self, carried: Option<&Value>) -> Result<()> {
        let Some(carried) = carried else {
            return Ok(());
        };
        let noted = Vec::<(Oddity, u64, String)>::deserialize(carried).map_err(|error| {
            Error::internal("what another worker noticed cannot be read")
                .caused_by(error)
                .hint("use workers of one version of weir")
        })?;
        for (oddity, times, example) in noted {
            self.add(oddity, times, || example);
        }
        Ok(())
    }

    pub(super) fn take(&self, plan: &StreamPlan) -> Vec<ReadEvent> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let field = plan.cursor.as_ref().map_or("", |cursor| cursor.field.as_str());
        let noted = std::mem::take(&mut *noted);
        noted
            .into_iter()
            .map(|(oddity, count, example)| ReadEvent::Notice(oddity.tell(field, count, &example)))
            .collect()
    }
}

impl Oddity {
    fn tell(self, field: &str, count: u64, example: &str) -> Notice {
        let (message, hint) = match self {
            Self::CursorMissing => (
                format!("{count} records have no value at the cursor field '{field}', as in {example}"),
                "they are kept; if many records lack it, choose another cursor.field",
            ),
            Self::CursorUnreadable => (
                format!("{count} records have an unreadable cursor '{field}', as in {example}"),
                "they are kept, but do not move the cursor; add their form to cursor.format",
            ),
            Self::CursorFarAhead => (
                format!("{count} records have a cursor '{field}' that lies in the future, as in {example}"),
                "they are kept, but do not move the cursor; check the clock of whoever writes them",
            ),
            Self::EdgeFull => (
                format!("more records without a key than can be remembered share the cursor {example}"),
                "the next read may land some of them again: declare a primary_key, or a cursor.field that tells records apart",
            ),
            Self::OutOfOrder => (
                format!("records are not in ascending order of '{field}' ({count} pages), as in {example}"),
                "set cursor.order: unknown, or ask the source to sort by that field",
            ),
            Self::PageRefused => (
                format!(
                    "{count} slices were read from their start again: the source refused to read on ({example})"
                ),
                "nothing to do; the vendor's page tokens expire",
            ),
            Self::ParentKeyMissing => (
                format!("{count} parent records lack a field that slices need, as in {example}"),
                "they were skipped; check 'fields' of the slices",
            ),
        };
        Notice {
            message,
            hint: Some(hint.to_owned()),
        }
    }
}
