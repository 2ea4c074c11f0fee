//! Slices that others read: how one is handed over, read there, and taken in as if it was read here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use weir_protocol::slices::{Offer, Settled, SliceReaders, SliceTask};
use weir_protocol::source::Progress;
use weir_protocol::{
    Error, ErrorKind, ReadEvent, ReadMode, ReadRequest, Result, SliceState, StateChange, StreamState,
};

use super::Inner;
use super::context::{Events, ReadContext};
use super::slice_reader::SliceReader;
use crate::slicing::Slice;

/// Entry that carries what was noticed about a slice's records to whoever holds the stream. It never
/// gets into a state.
const NOTED: &str = "@noted";

/// What decides how a slice is read, as whoever holds the stream sees it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handed {
    is_incremental: bool,
    skip_edge: bool,
    from: Option<String>,
    to: Option<String>,
    /// What `now` is in templates, so that all slices of a read mean the same.
    started_at: Timestamp,
    until: Timestamp,
    slice: Slice,
    floor: Option<Value>,
    /// States of the slice and of what its window is of.
    states: BTreeMap<Arc<str>, SliceState>,
}

fn handed(context: &ReadContext, slice: &Slice) -> Result<SliceTask> {
    let base = context.state.slices.get(&slice.base).cloned();
    let mut states: BTreeMap<Arc<str>, SliceState> = base
        .map(|state| (slice.base.clone(), state))
        .into_iter()
        .collect();
    states.insert(slice.key.clone(), context.begins_with(slice));
    let request = &context.request;
    let handed = Handed {
        is_incremental: request.mode == ReadMode::Incremental,
        skip_edge: request.skip_edge,
        from: request.from.clone(),
        to: request.to.clone(),
        started_at: context.started_at,
        until: context.until,
        slice: slice.clone(),
        floor: context.state.floor.clone(),
        states,
    };
    let detail = serde_json::to_value(handed).map_err(|error| {
        Error::internal("a slice cannot be written")
            .caused_by(error)
            .hint("report this as a bug of weir")
    })?;
    Ok(SliceTask {
        stream: request.stream.clone(),
        key: slice.key.clone(),
        read_as: context.source.read_as.clone(),
        detail,
    })
}

/// Reads a slice here or takes in what others read of it, whichever is possible first.
pub(super) async fn here_or_elsewhere(
    context: Arc<ReadContext>,
    slice: Slice,
    others: Arc<dyn SliceReaders>,
    places: Arc<Semaphore>,
) -> Result<()> {
    let offer = others.offer(handed(&context, &slice)?).await?;
    loop {
        let place = async {
            offer.free().await?;
            place_of(&places).await
        };
        tokio::select! {
            biased;
            settled = offer.settled() => return match settled? {
                Settled::Read(events) => take_in(&context, &slice, events, &*offer).await,
                Settled::Failed => {
                    // What went wrong there shows itself here, if it was no fault of theirs.
                    let _place = place_of(&places).await?;
                    offer.forget().await?;
                    SliceReader::new(context, slice)?.read().await
                }
            },
            place = place => {
                let _place = place?;
                if offer.take_back().await? {
                    return SliceReader::new(context, slice)?.read().await;
                }
            }
        }
    }
}

async fn place_of(places: &Semaphore) -> Result<SemaphorePermit<'_>> {
    places.acquire().await.map_err(|closed| {
        Error::internal("no place to read a slice")
            .caused_by(closed)
            .hint("report this as a bug of weir")
    })
}

/// Gives events on as if they had been read here.
async fn take_in(
    context: &Arc<ReadContext>,
    slice: &Slice,
    mut events: BoxStream<'static, Result<ReadEvent>>,
    offer: &dyn Offer,
) -> Result<()> {
    // To its end: a slice that is given as a whole must not be covered by another one's state.
    let _turn = Arc::clone(&context.turn).lock_owned().await;
    let mut last = Progress::default();
    let mut is_done = false;
    while let Some(event) = events.next().await {
        let event = event?;
        match &event {
            ReadEvent::Batch(batch) => {
                let records = batch.records.len() as u64;
                context.counts.records.fetch_add(records, Ordering::Relaxed);
            }
            ReadEvent::Advance(StateChange::Slice { key, state }) if &**key == NOTED => {
                context.notices.merge(state.cursor.as_ref())?;
                continue;
            }
            ReadEvent::Advance(StateChange::Slice { key, state }) if *key == slice.key => {
                if state.done {
                    is_done = true;
                    let cursor = context.plan.cursor.as_ref();
                    context.ends.add(&slice.base, cursor, state.clone());
                    context.counts.slices_done.fetch_add(1, Ordering::Relaxed);
                }
            }
            ReadEvent::Advance(_) => return Err(strange(slice, "a state that is not its own")),
            ReadEvent::Progress(progress) => {
                let pages = progress.pages.saturating_sub(last.pages);
                let bytes = progress.bytes.saturating_sub(last.bytes);
                context.counts.pages.fetch_add(pages, Ordering::Relaxed);
                context.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
                last = *progress;
                context
                    .emit(vec![ReadEvent::Progress(context.progress())])
                    .await?;
                continue;
            }
            ReadEvent::Notice(_) => {}
        }
        context.emit(vec![event]).await?;
    }
    if !is_done {
        return Err(strange(slice, "no end"));
    }
    offer.forget().await
}

fn strange(slice: &Slice, what: &str) -> Error {
    Error::internal(format!("what another worker read of a slice has {what}"))
        .with("slice", &slice.key)
        .hint("run again; report it, and set `workers: 1` in the connection until it is mended")
}

/// Reads a slice that was handed over, in a task of its own.
pub(super) async fn read_handed(source: Arc<Inner>, task: SliceTask, out: mpsc::Sender<Result<Events>>) {
    let failed = out.clone();
    if let Err(error) = read(source, task, out).await
        && failed.send(Err(error)).await.is_err()
    {
        tracing::debug!("the reader of the slice left before it heard of the error");
    }
}

/// One read is by one connector and for one account, whoever reads a part of it.
fn refuse_others(source: &Inner, task: &SliceTask) -> Result<()> {
    if task.read_as == source.read_as {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "the connector, the connection's settings or its credential are others here than those of the run",
    )
    .with("stream", &task.stream)
    .hint("nothing to do: the run's own worker reads the slice"))
}

async fn read(source: Arc<Inner>, task: SliceTask, out: mpsc::Sender<Result<Events>>) -> Result<()> {
    refuse_others(&source, &task)?;
    let handed: Handed = serde_json::from_value(task.detail).map_err(|error| {
        Error::usage("a slice that was handed over cannot be read")
            .caused_by(error)
            .hint("use workers of one version of weir")
    })?;
    let mut state = StreamState {
        floor: handed.floor,
        // What the slice begins with is among the states.
        groups: Vec::new(),
        slices: handed.states,
        complete: false,
    };
    let (key, running) = ReadContext::running_entry(handed.is_incremental, handed.until)?;
    state.slices.insert(key, running);
    let request = ReadRequest {
        mode: if handed.is_incremental {
            ReadMode::Incremental
        } else {
            ReadMode::FullRefresh
        },
        state: Some(state),
        skip_edge: handed.skip_edge,
        from: handed.from,
        to: handed.to,
        ..ReadRequest::full(task.stream)
    };
    let context = Arc::new(ReadContext::started(source, request, out, handed.started_at)?);
    SliceReader::new(context.clone(), handed.slice)?.read().await?;
    let noted = SliceState {
        cursor: context.notices.carried()?,
        ..SliceState::default()
    };
    let key = Arc::from(NOTED);
    context
        .emit(vec![ReadEvent::Advance(StateChange::Slice { key, state: noted })])
        .await
}
