//! Full refreshes that were cut off, and whose source changed since so that nothing can be gone on with.
//!
//! What such a refresh landed must not stand beside what is read anew, and no key tells the one from the other. What waits in
//! a staging table is given up with its Bronze, as by `--restart`. Rows that were appended stand in the table for good, so a
//! refresh that appends lands all that it reads with its end, or nothing.

use weir_protocol::source::Notice;
use weir_protocol::{Error, ReadMode, Result, SyncMode, WriteMode};

use super::rules::{self, Decision, Last};
use super::stream::StreamJob;
use crate::ledger::Entry;

impl StreamJob {
    /// Whether a read is committed with its end alone.
    pub(super) fn is_landed_whole(&self, mode: SyncMode) -> bool {
        mode == SyncMode::FullRefreshAppend && self.plan.source.may_be_outdated(&self.stream().name)
    }

    /// The decision, or to begin anew where what it would go on with is outdated.
    pub(super) async fn unless_outdated(
        &self,
        decision: Decision,
        last: Option<&Last<'_>>,
    ) -> Result<Decision> {
        let (source, stream, mode) = (&self.plan.source, self.stream(), decision.mode);
        let is_asked = mode.read() == ReadMode::FullRefresh
            && rules::skip_edge(mode, stream)
            && source.may_be_outdated(&stream.name)
            // What this very run landed has its books and receipts: its next one gives it up.
            && last.is_some_and(|last| !last.is_ours);
        let why = match &decision.state {
            Some(state) if is_asked && !state.complete => source.outdated(&stream.name, state).await?,
            _ => None,
        };
        let Some(why) = why else {
            return Ok(decision);
        };
        if mode.write() == WriteMode::Append {
            return Err(landed(&self.lease.connection, &stream.name, why));
        }
        if rules::usual_mode(stream).read() == ReadMode::Incremental {
            // Once it is given up, nothing else says that a full read was asked for.
            self.write(&Entry::FullAsked).await?;
        }
        self.note(&begun_anew(mode, &why)).await;
        Ok(rules::anew(mode, last))
    }
}

fn begun_anew(mode: SyncMode, why: &str) -> Notice {
    Notice {
        message: format!("the {mode} that an earlier run left unfinished is begun anew: {why}"),
        hint: Some("nothing to do; what it had read is given up, and no reader has seen it".to_owned()),
    }
}

/// Of a refresh that an earlier version of weir began, or whose state was set by hand.
fn landed(connection: &str, stream: &str, why: String) -> Error {
    Error::source_failed("what a full refresh that was cut off appended is outdated, and stands in the table")
        .with("stream", stream)
        .with("why", why)
        .hint(format!(
            "put the table back with `weir lake restore` to the version before that refresh, then sync again; \
             or keep its rows: `weir sync {connection} --stream {stream} --full --restart` reads all beside them"
        ))
}
