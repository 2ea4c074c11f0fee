//! Makes a stream's slices, one after the other, as they are wanted.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use weir_protocol::{
    Batch, Error, ReadEvent, ReadMode, ReadRequest, Result, SliceState, StateChange, StreamState,
};

use super::context::{Oddity, ReadContext};
use super::page::field_of;
use crate::cursor::{Bounds, Format, Point};
use crate::extract::{Exact, Path, Step, parse};
use crate::slicing::{ParentPlan, Slice, Windows, fields_of};

/// First step of a parent field's path that names the parent's own slice.
const OF_SLICE: &str = "slice";

pub(super) struct Producer {
    context: Arc<ReadContext>,
    out: mpsc::Sender<Slice>,
    /// Digests of the slices made, so that a parent that is listed twice is read once.
    made: HashSet<[u8; 16]>,
    /// State of incrementally read parents, by reserved key.
    parents: Vec<(Arc<str>, SliceState)>,
    is_stopped: bool,
}

impl Producer {
    pub(super) fn new(context: Arc<ReadContext>, out: mpsc::Sender<Slice>) -> Self {
        Self {
            context,
            out,
            made: HashSet::new(),
            parents: Vec::new(),
            is_stopped: false,
        }
    }

    /// Gives the parents' states to keep once all slices are read.
    pub(super) async fn produce(mut self) -> Result<Vec<(Arc<str>, SliceState)>> {
        let context = self.context.clone();
        let slicing = &context.plan.slicing;
        let mut inner = slicing.list_product(&context.scope)?;
        let Some((first, others)) = slicing.parents.split_first() else {
            context
                .counts
                .slices_total
                .store(inner.len() as u64, Ordering::Relaxed);
            for slice in inner {
                self.make(slice, Map::new()).await?;
            }
            return Ok(self.parents);
        };
        // Of a product of parents, one is streamed; of the others only the slice fields are held.
        for parent in others {
            let mut all = Vec::new();
            self.each_parent(parent, &mut Sink::Collect(&mut all)).await?;
            inner = cross(&inner, &all);
        }
        self.each_parent(first, &mut Sink::Make(&inner)).await?;
        Ok(self.parents)
    }

    /// Reads a parent stream through the same machinery as any other stream.
    async fn each_parent(&mut self, parent: &ParentPlan, sink: &mut Sink<'_>) -> Result<()> {
        let key: Arc<str> = format!("@parent/{}", parent.stream).into();
        let is_incremental = parent.incremental && self.context.request.mode == ReadMode::Incremental;
        let kept = self.context.state.slices.get(&key).cloned().unwrap_or_default();
        let stored = kept.cursor.clone().filter(|_| is_incremental);
        let stored = stored.map(|stored| read_state(parent, stored)).transpose()?;
        let mut state = stored.clone().unwrap_or_default();
        let request = ReadRequest {
            mode: if is_incremental {
                ReadMode::Incremental
            } else {
                ReadMode::FullRefresh
            },
            state: stored,
            ..ReadRequest::full(&parent.stream)
        };
        let until = self.context.parents_until();
        let mut events = self.context.source.clone().read_parents(request, until);
        while let Some(event) = events.next().await {
            match event? {
                ReadEvent::Batch(batch) => self.parent_batch(parent, &batch, sink).await?,
                ReadEvent::Advance(change @ StateChange::Complete { .. }) => state.apply(change),
                notice @ ReadEvent::Notice(_) => self.context.emit(vec![notice]).await?,
                ReadEvent::Advance(StateChange::Slice { .. }) | ReadEvent::Progress(_) => {}
            }
            if self.is_stopped {
                return Ok(());
            }
        }
        if parent.incremental {
            let cursor = &self.context.source.plan(&parent.stream)?.cursor;
            let is_held_back = cursor.as_ref().is_none_or(|cursor| cursor.formats.are_times());
            self.parents.push((key, to_keep(kept, &state, is_held_back)?));
        }
        Ok(())
    }

    async fn parent_batch(&mut self, parent: &ParentPlan, batch: &Batch, sink: &mut Sink<'_>) -> Result<()> {
        let of_slice = fields_of(&batch.slice);
        for record in &batch.records {
            let start = record.start as usize;
            let whole = start..start + record.len as usize;
            let Some(fields) = self.parent_fields(parent, batch, &whole, &of_slice)? else {
                continue;
            };
            match sink {
                Sink::Collect(all) => all.push(fields),
                Sink::Make(inner) => {
                    for slice in *inner {
                        self.make(slice.clone(), fields.clone()).await?;
                    }
                }
            }
            if self.is_stopped {
                return Ok(());
            }
        }
        Ok(())
    }

    /// None for a parent that is not wanted, or lacks a field.
    fn parent_fields(
        &self,
        parent: &ParentPlan,
        batch: &Batch,
        whole: &Range<usize>,
        of_slice: &Map<String, Value>,
    ) -> Result<Option<Map<String, Value>>> {
        let json = &batch.body[whole.clone()];
        if let Some(when) = &parent.when
            && !when.render_bool(&self.context.scope.clone().with("record", looked_at(json)?))?
        {
            return Ok(None);
        }
        let mut fields = Map::with_capacity(parent.fields.len());
        for (name, path) in &parent.fields {
            let found = field_of(&batch.body, whole, path)?;
            let Some(value) = found.or_else(|| slice_field(path, of_slice)) else {
                self.context.notices.note(Oddity::ParentKeyMissing, json);
                return Ok(None);
            };
            fields.insert(name.clone(), value);
        }
        Ok(Some(fields))
    }

    async fn make(&mut self, slice: Slice, fields: Map<String, Value>) -> Result<()> {
        let slice = slice.with_fields(fields);
        let digest = Sha256::digest(slice.key.as_bytes());
        let digest: [u8; 16] = digest.first_chunk().copied().unwrap_or_default();
        if !self.made.insert(digest) {
            return Ok(());
        }
        match self.context.plan.slicing.windows {
            Some(windows) => self.make_windows(windows, &slice).await,
            None => {
                self.send(slice).await;
                Ok(())
            }
        }
    }

    async fn make_windows(&mut self, windows: Windows, slice: &Slice) -> Result<()> {
        let bounds = self.context.bounds(&slice.base)?;
        let (Some(Point::Instant(lower)), Some(Point::Instant(upper))) = (&bounds.lower, &bounds.upper)
        else {
            return Err(Error::spec("slices by date_window have no start")
                .hint("set cursor.start, as in \"{{ config.start_date }}\" (with a default), and a cursor.format that is a time"));
        };
        for (from, until) in windows.between(*lower, *upper) {
            if self.is_stopped {
                return Ok(());
            }
            let bounds = Bounds {
                lower: Some(Point::Instant(from)),
                upper: Some(Point::Instant(until)),
            };
            let start = Format::Rfc3339.write(&Point::Instant(from))?;
            self.send(slice.in_window(bounds, start.as_str().unwrap_or_default()))
                .await;
        }
        Ok(())
    }

    async fn send(&mut self, slice: Slice) {
        self.is_stopped |= self.out.send(slice).await.is_err();
    }
}

fn read_state(parent: &ParentPlan, stored: Value) -> Result<StreamState> {
    serde_json::from_value(stored).map_err(|error| {
        Error::state(format!(
            "the stored state of parent '{}' cannot be read",
            parent.stream
        ))
        .caused_by(error)
        .hint("reset the stream's state with `weir state reset`")
    })
}

/// What of a parent is kept once all slices are read: where the next read lists it from.
///
/// A slice may have been read before its parent was listed as it is now: by an interrupted read, or because
/// the parent changed while others were listed. Cursors that are times were held back to before that. Others
/// cannot be compared with a clock, so each read lists from where the one before the last complete one ended
/// (`cursor`), and leaves its own end to the read after the next (`pending`).
fn to_keep(kept: SliceState, newest: &StreamState, is_held_back: bool) -> Result<SliceState> {
    let newest = serde_json::to_value(newest).map_err(|error| {
        Error::internal("a parent's state cannot be written")
            .caused_by(error)
            .hint("report this as a bug of weir")
    })?;
    Ok(if is_held_back {
        SliceState {
            cursor: Some(newest),
            ..SliceState::default()
        }
    } else {
        SliceState {
            cursor: kept.pending.or(kept.cursor),
            pending: Some(newest),
            ..SliceState::default()
        }
    })
}

/// A parent's record, for its condition. It may have numbers that a value does not hold.
fn looked_at(json: &[u8]) -> Result<Value> {
    // Of what is no JSON at all, the other way has the error.
    Exact::value(json).or_else(|_| parse(json))
}

/// What is done with a parent's fields.
enum Sink<'a> {
    Collect(&'a mut Vec<Map<String, Value>>),
    Make(&'a [Slice]),
}

/// A field of the parent's own slice, as in `slice.repository`.
fn slice_field(path: &Path, of_slice: &Map<String, Value>) -> Option<Value> {
    match path.steps.as_slice() {
        [Step::Key(first), Step::Key(name)] if first == OF_SLICE => of_slice.get(name).cloned(),
        _ => None,
    }
}

fn cross(slices: &[Slice], fields: &[Map<String, Value>]) -> Vec<Slice> {
    let with = |slice: &Slice, fields: &Map<String, Value>| slice.clone().with_fields(fields.clone());
    slices
        .iter()
        .flat_map(|slice| fields.iter().map(move |fields| with(slice, fields)))
        .collect()
}
