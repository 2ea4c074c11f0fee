//! Whose records go out, where a slice is to be given as a whole.
//!
//! A page number, an offset or a next page's URL leads to a place in a list. Once the list changes, other
//! records stand there, so an interrupted slice cannot be read on: it is read again from its first page,
//! and nothing of its first half may be in the lake by then (`docs/decisions/20261121-position-paging.md`).
//! Its state therefore moves at its end only. Since a move of state covers all that was given before
//! it, by whichever slice, slices give their records one after the other: each keeps a few pages until it
//! is its turn, and has the turn until its end. Slices of a page or two are still read side by side.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};
use weir_protocol::{ReadEvent, Result};

use super::context::{Events, ReadContext};

pub(super) type Turn = Mutex<()>;

/// Pages of a slice that wait for its turn.
const PAGES_KEPT_MAX: usize = 4;
/// Bytes of such pages; the page that exceeds it is kept still.
const BYTES_KEPT_MAX: usize = 4 << 20;

/// The records of one slice on their way out.
#[derive(Default)]
pub(super) struct Outlet {
    kept: Events,
    pages: usize,
    bytes: usize,
    turn: Option<OwnedMutexGuard<()>>,
    /// The slice is given as a whole: no state before its end.
    is_whole: bool,
}

impl Outlet {
    /// From now on the slice's state does not move before its end.
    pub(super) fn keep_whole(&mut self) {
        self.is_whole = true;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// A page that is not the slice's last.
    pub(super) async fn page(&mut self, context: &ReadContext, events: Events) -> Result<()> {
        if self.is_whole && self.turn.is_none() {
            self.pages += 1;
            self.bytes += events.iter().map(bytes_of).sum::<usize>();
            self.kept.extend(events);
            if self.pages < PAGES_KEPT_MAX && self.bytes < BYTES_KEPT_MAX {
                return Ok(());
            }
            return self.give(context, Vec::new()).await;
        }
        self.give(context, events).await?;
        if !self.is_whole {
            self.turn = None;
        }
        Ok(())
    }

    /// The slice's last events.
    pub(super) async fn end(&mut self, context: &ReadContext, events: Events) -> Result<()> {
        self.give(context, events).await?;
        self.turn = None;
        Ok(())
    }

    async fn give(&mut self, context: &ReadContext, events: Events) -> Result<()> {
        if self.turn.is_none() {
            self.turn = Some(Arc::clone(&context.turn).lock_owned().await);
        }
        let mut all = std::mem::take(&mut self.kept);
        all.extend(events);
        context.emit(all).await
    }
}

fn bytes_of(event: &ReadEvent) -> usize {
    match event {
        ReadEvent::Batch(batch) => batch.body.len(),
        ReadEvent::Advance(_) | ReadEvent::Progress(_) | ReadEvent::Notice(_) => 0,
    }
}
