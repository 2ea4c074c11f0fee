//! Held records decided upon: released into Silver by the schema of today, or discarded.
//!
//! A released record stands in Bronze since it arrived; only Silver takes it in, as if it had fitted
//! then. Where adding it to the table as it is now would not come to that (a history that went on
//! since, a full refresh that was complete but for it), Bronze is replayed with it.

mod direct;
mod typed;

use weir_protocol::destination::SchemaChange;
use weir_protocol::{Books, Error, ErrorKind, Receipt, Result, WriteMode, WritePlan};

use crate::failpoint;
use crate::lake::{Lake, Layer, folder};
use crate::maintenance::{Admission, decision};
use crate::quarantine::{self, Choice, Entry, Listing, Verb};
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Table, columns};
use crate::writer::shape::Shape;
use crate::writer::state::{self, StateRecord};
use direct::{Direct, Landing};
use typed::Retyped;

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
        let admission = Admission { only: None, by, why };
        let decision = decision(ids(&entries), Verb::Discarded, admission);
        failpoint::reach("lake.in_discard")?;
        quarantine::finish(&self.storage, source, stream, decision).await?;
        Ok(entries.len() as u64)
    }

    /// Types held records again and writes those that fit to the stream's table; the others stay
    /// held as they are. Answers with what was done; none where nothing was held.
    pub async fn release_held(
        &self,
        plan: &WritePlan,
        choice: &Choice,
        by: &str,
        why: &str,
    ) -> Result<Option<Receipt>> {
        let shape = Shape::new(plan)?;
        for _ in 0..ATTEMPTS_MAX {
            let Some(release) = Release::open(self, plan, &shape, choice).await? else {
                return Ok(None);
            };
            let admission = Admission { only: None, by, why };
            if let Some(receipt) = Box::pin(release.run(admission)).await? {
                return Ok(Some(receipt));
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("table '{}' is changed by others all the time", shape.name),
        )
        .with("attempts", ATTEMPTS_MAX)
        .hint("release again while no sync of this stream runs; nothing was changed"))
    }
}

/// One try to release.
struct Release<'a> {
    lake: &'a Lake,
    plan: &'a WritePlan,
    shape: &'a Shape,
    table: Table,
    record: StateRecord,
    entries: Vec<Entry>,
    /// Entries of which a later full refresh replaced what they would have landed in.
    replaced: Vec<Entry>,
}

impl<'a> Release<'a> {
    /// None where nothing is held that was chosen.
    async fn open(
        lake: &'a Lake,
        plan: &'a WritePlan,
        shape: &'a Shape,
        choice: &Choice,
    ) -> Result<Option<Self>> {
        let (source, stream) = (&plan.source, &plan.stream.name);
        let never = || {
            Error::not_found(format!("stream '{stream}' was never synced"))
                .hint("sync it once; held records can be released after that")
        };
        let table = Table::find(&lake.storage, &folder(Layer::Silver, &shape.name)).await?;
        let table = table.ok_or_else(never)?;
        let record = StateRecord::read(&table, &plan.connection, stream).await?;
        let record = record.ok_or_else(never)?;
        if let Some(form) = &record.form {
            form.check(shape)?;
        }
        quarantine::settle(&lake.storage, source, stream, &table).await?;
        Box::pin(lake.clear_strays(plan, &record)).await?;
        let chosen = quarantine::chosen(&lake.storage, source, stream, choice).await?;
        if chosen.is_empty() {
            return Ok(None);
        }
        let covered = |entry: &Entry| entry.sequence <= record.sequence;
        let (mut chosen, open): (Vec<_>, Vec<_>) = chosen.into_iter().partition(covered);
        if chosen.is_empty() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "{} records belong to a sync of stream '{stream}' that is not finished",
                    open.len()
                ),
            )
            .hint(format!(
                "finish it with `weir sync {} --stream {stream}`, then release them",
                plan.connection
            )));
        }
        chosen.sort_by_key(|entry| entry.sequence);
        let (replaced, entries) = chosen
            .into_iter()
            .partition(|entry| record.is_replaced(entry.sequence));
        Ok(Some(Self {
            lake,
            plan,
            shape,
            table,
            record,
            entries,
            replaced,
        }))
    }

    /// None where another writer was faster: the release must look again.
    async fn run(mut self, admission: Admission<'_>) -> Result<Option<Receipt>> {
        let (source, stream) = (&self.plan.source, &self.plan.stream.name);
        let storage = &self.lake.storage;
        if !self.replaced.is_empty() {
            let decision = decision(ids(&self.replaced), Verb::Released, admission);
            quarantine::finish(storage, source, stream, decision).await?;
        }
        let children = match &self.shape.family {
            Some(family) => family.open(storage, Some(&self.record)).await?,
            None => Vec::new(),
        };
        let known = state::inexact(Some(&self.record), Some(&self.table), &children)?;
        let registered = (columns::data_schema(self.table.schema()), children, known);
        let key = self.lake.pii_key.expose().as_bytes();
        let retyped = typed::retype(self.plan, self.shape, registered, key, &self.entries)?;
        if retyped.fitting.is_empty() {
            return Ok(Some(self.receipt(&retyped, 0, 0, self.table.version())));
        }
        if self.needs_replay() {
            return self.replay(&retyped, admission).await.map(Some);
        }
        let decision = decision(retyped.fitting.clone(), Verb::Released, admission);
        let direct = Direct {
            lake: self.lake,
            shape: self.shape,
            record: &self.record,
            decision: &decision,
            memory_bytes: (self.plan.memory_bytes / 4).max(1 << 20),
        };
        quarantine::begin(storage, source, stream, &decision).await?;
        match direct.land(&mut self.table, &retyped).await? {
            Landing::Lost => Ok(None),
            Landing::Inexact => self.replay(&retyped, admission).await.map(Some),
            Landing::Committed {
                landed,
                known,
                version,
            } => {
                failpoint::reach("lake.after_release")?;
                quarantine::finish(storage, source, stream, decision).await?;
                Ok(Some(self.receipt(&retyped, landed, known, version)))
            }
        }
    }

    /// Whether a full refresh was published with or after a record, and told by it what vanished; or
    /// a record's lists go to child tables, which a replay writes together with their parents.
    fn needs_replay(&self) -> bool {
        if self.shape.family.is_some() {
            return true;
        }
        let oldest = self.entries.first().map_or(u64::MAX, |entry| entry.sequence);
        let mut after = self.record.generations.iter().filter(|past| past.to >= oldest);
        after.any(|past| matches!(past.mode.write(), WriteMode::Merge | WriteMode::History))
    }

    async fn replay(&self, retyped: &Retyped, admission: Admission<'_>) -> Result<Receipt> {
        let admission = Admission {
            only: Some(&retyped.fitting),
            ..admission
        };
        let done = Box::pin(self.lake.replay(self.plan, admission, false)).await?;
        let known = (retyped.fitting.len() as u64).saturating_sub(done.released);
        Ok(self.receipt(retyped, done.released, known, done.version))
    }

    fn receipt(&self, retyped: &Retyped, landed: u64, known: u64, version: i64) -> Receipt {
        let mut reasons: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
        for reason in &retyped.reasons {
            *reasons.entry(reason.clone()).or_default() += 1;
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let changes: Vec<SchemaChange> = retyped.changes.clone();
        Receipt {
            sequence: self.record.sequence,
            table: self.shape.name.clone(),
            version,
            books: Books {
                read: (self.entries.len() + self.replaced.len()) as u64,
                landed,
                filtered: 0,
                deduplicated: known + self.replaced.len() as u64,
                quarantined: retyped.reasons.len() as u64,
            },
            bronze_bytes: 0,
            silver_bytes: 0,
            child_rows: std::collections::BTreeMap::new(),
            schema_changes: changes,
            quarantine_reasons: reasons,
        }
    }
}

fn ids(entries: &[Entry]) -> std::collections::BTreeSet<String> {
    entries.iter().map(|entry| entry.id.clone()).collect()
}
