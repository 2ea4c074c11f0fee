//! From the states of all slices to the state that the next read starts from.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use weir_protocol::state::{SliceDigest, SliceGroup};
use weir_protocol::{SliceState, StateChange, StreamState};

use super::groups::{self, Member};
use super::tracker::EDGE_MAX;
use crate::cursor::CursorPlan;

/// Slices whose own cursors are kept; more are folded into groups that share one.
const SLICES_KEPT_MAX: usize = 200;
/// First character of state entries that are not slices.
const RESERVED: char = '@';

/// Collects how slices ended.
pub(super) struct Ends {
    floor: Option<Value>,
    groups: Vec<SliceGroup>,
    slices: Mutex<BTreeMap<Arc<str>, End>>,
    may_fold: bool,
}

#[derive(Clone, Default)]
struct End {
    state: SliceState,
    /// By this read, not by an earlier one.
    is_read: bool,
}

impl Ends {
    /// `before` is the state that the read started from, where it counts.
    pub(super) fn new(before: Option<&StreamState>, may_fold: bool) -> Self {
        let kept = before.into_iter().flat_map(|state| &state.slices);
        // Windows are entries of a running read only; their base entry carries on.
        let kept = kept.filter(|(key, _)| !is_reserved(key) && !is_window(key));
        let end = |state: &SliceState| End {
            state: rested(state.clone()),
            is_read: false,
        };
        Self {
            floor: before.and_then(|state| state.floor.clone()),
            groups: before.map(|state| state.groups.clone()).unwrap_or_default(),
            slices: Mutex::new(kept.map(|(key, state)| (key.clone(), end(state))).collect()),
            may_fold,
        }
    }

    /// A slice, or one window of it, was read to its end.
    pub(super) fn add(&self, base: &Arc<str>, cursor: Option<&CursorPlan>, state: SliceState) {
        let mut slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        let end = slices.entry(base.clone()).or_default();
        end.is_read = true;
        let kept = &mut end.state;
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
        let ends = self.slices.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let folds = self.may_fold && ends.len() > SLICES_KEPT_MAX;
        let (groups, ends) = match cursor {
            Some(cursor) if folds => (self.fold(cursor, &ends), BTreeMap::new()),
            _ => (self.groups.clone(), ends),
        };
        let states = ends.into_iter().map(|(key, end)| (key, end.state));
        let told = states.filter(|(_, state)| *state != SliceState::default());
        StateChange::Complete {
            floor: self.floor.clone(),
            groups,
            slices: told.chain(reserved).collect(),
        }
    }

    /// The groups of all slices of which something is known.
    fn fold(&self, cursor: &CursorPlan, ends: &BTreeMap<Arc<str>, End>) -> Vec<SliceGroup> {
        let member = |value: &Value, is_read| {
            Some(Member {
                point: cursor.formats.parse(value)?,
                cursor: value.clone(),
                is_read,
            })
        };
        let grouped = self.groups.iter().flat_map(|group| {
            let shared = member(&group.cursor, false);
            let slices = group.slices.iter();
            slices.filter_map(move |slice| Some((slice, shared.clone()?)))
        });
        let mut members: HashMap<SliceDigest, Member> = grouped.collect();
        let mut empty = Vec::new();
        for (key, end) in ends {
            let digest = SliceDigest::of(key);
            let own = end.state.cursor.as_ref();
            let own = own.and_then(|value| member(value, end.is_read));
            match (members.get_mut(&digest), own) {
                (Some(kept), Some(own)) if !own.point.is_before(&kept.point) => *kept = own,
                // A read that found nothing new leaves the slice where it was.
                (Some(kept), _) => kept.is_read |= end.is_read,
                (None, Some(own)) => drop(members.insert(digest, own)),
                (None, None) if end.is_read && self.floor.is_none() => empty.push(digest),
                (None, None) => {}
            }
        }
        groups::of(members, empty)
    }
}

fn add_edge(edge: &mut Vec<String>, others: Vec<String>) {
    for digest in others {
        if edge.len() < EDGE_MAX && !edge.contains(&digest) {
            edge.push(digest);
        }
    }
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
