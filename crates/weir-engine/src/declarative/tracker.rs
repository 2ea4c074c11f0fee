//! How one slice's state follows the records that were read of it.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use weir_protocol::{Result, SliceState};

use super::copies::Copies;
use crate::cursor::{CursorPlan, Point};
use crate::interpolate::hex;

/// Digests kept of the records at the cursor.
pub(super) const EDGE_MAX: usize = 1_000;
/// Bytes of a digest that are kept.
const DIGEST_BYTES: usize = 8;
/// Marks a digest that belongs to `pending` instead of `cursor`.
const PENDING_MARK: &str = "+";

/// What of a read decides how its slices are tracked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracking {
    /// The cursor moves with every page, since what follows is not older.
    pub(super) per_page: bool,
    /// The read starts from stored cursors.
    pub(super) from_cursor: bool,
    /// Records at the cursor are told apart by their digests.
    pub(super) keeps_edge: bool,
    /// Records after it are passed on, but do not move the cursor.
    pub(super) moves_until: Option<Timestamp>,
}

impl Tracking {
    fn moves_to(&self, point: &Point) -> bool {
        let until = self.moves_until.map(Point::Instant);
        until.is_none_or(|until| !point.is_after(&until))
    }
}

pub(super) struct Tracker {
    tracking: Tracking,
    state: SliceState,
    /// The cursor that the slice began with.
    old: Option<Point>,
    old_edge: HashSet<String>,
    /// How often each of them came in this read.
    old_copies: Copies,
    /// What the record that was just looked at is called, where it is like one of them.
    looked_at: Option<String>,
    /// Newest value so far, as the source wrote it.
    best: Option<(Point, Value)>,
    best_edge: Vec<String>,
    best_copies: Copies,
    /// Newest value of the pages read so far, whatever an earlier read saw.
    newest_read: Option<Point>,
    /// A record lay after what the cursor may move to.
    is_held_back: bool,
}

impl Tracker {
    pub(super) fn new(tracking: Tracking, cursor: Option<&CursorPlan>, mut state: SliceState) -> Self {
        if !tracking.from_cursor {
            state.cursor = None;
        }
        let point = |value: &Option<Value>| {
            let value = value.as_ref()?;
            Some((cursor?.formats.parse(value)?, value.clone()))
        };
        let old = point(&state.cursor);
        let pending = point(&state.pending);
        let edge = std::mem::take(&mut state.edge);
        let (new, old_edge): (Vec<_>, Vec<_>) = edge
            .into_iter()
            .partition(|digest| digest.starts_with(PENDING_MARK));
        let new: Vec<String> = new
            .iter()
            .map(|digest| digest.replacen(PENDING_MARK, "", 1))
            .collect();
        let (best, best_edge) = match pending {
            Some(pending) => (Some(pending), new),
            None => (old.clone(), old_edge.clone()),
        };
        Self {
            tracking,
            state,
            old: old.map(|(point, _)| point),
            old_edge: old_edge.into_iter().collect(),
            old_copies: Copies::default(),
            looked_at: None,
            best,
            best_edge,
            best_copies: Copies::default(),
            newest_read: None,
            is_held_back: false,
        }
    }

    fn best(&self) -> Option<&Point> {
        self.best.as_ref().map(|(point, _)| point)
    }

    /// Newest value of the pages read so far.
    pub(super) fn newest_read(&self) -> Option<&Point> {
        self.newest_read.as_ref()
    }

    /// Whether an earlier read already had this record, which lies exactly at its cursor. Of records that are alike it
    /// had as many as its edge names.
    pub(super) fn is_known(&mut self, point: &Point, json: &[u8]) -> bool {
        self.looked_at = None;
        if !self.tracking.keeps_edge || self.old.as_ref() != Some(point) {
            return false;
        }
        let digest = digest(json);
        if !self.old_edge.contains(&digest) {
            return false;
        }
        let copy = self.old_copies.next(digest);
        let is_known = self.old_edge.contains(&copy);
        self.looked_at = Some(copy);
        is_known
    }

    /// Takes notice of a record that is passed on, right after [`Self::is_known`].
    pub(super) fn observe(&mut self, point: &Point, raw: &[u8], json: &[u8]) -> Result<()> {
        if self
            .newest_read
            .as_ref()
            .is_none_or(|newest| point.is_after(newest))
        {
            self.newest_read = Some(point.clone());
        }
        if !self.tracking.moves_to(point) {
            self.is_held_back = true;
            return Ok(());
        }
        let is_newer = match &self.best {
            Some((best, _)) => point.is_after(best),
            None => true,
        };
        if is_newer {
            self.best = Some((point.clone(), crate::extract::parse(raw)?));
            self.best_edge.clear();
            self.best_copies = Copies::default();
        }
        let looked_at = self.looked_at.take();
        if self.tracking.keeps_edge && self.best_edge.len() < EDGE_MAX && self.best() == Some(point) {
            let copy = looked_at.unwrap_or_else(|| self.best_copies.next(digest(json)));
            if !self.best_edge.contains(&copy) {
                self.best_edge.push(copy);
            }
        }
        Ok(())
    }

    /// Whether more records share the newest cursor than can be remembered.
    pub(super) fn is_edge_full(&self) -> bool {
        self.tracking.keeps_edge && self.best_edge.len() >= EDGE_MAX
    }

    pub(super) fn set_etag(&mut self, etag: Option<String>) {
        self.state.etag = etag;
    }

    /// The state after a page that is not the slice's last. `page` leads to the next one.
    pub(super) fn after_page(&mut self, page: Value) -> SliceState {
        if self.tracking.per_page {
            self.settle();
            return self.state.clone();
        }
        self.state.page = Some(page);
        self.state.pending = self.best.as_ref().map(|(_, raw)| raw.clone());
        let new = self
            .best_edge
            .iter()
            .map(|digest| format!("{PENDING_MARK}{digest}"));
        let mut old: Vec<String> = self.old_edge.iter().cloned().collect();
        old.sort();
        self.state.edge = old.into_iter().chain(new).collect();
        self.state.clone()
    }

    /// The state after the slice's last page.
    pub(super) fn finish(mut self) -> SliceState {
        self.settle();
        self.state.page = None;
        self.state.pending = None;
        self.state.done = true;
        if self.is_held_back {
            // "Nothing changed" must not leave out what the cursor did not pass.
            self.state.etag = None;
        }
        self.state
    }

    fn settle(&mut self) {
        if let Some((_, raw)) = &self.best {
            self.state.cursor = Some(raw.clone());
        }
        self.state.edge.clone_from(&self.best_edge);
    }
}

fn digest(json: &[u8]) -> String {
    let digest = Sha256::digest(json);
    hex(digest.get(..DIGEST_BYTES).unwrap_or_default())
}
