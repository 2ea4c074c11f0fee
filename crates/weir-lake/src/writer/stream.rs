//! One stream during one run.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::FutureExt;
use weir_protocol::destination::Committed;
use weir_protocol::{
    Batch, Books, Error, Finished, Receipt, Result, SchemaChange, StreamState, StreamWriter, WriteMode,
    WritePlan,
};

use super::checkpoint::{self, Checkpoint, Written};
use super::direct::Direct;
use super::form::TableForm;
use super::gathered::Gathered;
use super::generations::Generation;
use super::pipeline::{Flushed, Pipeline};
use super::publish::Publish;
use super::shape::Shape;
use super::staging::{self, Staging};
use super::state::StateRecord;
use crate::bronze::{self, ObjectName};
use crate::children::{ChildRows, ChildRule};
use crate::lake::{Lake, Layer, folder};
use crate::maintenance::tidy;
use crate::table::Table;
use crate::typed::Inexact;
use crate::upsert::held_max;

const REASONS_MAX: usize = 10;
/// The version that a receipt names when no table could be made yet: no row, and a partition
/// column whose type only a row can tell.
const NO_VERSION: i64 = -1;

pub(super) struct LakeWriter {
    pub(super) lake: Lake,
    pub(super) plan: WritePlan,
    pub(super) shape: Shape,
    /// The shape of the table that checkpoints go to: a staging table keeps the lists.
    pub(super) target: Shape,
    pub(super) pipeline: Pipeline,
    pub(super) memory_bytes: u64,
    /// The newest checkpoint, and where it stands.
    pub(super) last: Option<StateRecord>,
    pub(super) committed: Option<Committed>,
    pub(super) version: i64,
    /// Of a staged mode: the first checkpoint of the refresh.
    pub(super) generation: u64,
    /// Of the table that checkpoints go to.
    pub(super) folder: object_store::path::Path,
    /// Full refreshes that the main table went through.
    pub(super) generations: Vec<Generation>,
    /// Accepted since the last checkpoint.
    pub(super) accepted: Books,
    pub(super) bronze_bytes: u64,
    pub(super) changes: Vec<SchemaChange>,
    pub(super) reasons: BTreeMap<String, u64>,
    /// Objects that other runs wrote for the checkpoint that comes next.
    pub(super) open: Vec<object_store::path::Path>,
    /// An error left accepted batches behind: nothing more may be committed.
    pub(super) broken: bool,
}

#[async_trait]
impl StreamWriter for LakeWriter {
    fn committed(&self) -> Option<&Committed> {
        self.committed.as_ref()
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        self.check()?;
        self.accepted.read += batch.read();
        self.accepted.filtered += batch.filtered;
        self.accepted.deduplicated += batch.deduplicated;
        let written = self.pipeline.write(batch).await;
        self.broken |= written.is_err();
        written
    }

    async fn checkpoint(&mut self, state: &StreamState) -> Result<Receipt> {
        self.check()?;
        let done = self.advance(state, false).await;
        self.broken |= done.is_err();
        done.map(|_| self.receipt())
    }

    async fn finish(mut self: Box<Self>, state: &StreamState) -> Result<Finished> {
        self.check()?;
        let published = self.advance(state, true).await?;
        let refusal = if self.shape.is_staged() && state.complete && !published {
            self.publish().await?
        } else {
            None
        };
        self.tidy().await;
        Ok(Finished {
            receipt: self.receipt(),
            refusal,
        })
    }
}

impl LakeWriter {
    fn check(&self) -> Result<()> {
        if !self.broken {
            return Ok(());
        }
        Err(Error::internal(format!(
            "stream '{}' failed before and takes nothing more in this run",
            self.plan.stream.name
        ))
        .hint("sync again: it goes on from the last checkpoint"))
    }

    fn bronze_folder(&self) -> object_store::path::Path {
        bronze::folder(&self.plan.source, &self.plan.stream.name)
    }

    fn sequence(&self) -> u64 {
        self.last.as_ref().map_or(0, |record| record.sequence)
    }

    /// Commits all accepted batches with `state`. Where nothing changed, nothing is committed,
    /// unless the end of a staged read asks for it. Answers whether a full refresh is published with it.
    async fn advance(&mut self, state: &StreamState, last: bool) -> Result<bool> {
        let before = self.sequence();
        let published = self.commit(state, last).await?;
        // A number is taken in the table alone: what stands in a staging table may be given up yet.
        if self.sequence() > before && (published || !self.shape.is_staged()) {
            self.clear_open().await;
        }
        if self.sequence() == before && !last {
            // The number was not used up: what comes next belongs to it.
            let next = new_rows(&self.lake, &self.shape, &self.folder, self.memory_bytes);
            self.pipeline.flush(next, before + 1).await?;
        }
        Ok(published)
    }

    async fn commit(&mut self, state: &StreamState, last: bool) -> Result<bool> {
        let next = new_rows(&self.lake, &self.shape, &self.folder, self.memory_bytes);
        let sequence = self.sequence() + 1;
        let mut flushed = self.pipeline.flush(next, sequence + 1).await?;
        self.note(&flushed, last);
        let is_same = self
            .committed
            .as_ref()
            .is_some_and(|committed| committed.state == *state);
        let publishes = last && self.shape.is_staged();
        if self.accepted == Books::default() && is_same && !publishes {
            return Ok(false);
        }
        let record = self.record(state, sequence, flushed.inexact);
        let schema = self.target.table_schema(&flushed.schema);
        if publishes && state.complete && self.publish_directly(&mut flushed.rows, &record, &schema).await? {
            return Ok(true);
        }
        let folder = self.folder.clone();
        if flushed.rows.rows() == 0
            && self.shape.check_partitions(&schema).is_err()
            && Table::find(&self.lake.storage, &folder).await?.is_none()
        {
            tracing::info!(
                table = self.shape.name,
                "no table yet: its partition column has no type before the first row"
            );
            self.version = NO_VERSION;
            return Ok(false);
        }
        let storage = &self.lake.storage;
        let mut table = match self.staged() {
            Some(last) => {
                let table = staging::check(storage, &folder, last).boxed().await?;
                checkpoint::ready(table, &self.target).boxed().await?
            }
            None => {
                let made = checkpoint::table(storage, &self.target, &folder, &schema);
                made.boxed().await?
            }
        };
        let checkpoint = Checkpoint {
            shape: &self.target,
            whole: self.shape.whole_schema(&flushed.schema),
            rule: if self.shape.is_staged() {
                None
            } else {
                self.shape.rule()
            },
            schema,
            memory_bytes: self.memory_bytes,
            is_idle: is_same && self.accepted.quarantined == 0 && !publishes,
            record,
        };
        let mut written = checkpoint.commit(flushed.rows, &mut table).boxed().await?;
        if written.record.sequence < sequence {
            self.take_back(&mut written.record).boxed().await?;
        }
        self.accept(written);
        Ok(false)
    }

    /// Nothing was committed: what was read again stands in Bronze already, under the checkpoint that
    /// landed it.
    async fn take_back(&self, record: &mut StateRecord) -> Result<()> {
        let (folder, run) = (self.bronze_folder(), Some(self.plan.run.as_str()));
        bronze::remove_after(&self.lake.storage, &folder, record.sequence, run).await?;
        let before = self.last.as_ref();
        record.lines = before.map_or(Some(0), |last| last.lines);
        record.writers = before.map(|last| last.writers.clone()).unwrap_or_default();
        Ok(())
    }

    /// Publishes a full refresh whose rows are all here, where no staging table is needed for it.
    async fn publish_directly(
        &mut self,
        rows: &mut Gathered,
        record: &StateRecord,
        schema: &SchemaRef,
    ) -> Result<bool> {
        let is_staged_before = self
            .last
            .as_ref()
            .is_some_and(|last| last.sequence >= self.generation);
        let Gathered::Plain(rows) = rows else {
            return Ok(false);
        };
        if is_staged_before || rows.rows() == 0 || !Direct::allows(&self.shape) {
            return Ok(false);
        }
        let mut record = record.clone();
        record.generations.clone_from(&self.generations);
        let direct = Direct {
            storage: &self.lake.storage,
            shape: &self.shape,
            schema: schema.clone(),
            memory_bytes: self.memory_bytes,
            generation: self.generation,
            folder: &self.folder,
            at: jiff::Timestamp::now().as_microsecond(),
            record,
        };
        let Some(written) = direct.commit(rows).boxed().await? else {
            return Ok(false);
        };
        self.accept(written);
        Ok(true)
    }

    fn note(&mut self, flushed: &Flushed, last: bool) {
        self.bronze_bytes += flushed.bronze_bytes;
        self.changes.extend(flushed.changes.iter().cloned());
        if last && self.plan.mode.read() == weir_protocol::ReadMode::FullRefresh {
            self.changes.extend(flushed.vanished.iter().cloned());
        }
        for (reason, count) in &flushed.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        self.accepted.quarantined += flushed.quarantined;
    }

    fn record(&self, state: &StreamState, sequence: u64, inexact: Inexact) -> StateRecord {
        let before = self.last.as_ref().filter(|record| record.run == self.plan.run);
        let mut books = before.map(|record| record.books).unwrap_or_default();
        books += self.accepted;
        let held = match &self.last {
            Some(last) if self.shape.is_staged() && last.sequence >= self.generation => last.held,
            _ => 0,
        };
        let mut record = StateRecord {
            connection: self.plan.connection.clone(),
            stream: self.plan.stream.name.clone(),
            source: self.plan.source.clone(),
            mode: self.plan.mode,
            sequence,
            run: self.plan.run.clone(),
            state: state.clone(),
            books,
            bronze_bytes: self.bronze_bytes,
            silver_bytes: before.map_or(0, |record| record.silver_bytes),
            generations: if self.shape.is_staged() {
                Vec::new()
            } else {
                self.generations.clone()
            },
            form: Some(TableForm::of(&self.shape)),
            bronze_from: self.bronze_from(sequence),
            lines: self.lines(),
            undone: self
                .last
                .as_ref()
                .map(|record| record.undone.clone())
                .unwrap_or_default(),
            held: held + self.accepted.quarantined,
            refused: false,
            children: self
                .last
                .as_ref()
                .map(|record| record.children.clone())
                .unwrap_or_default(),
            child_rows: before.map(|record| record.child_rows.clone()).unwrap_or_default(),
            writers: self
                .last
                .as_ref()
                .map(|record| record.writers.clone())
                .unwrap_or_default(),
            inexact: match &self.last {
                Some(last) if last.inexact.is_none() => None,
                _ => Some(inexact),
            },
        };
        record.sign();
        record
    }

    /// The first checkpoint with records: a rebuild that finds no Bronze of it knows that some is gone.
    fn bronze_from(&self, sequence: u64) -> Option<u64> {
        let before = self.last.as_ref().and_then(|last| last.bronze_from);
        before.or_else(|| (self.accepted_lines() > 0).then_some(sequence))
    }

    /// Lines that Bronze gets of what was accepted since the last checkpoint.
    fn accepted_lines(&self) -> u64 {
        self.accepted.read - self.accepted.filtered - self.accepted.deduplicated
    }

    /// Lines that the table is made of after this checkpoint. A refresh that replaces it begins anew.
    fn lines(&self) -> Option<u64> {
        let before = match &self.last {
            None => Some(0),
            Some(last) if last.sequence < self.generation && self.replaces() => Some(0),
            Some(last) => last.lines,
        };
        before.map(|before| before + self.accepted_lines())
    }

    /// The newest checkpoint, if it stands in a staging table.
    fn staged(&self) -> Option<&StateRecord> {
        let last = self.last.as_ref()?;
        (self.shape.is_staged() && last.sequence >= self.generation).then_some(last)
    }

    fn replaces(&self) -> bool {
        self.shape.is_staged() && self.shape.mode.write() == WriteMode::Replace
    }

    fn accept(&mut self, written: Written) {
        self.accepted = Books::default();
        self.version = written.version;
        self.committed = Some(written.record.committed());
        self.last = Some(written.record);
    }

    /// Joins small files, where this run added to the table. A table that cannot be tidied now is a
    /// concern of the next run.
    async fn tidy(&self) {
        let Some(record) = self.last.as_ref().filter(|record| record.run == self.plan.run) else {
            return;
        };
        if !tidy::is_due(self.version) {
            return;
        }
        let children = record.children.keys().map(|name| folder(Layer::Silver, name));
        for folder in std::iter::once(self.shape.folder.clone()).chain(children) {
            if let Err(error) = self.lake.tidy(&folder, self.memory_bytes).boxed().await {
                tracing::warn!(%folder, %error, "small files were not joined; the next sync tries again");
            }
        }
    }

    /// Answers with why nothing was published, if so.
    async fn publish(&mut self) -> Result<Option<Error>> {
        let folder = self.folder.clone();
        let Some(record) = self.last.clone() else {
            return Ok(None);
        };
        let table = staging::check(&self.lake.storage, &folder, &record)
            .boxed()
            .await?;
        let mut publish = Publish {
            storage: &self.lake.storage,
            shape: &self.shape,
            staging: Staging { table, record },
            memory_bytes: self.memory_bytes,
            at: jiff::Timestamp::now().as_microsecond(),
            generations: self.generations.clone(),
            from: self.generation,
        };
        if let Some(refusal) = publish.refusal().boxed().await? {
            return Ok(Some(refusal));
        }
        let written = publish.run().boxed().await?;
        self.accept(written);
        self.clear_open().await;
        Ok(None)
    }

    /// What other runs wrote for the checkpoint that is this run's now can become of no use any more. Where
    /// it cannot be removed, the next writer does it.
    async fn clear_open(&mut self) {
        for path in std::mem::take(&mut self.open) {
            tracing::info!(object = %path, "removing an object that no checkpoint took");
            // Of a first checkpoint nothing else tells that it never happened.
            let name = path.filename().and_then(ObjectName::parse);
            let gone = match name.is_some_and(|name| name.sequence == 1) {
                true => self.lake.storage.set_aside(&path).await,
                false => self.lake.storage.delete(&path).await,
            };
            if let Err(error) = gone {
                tracing::warn!(object = %path, %error, "the object could not be removed; the stream's next run does it");
            }
        }
    }

    fn receipt(&self) -> Receipt {
        let mut reasons: Vec<_> = self.reasons.clone().into_iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        reasons.truncate(REASONS_MAX);
        let ours = self.last.as_ref().filter(|record| record.run == self.plan.run);
        let mut books = ours.map(|record| record.books).unwrap_or_default();
        // Where no table could be made yet, what was accepted waits for its first version.
        books += self.accepted;
        Receipt {
            sequence: self.sequence(),
            table: self.shape.name.clone(),
            version: self.version,
            books,
            bronze_bytes: self.bronze_bytes,
            silver_bytes: ours.map_or(0, |record| record.silver_bytes),
            schema_changes: self.changes.clone(),
            quarantine_reasons: reasons,
            child_rows: ours.map(|record| record.child_rows.clone()).unwrap_or_default(),
        }
    }
}

/// An empty place for the rows of the next checkpoint.
pub(super) fn new_rows(
    lake: &Lake,
    shape: &Shape,
    folder: &object_store::path::Path,
    memory_bytes: u64,
) -> Gathered {
    match shape.rule() {
        Some(_) if !shape.is_staged() => {
            Gathered::keyed(shape.keys(), held_max(memory_bytes), &lake.storage, folder)
        }
        _ => {
            let children = shape
                .children()
                .filter(|_| !shape.is_staged())
                .map(|family| ChildRows::new(family, &lake.storage, memory_bytes / 2, ChildRule::Append));
            let rows = Gathered::plain(&lake.storage, folder, shape.partition_columns(), memory_bytes)
                .exploding(children);
            if shape.primary_key.is_empty() || !Direct::allows(shape) {
                return rows;
            }
            rows.remembering(shape.keys())
        }
    }
}
