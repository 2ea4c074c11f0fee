//! Where a stream is read on. State advances only with a durable commit of the data it covers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod group;

pub use group::{SliceDigest, SliceGroup, SliceSet};

/// The slice key of a stream that is read in one piece.
pub const WHOLE: &str = "";

/// Everything needed to read one stream on: small (the source folds many finished slices into `groups`) and
/// self-contained.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamState {
    /// Cursor of every slice that has no entry of its own and is in no group. Without it such a slice is read from
    /// the stream's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Value>,
    /// Slices without an entry of their own that share a cursor, none of which is complete beyond its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<SliceGroup>,
    /// Slice key (canonical JSON of its fields, [`WHOLE`] where there is but one) to its state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slices: BTreeMap<Arc<str>, SliceState>,
    /// Whether the read that wrote this state came to its end. An incomplete full refresh is
    /// resumed, a complete one starts anew.
    #[serde(default)]
    pub complete: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliceState {
    /// Newest cursor value up to which the slice is known to be complete, as the source wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Value>,
    /// What leads to the next page; present only while the slice is partly read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Value>,
    /// Newest cursor value seen while the slice is partly read and its order is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Value>,
    /// The slice was read to its end within the running (incomplete) read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
    /// Digests of the records exactly at `cursor`, so that an append stream does not take them twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edge: Vec<String>,
    /// ETag of the slice's first page, where the stream asks with If-None-Match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// One step of a stream's state. A source emits it after the batches that it covers.
#[derive(Debug, Clone, PartialEq)]
pub enum StateChange {
    Slice {
        key: Arc<str>,
        state: SliceState,
    },
    /// The read came to its end: `floor`, `groups` and `slices` are the folded state to start from next time.
    Complete {
        floor: Option<Value>,
        groups: Vec<SliceGroup>,
        slices: BTreeMap<Arc<str>, SliceState>,
    },
}

impl StreamState {
    pub fn apply(&mut self, change: StateChange) {
        match change {
            StateChange::Slice { key, state } => {
                self.complete = false;
                self.slices.insert(key, state);
            }
            StateChange::Complete {
                floor,
                groups,
                slices,
            } => {
                *self = Self {
                    floor,
                    groups,
                    slices,
                    complete: true,
                };
            }
        }
    }

    /// The cursor to read a slice from.
    pub fn cursor_of(&self, slice: &str) -> Option<&Value> {
        self.slices
            .get(slice)
            .and_then(|state| state.cursor.as_ref())
            .or_else(|| self.group_of(slice).map(|group| &group.cursor))
            .or(self.floor.as_ref())
    }

    fn group_of(&self, slice: &str) -> Option<&SliceGroup> {
        let digest = (!self.groups.is_empty()).then(|| SliceDigest::of(slice))?;
        self.groups.iter().find(|group| group.slices.contains(&digest))
    }
}
