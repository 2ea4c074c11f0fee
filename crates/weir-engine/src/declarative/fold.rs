//! From the states of all slices to the state that the next read starts from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use weir_protocol::{SliceState, StateChange, StreamState};

use super::tracker::EDGE_MAX;
use crate::cursor::{CursorPlan, Point};

/// Slices whose own cursors are kept; more are folded into one floor.
const SLICES_KEPT_MAX: usize = 200;
/// First character of state entries that are not slices.
const RESERVED: char = '@';

/// Collects how slices ended.
pub(super) struct Ends {
    floor: Option<Value>,
    slices: Mutex<BTreeMap<Arc<str>, SliceState>>,
    may_fold: bool,
}

impl Ends {
    /// `before` is the state that the read started from, where it counts.
    pub(super) fn new(before: Option<&StreamState>, may_fold: bool) -> Self {
        let kept = before.into_iter().flat_map(|state| &state.slices);
        // Windows are entries of a running read only; their base entry carries on.
        let kept = kept.filter(|(key, _)| !is_reserved(key) && !is_window(key));
        Self {
            floor: before.and_then(|state| state.floor.clone()),
            slices: Mutex::new(
                kept.map(|(key, state)| (key.clone(), rested(state.clone())))
                    .collect(),
            ),
            may_fold,
        }
    }

    /// A slice, or one window of it, was read to its end.
    pub(super) fn add(&self, base: &Arc<str>, cursor: Option<&CursorPlan>, state: SliceState) {
        let mut slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = slices.entry(base.clone()).or_default();
        let point = |state: &SliceState| {
            state
                .cursor
                .as_ref()
                .and_then(|value| cursor?.formats.parse(value))
        };
        let (new, old) = (point(&state), point(kept));
        let is_older = match (&new, &old) {
            (Some(new), Some(old)) => new.is_before(old),
            (None, Some(_)) => true,
            _ => false,
        };
        if is_older {
            kept.etag = state.etag;
            return;
        }
        // Of windows that end at one cursor, each may know other records there.
        let is_same = new.is_some() && new == old;
        let before = is_same.then(|| std::mem::take(&mut kept.edge));
        *kept = rested(state);
        add_edge(&mut kept.edge, before.unwrap_or_default());
    }

    pub(super) fn complete(
        &self,
        cursor: Option<&CursorPlan>,
        reserved: Vec<(Arc<str>, SliceState)>,
    ) -> StateChange {
        let mut slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut floor = self.floor.clone();
        if self.may_fold && slices.len() > SLICES_KEPT_MAX {
            floor = lowest(cursor, floor, &slices);
            slices.clear();
        }
        slices.retain(|_, state| *state != SliceState::default());
        slices.extend(reserved);
        StateChange::Complete { floor, slices }
    }
}

fn add_edge(edge: &mut Vec<String>, others: Vec<String>) {
    for digest in others {
        if edge.len() < EDGE_MAX && !edge.contains(&digest) {
            edge.push(digest);
        }
    }
}

/// The oldest of all cursors: no slice is complete beyond its own.
fn lowest(
    cursor: Option<&CursorPlan>,
    floor: Option<Value>,
    slices: &BTreeMap<Arc<str>, SliceState>,
) -> Option<Value> {
    let cursors = slices.values().filter_map(|state| state.cursor.clone());
    let mut lowest: Option<(Point, Value)> = None;
    for value in floor.into_iter().chain(cursors) {
        let Some(point) = cursor.and_then(|cursor| cursor.formats.parse(&value)) else {
            continue;
        };
        if lowest.as_ref().is_none_or(|(low, _)| point.is_before(low)) {
            lowest = Some((point, value));
        }
    }
    lowest.map(|(_, value)| value)
}

/// What of a slice's state outlives the read.
pub(super) fn rested(state: SliceState) -> SliceState {
    // Of a read that was cut off: that its first page is the same says nothing of those that were not read.
    let is_whole = state.page.is_none() && state.pending.is_none();
    SliceState {
        etag: state.etag.filter(|_| is_whole),
        page: None,
        pending: None,
        done: false,
        ..state
    }
}

/// Whether an entry is kept for the read itself. A window of a stream without other slices begins
/// with the same mark, and a digit.
pub(super) fn is_reserved(key: &str) -> bool {
    let mut chars = key.chars();
    chars.next() == Some(RESERVED) && chars.next().is_some_and(char::is_alphabetic)
}

pub(super) fn is_window(key: &str) -> bool {
    key.starts_with(RESERVED) || (key.starts_with('{') && !key.ends_with('}'))
}
