//! The table beside the main one that a rebuild fills.

use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use object_store::path::Path;
use weir_protocol::{Books, Error, ErrorKind, Result, WriteMode, WritePlan};

use super::replay::replaces;
use crate::lake::Lake;
use crate::storage::Storage;
use crate::table::{Attempt, DataFile, Table};
use crate::upsert::{Incoming, Rule, Upsert};
use crate::writer::checkpoint::{self, Checkpoint};
use crate::writer::gathered::Gathered;
use crate::writer::generations::Generation;
use crate::writer::shape::Shape;
use crate::writer::staging;
use crate::writer::state::StateRecord;

/// Rows that are put into the table together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// One checkpoint of an incremental read.
    Checkpoint(u64),
    /// A whole full refresh.
    Refresh(Generation),
}

pub(super) struct Scratch {
    pub(super) shape: Shape,
    pub(super) folder: Path,
    storage: Storage,
    memory_bytes: u64,
    /// None before the first rows: their columns are its.
    table: Option<Table>,
    /// Commits made in it.
    commits: u64,
}

impl Scratch {
    /// `name` is not that of a staging table: nobody may take it for a full refresh that waits to be
    /// published.
    pub(super) async fn new(lake: &Lake, shape: Shape, plan: &WritePlan, name: &str) -> Result<Self> {
        let folder = shape.folder.clone().join(name);
        staging::drop_log(&lake.storage, &folder).await?;
        // Files move from here into the table's folder, and marks would not follow them.
        let shape = Shape {
            marks_rows: false,
            ..shape
        };
        Ok(Self {
            shape,
            folder,
            storage: lake.storage.clone(),
            memory_bytes: (plan.memory_bytes / 4).max(1 << 20),
            table: None,
            commits: 0,
        })
    }

    pub(super) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    pub(super) fn name(&self) -> &str {
        self.folder.filename().unwrap_or_default()
    }

    pub(super) fn files(&self) -> Result<Vec<DataFile>> {
        self.table.as_ref().map_or_else(|| Ok(Vec::new()), Table::files)
    }

    pub(super) fn schema(&self) -> Option<SchemaRef> {
        self.table.as_ref().map(|table| table.schema().clone())
    }

    /// What a checkpoint's rows belong to; none where a later full refresh replaced them, or where
    /// the table does not cover them yet.
    pub(super) fn step(&self, record: &StateRecord, sequence: u64) -> Option<Step> {
        if sequence > record.sequence || record.is_replaced(sequence) {
            return None;
        }
        let mut generations = record.generations.iter();
        let refresh = generations.find(|past| (past.from..=past.to).contains(&sequence));
        Some(refresh.map_or(Step::Checkpoint(sequence), |refresh| Step::Refresh(*refresh)))
    }

    pub(super) fn gather(&self, step: Step) -> Gathered {
        if self.rule(step).is_some() {
            Gathered::keyed(self.shape.keys(), self.memory_bytes, &self.storage, &self.folder)
        } else {
            let partitions = self.shape.partition_columns();
            Gathered::plain(&self.storage, &self.folder, partitions, self.memory_bytes)
        }
    }

    fn rule(&self, step: Step) -> Option<Rule> {
        if self.shape.primary_key.is_empty() {
            return None;
        }
        match step {
            // Checkpoints that another mode wrote, of which a replaced table has each key once too.
            Step::Checkpoint(_) if replaces(self.shape.mode) => Some(Rule::Merge),
            Step::Checkpoint(_) => self.shape.rule(),
            Step::Refresh(refresh) => match refresh.mode.write() {
                WriteMode::History => Some(Rule::History),
                WriteMode::Merge | WriteMode::Replace => Some(Rule::Merge),
                WriteMode::Append => self.shape.rule(),
            },
        }
    }

    /// `is_whole`: every record of the step landed, so that a key that a full refresh lacks is gone.
    pub(super) async fn put(
        &mut self,
        record: &StateRecord,
        step: Step,
        rows: Gathered,
        schema: SchemaRef,
        is_whole: bool,
    ) -> Result<()> {
        if self.table.is_none() && rows.rows() == 0 {
            return Ok(());
        }
        let mut table = match self.table.take() {
            Some(table) => table,
            None => {
                checkpoint::table(&self.storage, &self.shape, &self.folder, &schema)
                    .boxed()
                    .await?
            }
        };
        self.commits += 1;
        let mut record = record.clone();
        record.sequence = self.commits;
        record.books = Books {
            read: rows.rows(),
            ..Books::default()
        };
        let rule = self.rule(step);
        let vanish = match step {
            Step::Refresh(refresh) => (is_whole && tells_vanished(refresh)).then_some(refresh.at),
            Step::Checkpoint(_) => None,
        };
        match (rows, vanish) {
            (Gathered::Keyed(incoming), Some(at)) => {
                table.evolve(&schema, self.memory_bytes).await?;
                let rule = rule.unwrap_or(Rule::Merge);
                self.refresh(&mut table, incoming, rule, at, &record).await?;
            }
            (rows, _) => {
                let checkpoint = Checkpoint {
                    shape: &self.shape,
                    whole: schema.clone(),
                    schema,
                    rule,
                    memory_bytes: self.memory_bytes,
                    is_idle: false,
                    record,
                };
                checkpoint.commit(rows, &mut table).boxed().await?;
                table.refresh().await?;
            }
        }
        self.table = Some(table);
        Ok(())
    }

    async fn refresh(
        &self,
        table: &mut Table,
        mut incoming: Incoming,
        rule: Rule,
        at: i64,
        record: &StateRecord,
    ) -> Result<()> {
        let upsert = Upsert {
            table,
            files: table.files()?,
            schema: table.schema().clone(),
            keys: self.shape.keys(),
            rule,
            vanish: Some(at),
            run: "",
            memory_bytes: self.memory_bytes,
        };
        let outcome = upsert.run(&mut incoming, None).boxed().await?;
        incoming.clear().await;
        let change = checkpoint::change("REBUILD", &outcome, record)?;
        match table.try_commit(&change).await? {
            Attempt::Committed(_) => Ok(()),
            Attempt::Lost => Err(outrun(&self.shape.name)),
        }
    }
}

/// Whether rows that the refresh lacks are marked.
fn tells_vanished(refresh: Generation) -> bool {
    matches!(refresh.mode.write(), WriteMode::Merge | WriteMode::History)
}

pub(super) fn outrun(table: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("table '{table}' was changed while it was rebuilt"),
    )
    .hint("rebuild again while no sync of this stream runs; the table is as it was")
}
