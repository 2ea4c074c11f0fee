//! Held records decided upon: released into Silver by the schema of today, or discarded.

use bytes::Bytes;
use jiff::Timestamp;
use weir_protocol::{Batch, Destination, Error, Receipt, Record, Result, SyncMode, WriteMode, WritePlan};

use crate::lake::Lake;
use crate::quarantine::{self, Choice, Decision, Entry, Listing, Verb};

impl Lake {
    /// What is held of a stream: counts by reason, and the oldest entries.
    pub async fn quarantined(&self, source: &str, stream: &str, entries_max: usize) -> Result<Listing> {
        quarantine::list(&self.storage, source, stream, entries_max).await
    }

    /// Gives held records up, for good. Answers with how many.
    pub async fn discard_held(
        &self,
        source: &str,
        stream: &str,
        choice: &Choice,
        by: &str,
        why: &str,
    ) -> Result<u64> {
        let entries = quarantine::chosen(&self.storage, source, stream, choice).await?;
        if entries.is_empty() {
            return Ok(0);
        }
        let decision = decision(&entries, Verb::Discarded, by, why);
        quarantine::finish(&self.storage, source, stream, decision).await?;
        Ok(entries.len() as u64)
    }

    /// Types held records again and writes them to the stream's table; what still does not fit is
    /// held anew. A release that died on the way is carried out first. Answers with the receipt of
    /// the last release; none where nothing was held. An unfinished full refresh starts over.
    pub async fn release_held(
        &self,
        plan: &WritePlan,
        choice: &Choice,
        by: &str,
        why: &str,
    ) -> Result<Option<Receipt>> {
        let (source, stream) = (&plan.source, &plan.stream.name);
        let mut last = None;
        for decision in quarantine::pending(&self.storage, source, stream).await? {
            let ids = Choice::Ids(decision.ids.clone());
            let entries = quarantine::chosen(&self.storage, source, stream, &ids).await?;
            last = Some(self.release(plan, decision, &entries).await?);
        }
        let entries = quarantine::chosen(&self.storage, source, stream, choice).await?;
        if entries.is_empty() {
            return Ok(last);
        }
        let decision = decision(&entries, Verb::Released, by, why);
        quarantine::begin(&self.storage, source, stream, &decision).await?;
        self.release(plan, decision, &entries).await.map(Some)
    }

    /// The decision's id is the run's: a release that was committed before is not written again.
    async fn release(&self, plan: &WritePlan, decision: Decision, entries: &[Entry]) -> Result<Receipt> {
        let mut plan = plan.clone();
        plan.run.clone_from(&decision.id);
        plan.mode = unstaged(plan.mode, !plan.stream.primary_key.is_empty());
        let mut writer = self.open(plan.clone()).await?;
        let found = writer.committed().cloned().ok_or_else(|| {
            Error::not_found(format!("stream '{}' was never synced", plan.stream.name))
                .hint("sync it once; held records can be released after that")
        })?;
        if found.run != decision.id {
            for batch in batches(entries)? {
                writer.write(batch).await?;
            }
        }
        let receipt = writer.checkpoint(&found.state).await?;
        quarantine::finish(&self.storage, &plan.source, &plan.stream.name, decision).await?;
        Ok(receipt)
    }
}

/// The mode that writes rows of a stream at once, without a full refresh around them.
fn unstaged(mode: SyncMode, has_key: bool) -> SyncMode {
    match mode.write() {
        WriteMode::History => SyncMode::IncrementalHistory,
        WriteMode::Merge => SyncMode::IncrementalMerge,
        WriteMode::Replace if has_key => SyncMode::IncrementalMerge,
        WriteMode::Replace => SyncMode::FullRefreshAppend,
        WriteMode::Append => mode,
    }
}

fn decision(entries: &[Entry], verb: Verb, by: &str, why: &str) -> Decision {
    Decision {
        id: format!("decision{}", uuid::Uuid::now_v7().simple()),
        verb,
        ids: entries.iter().map(|entry| entry.id.clone()).collect(),
        by: by.to_owned(),
        why: why.to_owned(),
        at: Timestamp::now(),
        done: false,
    }
}

/// One batch for each entry's page: time of arrival and slice are those of its rows.
fn batches(entries: &[Entry]) -> Result<Vec<Batch>> {
    let same = |a: &Entry, b: &Entry| a.emitted_at == b.emitted_at && a.slice == b.slice;
    entries.chunk_by(same).map(batch).collect()
}

fn batch(entries: &[Entry]) -> Result<Batch> {
    let mut body = Vec::new();
    let mut records = Vec::with_capacity(entries.len());
    for entry in entries {
        let start = offset(body.len())?;
        body.extend_from_slice(&entry.record);
        let cursor = entry.cursor.as_deref().unwrap_or_default();
        let cursor_start = offset(body.len())?;
        body.extend_from_slice(cursor);
        records.push(Record {
            start,
            len: offset(entry.record.len())?,
            cursor_start,
            cursor_len: offset(cursor.len())?,
        });
    }
    let first = entries
        .first()
        .ok_or_else(|| Error::internal("a batch of held records is empty").hint("report this defect"))?;
    Ok(Batch {
        slice: first.slice.clone(),
        body: Bytes::from(body),
        records,
        filtered: 0,
        deduplicated: 0,
        emitted_at: first.emitted_at,
    })
}

fn offset(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(|error| {
        Error::limit("the held records exceed 4 GiB")
            .hint("release them by reason or by id, in parts")
            .caused_by(error)
    })
}
