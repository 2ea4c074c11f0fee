//! Which streams may be read again beside their incremental runs.

use weir_protocol::source::StreamDescriptor;
use weir_protocol::{Error, ReadMode, Result, SyncMode};

use super::rules::{Decision, Last, usual_mode};
use crate::states::Wish;

/// Refuses a backfill that would double rows, move a cursor, or get between a full refresh and its end.
/// `last` is the mode of the newest checkpoint, and whether its read came to an end.
pub(super) fn allow(
    stream: &StreamDescriptor,
    last: Option<(Option<SyncMode>, bool)>,
    wish: Option<&Wish>,
) -> Result<()> {
    let name = &stream.name;
    let mode = usual_mode(stream);
    if mode != SyncMode::IncrementalMerge {
        return Err(Error::usage(format!(
            "stream '{name}' cannot be backfilled: it is synced as {mode}"
        ))
        .hint("a backfill needs a stream with a key and a cursor, in the mode incremental_merge"));
    }
    let Some((last, is_complete)) = last else {
        return Err(Error::usage(format!("stream '{name}' was never synced"))
            .hint("sync it first: a backfill reads again what an incremental sync has passed"));
    };
    let is_full = last.is_some_and(|last| last.read() == ReadMode::FullRefresh);
    if (is_full && !is_complete) || wish.is_some() {
        return Err(
            Error::usage(format!("the next sync of stream '{name}' does not read on"))
                .hint("sync it first, so that the full read or the new state is done; then backfill"),
        );
    }
    Ok(())
}

/// Reads the range, and commits the state that is there.
pub(super) fn decision(mode: SyncMode, last: Option<&Last<'_>>) -> Decision {
    Decision {
        mode,
        state: None,
        set_aside: None,
        restart: false,
        kept: last.map(|last| last.committed.state.clone()),
    }
}
