//! Silver anew from Bronze: the same checkpoints and full refreshes once more, with the schema of
//! today, in a staging table; then one commit exchanges the rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use futures::stream::{BoxStream, TryStreamExt};
use futures::{FutureExt, StreamExt};
use weir_protocol::{Batch, Books, Error, ErrorKind, Result, WriteMode, WritePlan};

use crate::bronze;
use crate::children::{self, Next};
use crate::failpoint;
use crate::lake::Lake;
use crate::table::columns::{self, RUN};
use crate::table::{Attempt, DataFile, Table};
use crate::typed::Typer;
use crate::upsert::{Incoming, Outcome, Rule, Upsert};
use crate::writer::checkpoint::{self, Checkpoint};
use crate::writer::gathered::Gathered;
use crate::writer::shape::Shape;
use crate::writer::staging;
use crate::writer::state::{Generation, StateRecord};

/// A batch as Bronze holds it.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// Number of the checkpoint that it belongs to.
    pub sequence: u64,
    pub run: String,
    pub batch: Batch,
}

/// What a rebuild made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    pub rows: u64,
    /// Records that do not fit the schema; they wait in quarantine already, or are told here first.
    pub rejected: u64,
    pub version: i64,
    /// The first checkpoint that was read.
    pub oldest_sequence: u64,
}

/// Rows that are put into the table together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// One checkpoint of an incremental read.
    Checkpoint(u64),
    /// A whole full refresh.
    Refresh(Generation),
}

struct Rebuild<'a> {
    lake: &'a Lake,
    shape: Shape,
    record: StateRecord,
    memory_bytes: u64,
    scratch: Table,
    /// Commits made in the scratch table.
    commits: u64,
}

impl Lake {
    /// Rebuilds a stream's Silver table from its Bronze objects. `plan` tells the stream's schema
    /// and mode as they are today. Where retention took Bronze away, rows that came from it would be
    /// lost: that is refused unless `accepts_loss`.
    pub async fn rebuild(&self, plan: &WritePlan, accepts_loss: bool) -> Result<Rebuilt> {
        let folder = bronze::folder(&plan.source, &plan.stream.name);
        let objects = bronze::objects(&self.storage, &folder).await?;
        let oldest = objects.first().map_or(0, |(name, _)| name.sequence);
        let storage = self.storage.clone();
        let batches = futures::stream::iter(objects.into_iter().map(Ok))
            .and_then(move |(name, meta)| {
                let storage = storage.clone();
                async move {
                    let body = storage.get(&meta.location).await?;
                    let batches = bronze::batches(meta.location, body)?.map(move |batch| {
                        Ok(RawBatch {
                            sequence: name.sequence,
                            run: name.run.clone(),
                            batch: batch?,
                        })
                    });
                    Ok(futures::stream::iter(batches))
                }
            })
            .try_flatten();
        let mut rebuilt = self
            .rebuild_from(plan, batches.boxed(), accepts_loss)
            .boxed()
            .await?;
        rebuilt.oldest_sequence = oldest;
        Ok(rebuilt)
    }

    /// Rebuilds a stream's table from batches in the order of their checkpoints. `plan` tells its
    /// schema and mode as they are today. Fails, and changes nothing, if a sync committed meanwhile.
    pub async fn rebuild_from(
        &self,
        plan: &WritePlan,
        mut batches: BoxStream<'_, Result<RawBatch>>,
        accepts_loss: bool,
    ) -> Result<Rebuilt> {
        let shape = Shape::new(plan)?;
        let mut main = Table::open(&self.storage, &shape.folder).await?;
        let found = StateRecord::read(&main, &plan.connection, &plan.stream.name).await?;
        let record = found.ok_or_else(|| {
            Error::not_found(format!("table '{}' holds no state of this stream", shape.name))
                .hint("sync the stream once before rebuilding it")
        })?;
        let data = columns::data_schema(main.schema());
        let children = match &shape.family {
            Some(family) => {
                family
                    .recover(&self.storage, Some(record.sequence))
                    .boxed()
                    .await?
            }
            None => Vec::new(),
        };
        let key = self.pii_key.expose().as_bytes();
        let mut typer = Typer::with_children(plan, Some(data), &children, key)?;
        // Rows keep their lists until the exchange.
        let shape = shape.with_lists();
        let columns = shape.table_schema(&typer.row_schema());
        let folder = shape.folder.clone().join(staging::name(record.sequence + 1));
        staging::drop_log(&self.storage, &folder).await?;
        let scratch = checkpoint::table(&self.storage, &shape, &folder, &columns)
            .boxed()
            .await?;
        let mut rebuild = Rebuild {
            lake: self,
            memory_bytes: (plan.memory_bytes / 4).max(1 << 20),
            scratch,
            commits: 0,
            shape,
            record,
        };
        let mut rejected = 0;
        let mut oldest_sequence = 0;
        let mut open: Option<(Step, Gathered)> = None;
        while let Some(raw) = batches.try_next().await? {
            let Some(step) = rebuild.step(raw.sequence) else {
                continue;
            };
            if oldest_sequence == 0 {
                oldest_sequence = raw.sequence;
            }
            if let Some((before, rows)) = open.take_if(|(before, _)| *before != step) {
                rebuild.put(before, rows, &typer).boxed().await?;
            }
            let decoded = typer.decode(&raw.batch)?;
            rejected += decoded.quarantined.len() as u64;
            let rows = rebuild.shape.rows(with_run(&decoded.rows, &raw.run)?)?;
            let (_, gathered) = open.get_or_insert_with(|| (step, rebuild.gather(step)));
            gathered.push(rows).await?;
        }
        if let Some((step, rows)) = open.take() {
            rebuild.put(step, rows, &typer).boxed().await?;
        }
        rebuild.check_rows(&main, accepts_loss).boxed().await?;
        let (rows, version) = rebuild.exchange(&mut main).boxed().await?;
        Ok(Rebuilt {
            rows,
            rejected,
            version,
            oldest_sequence,
        })
    }
}

impl Rebuild<'_> {
    /// What a checkpoint's rows belong to; none where a later full refresh replaced them, or where
    /// they were never published.
    fn step(&self, sequence: u64) -> Option<Step> {
        let generations = &self.record.generations;
        let replaced = generations
            .iter()
            .rfind(|past| past.mode.write() == WriteMode::Replace);
        if sequence > self.record.sequence || replaced.is_some_and(|last| sequence < last.from) {
            return None;
        }
        let refresh = generations
            .iter()
            .find(|past| (past.from..=past.to).contains(&sequence));
        match refresh {
            Some(refresh) => Some(Step::Refresh(*refresh)),
            None if self.shape.is_staged() && self.record.mode == self.shape.mode => None,
            None => Some(Step::Checkpoint(sequence)),
        }
    }

    fn gather(&self, step: Step) -> Gathered {
        let storage = &self.lake.storage;
        let folder = self.scratch.folder();
        let keyed = match step {
            Step::Checkpoint(_) => self.shape.rule().is_some(),
            Step::Refresh(_) => !self.shape.primary_key.is_empty(),
        };
        if keyed {
            Gathered::keyed(self.shape.keys(), self.memory_bytes, storage, folder)
        } else {
            Gathered::plain(storage, folder, self.shape.partition_columns(), self.memory_bytes)
        }
    }

    async fn put(&mut self, step: Step, rows: Gathered, typer: &Typer) -> Result<()> {
        let schema = self.shape.table_schema(&typer.row_schema());
        self.commits += 1;
        let mut record = self.record.clone();
        record.sequence = self.commits;
        record.books = Books {
            read: rows.rows(),
            ..Books::default()
        };
        let (rule, vanish) = match step {
            Step::Checkpoint(_) => (self.shape.rule(), None),
            Step::Refresh(refresh) => (refresh_rule(refresh), refresh.vanish.then_some(refresh.at)),
        };
        match (rows, vanish) {
            (Gathered::Keyed(incoming), Some(at)) => {
                self.scratch.evolve(&schema, self.memory_bytes).await?;
                self.refresh(incoming, rule.unwrap_or(Rule::Merge), at, &record)
                    .await
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
                checkpoint.commit(rows, &mut self.scratch).boxed().await?;
                Ok(())
            }
        }
    }

    async fn refresh(
        &mut self,
        mut incoming: Incoming,
        rule: Rule,
        at: i64,
        record: &StateRecord,
    ) -> Result<()> {
        let upsert = Upsert {
            table: &self.scratch,
            files: self.scratch.files()?,
            schema: self.scratch.schema().clone(),
            keys: self.shape.keys(),
            rule,
            vanish: Some(at),
            run: "",
            memory_bytes: self.memory_bytes,
        };
        let outcome = upsert.run(&mut incoming, None).boxed().await?;
        incoming.clear().await;
        let change = checkpoint::change("REBUILD", &outcome, record)?;
        match self.scratch.try_commit(&change).await? {
            Attempt::Committed(_) => Ok(()),
            Attempt::Lost => Err(outrun(&self.shape.name)),
        }
    }

    /// Puts the scratch table's rows in the place of the main table's.
    /// Fewer rows than now mean that Bronze no longer holds all of them: `accepts_loss` must say that it may be so.
    async fn check_rows(&self, main: &Table, accepts_loss: bool) -> Result<()> {
        let count = |files: &[DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
        let (now, rebuilt) = (count(&main.files()?), count(&self.scratch.files()?));
        if accepts_loss || rebuilt >= now {
            return Ok(());
        }
        self.lake.storage.delete_folder(self.scratch.folder()).await?;
        Err(Error::new(
            ErrorKind::Gate,
            format!("the table would have {rebuilt} rows instead of {now}"),
        )
        .with("table", &self.shape.name)
        .hint("nothing was changed. Put archived Bronze objects back, or say --accept-loss if fewer rows are right"))
    }

    async fn exchange(self, main: &mut Table) -> Result<(u64, i64)> {
        let storage = &self.lake.storage;
        let folder = self.scratch.name();
        let mut record = self.record.clone();
        record.sequence += 1;
        let mut columns = self.scratch.schema().clone();
        let mut adds: Vec<DataFile> = Vec::new();
        if let Some(family) = &self.shape.family {
            columns = family.exploder.parent_schema(&columns);
            let next = Next {
                sequence: record.sequence,
                after: Some(self.record.sequence),
            };
            let split = children::split(family, &self.scratch, main, self.memory_bytes)
                .boxed()
                .await?;
            adds.extend(split.parents);
            let done = split.children.commit(self.scratch.schema(), next).boxed().await?;
            record.children.extend(done.versions);
        } else {
            adds.extend(self.scratch.files()?.into_iter().map(|file| DataFile {
                path: format!("{folder}/{}", file.path),
                ..file
            }));
        }
        let outcome = Outcome {
            adds,
            removes: main.files()?,
            ..Outcome::default()
        };
        // The numbers go on; the Bronze of the checkpoints before stays what the rows come from.
        let mut change = checkpoint::change("REBUILD", &outcome, &record)?;
        change.schema = Some(columns.as_ref().clone());
        failpoint::reach("lake.in_rebuild")?;
        let version = match main.try_commit(&change).await? {
            Attempt::Committed(version) => version,
            Attempt::Lost => {
                if let Some(family) = &self.shape.family {
                    family
                        .roll_back(storage, Some(self.record.sequence))
                        .boxed()
                        .await?;
                }
                return Err(outrun(&self.shape.name));
            }
        };
        match &self.shape.family {
            // Its rows were written again without their lists.
            Some(_) => storage.delete_folder(self.scratch.folder()).await?,
            None => staging::drop_log(storage, self.scratch.folder()).await?,
        }
        Ok((outcome.adds.iter().map(|file| file.rows).sum(), version))
    }
}

fn refresh_rule(refresh: Generation) -> Option<Rule> {
    match refresh.mode.write() {
        WriteMode::History => Some(Rule::History),
        WriteMode::Merge | WriteMode::Replace => Some(Rule::Merge),
        WriteMode::Append => None,
    }
}

fn with_run(rows: &RecordBatch, run: &str) -> Result<RecordBatch> {
    let Ok(index) = rows.schema_ref().index_of(RUN) else {
        return Ok(rows.clone());
    };
    let mut arrays = rows.columns().to_vec();
    arrays[index] = Arc::new(StringArray::from(vec![run; rows.num_rows()])) as ArrayRef;
    RecordBatch::try_new(rows.schema(), arrays).map_err(|error| {
        Error::internal("the run of rows cannot be set")
            .hint("report this defect")
            .caused_by(error)
    })
}

fn outrun(table: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("table '{table}' was changed while it was rebuilt"),
    )
    .hint("rebuild again while no sync of this stream runs; the table is as it was")
}
