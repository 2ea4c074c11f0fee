//! Reading from elsewhere than where the state stands: earlier is harmless, later leaves a gap.

use weir_protocol::state::WHOLE;
use weir_protocol::{Error, Result, StreamState};

use super::fold::{is_reserved, is_window};
use crate::cursor::{CursorPlan, Point};

const GAP_HINT: &str = "run without --from first, which reads on without a gap; or, if the gap is meant, \
                        set the cursor with `weir state set`";

/// Refuses to begin at `from` where records between the state's cursors and `from` would never be read.
pub(super) fn check(cursor: &CursorPlan, from: &Point, state: &StreamState) -> Result<()> {
    let refused = |message: &str| {
        Error::usage(message)
            .with("from", from)
            .with("cursor", &cursor.field)
            .hint(GAP_HINT)
    };
    let slices = || {
        let own = |key: &str| !is_reserved(key) && !is_window(key);
        state.slices.iter().filter(move |(key, _)| own(key))
    };
    let is_whole = state.slices.contains_key(WHOLE);
    let unread = slices().any(|(_, slice)| slice.cursor.is_none()) || !is_whole;
    if !state.complete && state.floor.is_none() && unread {
        return Err(refused(
            "the last read was interrupted, and what it has not read yet may lie before --from",
        ));
    }
    let cursors = slices().filter_map(|(_, slice)| slice.cursor.as_ref());
    let shared = state.groups.iter().map(|group| &group.cursor);
    for value in state.floor.iter().chain(shared).chain(cursors) {
        let stored = cursor.stored(value)?;
        if from.is_after(&stored) {
            return Err(refused(
                "--from lies after the stored cursor, so the records between them would never be read",
            )
            .with("stored cursor", stored));
        }
    }
    Ok(())
}
