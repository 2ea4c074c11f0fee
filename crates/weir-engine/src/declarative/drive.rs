//! Runs one read: slices concurrently, their events into one channel, the completed state at the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use weir_protocol::{Error, ReadEvent, Result};

use super::context::ReadContext;
use super::producer::Producer;
use super::share;
use super::slice_reader::SliceReader;
use crate::slicing::Slice;

/// Slices made ahead of those being read.
const SLICES_AHEAD: usize = 16;

pub(super) async fn drive(context: Arc<ReadContext>) {
    if let Err(error) = run(&context).await {
        context.fail(error).await;
    }
}

async fn run(context: &Arc<ReadContext>) -> Result<()> {
    context.emit(context.opening()?).await?;
    let (slices_in, mut slices) = mpsc::channel(SLICES_AHEAD);
    let producer = Producer::new(context.clone(), slices_in);
    let producer = AbortOnDropHandle::new(tokio::spawn(producer.produce().in_current_span()));
    let is_enough = read_slices(context, &mut slices).await?;
    if is_enough {
        let notices = context.notices.take(&context.plan);
        return if notices.is_empty() {
            Ok(())
        } else {
            context.emit(notices).await
        };
    }
    let parents = producer.await.map_err(broke_off)??;
    let mut events = context.notices.take(&context.plan);
    let complete = context.ends.complete(context.plan.cursor.as_ref(), parents);
    events.push(ReadEvent::Progress(context.progress()));
    events.push(ReadEvent::Advance(complete));
    context.emit(events).await
}

/// True when a preview had enough before the end.
async fn read_slices(context: &Arc<ReadContext>, slices: &mut mpsc::Receiver<Slice>) -> Result<bool> {
    // Dropping the set stops what is still being read.
    let mut readers: JoinSet<Result<()>> = JoinSet::new();
    let concurrency = context.source.concurrency;
    let places = Arc::new(Semaphore::new(concurrency));
    let others = context.others.as_ref();
    let out_max = others.map_or(concurrency, |others| others.out_max().max(concurrency));
    let mut is_open = true;
    loop {
        if context.records_left() == Some(0) {
            return Ok(true);
        }
        tokio::select! {
            slice = slices.recv(), if is_open && readers.len() < out_max => match slice {
                Some(slice) => start(context, &mut readers, slice, &places)?,
                None => is_open = false,
            },
            Some(ended) = readers.join_next() => ended.map_err(broke_off)??,
            else => return Ok(context.records_left() == Some(0)),
        }
    }
}

fn start(
    context: &Arc<ReadContext>,
    readers: &mut JoinSet<Result<()>>,
    slice: Slice,
    places: &Arc<Semaphore>,
) -> Result<()> {
    let stored = context.stored(&slice.key);
    if stored.done {
        // An interrupted read came to this slice's end already.
        context
            .ends
            .add(&slice.base, context.plan.cursor.as_ref(), stored);
        context.counts.slices_done.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    if let Some(others) = &context.others {
        let reading = share::here_or_elsewhere(context.clone(), slice, others.clone(), places.clone());
        readers.spawn(reading.in_current_span());
        return Ok(());
    }
    let reader = SliceReader::new(context.clone(), slice)?;
    readers.spawn(reader.read().in_current_span());
    Ok(())
}

fn broke_off(error: JoinError) -> Error {
    Error::internal("a part of the read broke off")
        .caused_by(error)
        .hint("report this as a bug of weir; running again reads on")
}
