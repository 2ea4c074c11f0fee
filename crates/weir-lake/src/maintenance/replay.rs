//! The records of Bronze on their way into a scratch table, and its exchange with the main one.

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::stream::{BoxStream, TryStreamExt};
use object_store::path::Path;
use weir_protocol::{Batch, Error, ErrorKind, Result, WriteMode, WritePlan};

use super::rebuild::{RawBatch, Rebuilt};
use super::scratch::{Scratch, Step};
use crate::children::{self, Next};
use crate::failpoint;
use crate::lake::Lake;
use crate::quarantine::{self, Digest, Ledger, Origin, QuarantineWriter};
use crate::table::{Attempt, DataFile, Table};
use crate::typed::{Decoded, Typer};
use crate::upsert::Outcome;
use crate::writer::checkpoint;
use crate::writer::form::TableForm;
use crate::writer::gathered::Gathered;
use crate::writer::lineage::with_run;
use crate::writer::shape::Shape;
use crate::writer::staging;
use crate::writer::state::StateRecord;
use crate::{bronze, table::columns};

/// Runs under which rebuilds hold records begin so.
const RUN: &str = "rebuild";

pub(super) struct Replay<'a> {
    lake: &'a Lake,
    main: Table,
    record: StateRecord,
    /// Mode or key are not those that the table was written by.
    changed: bool,
    /// Bronze lacks lines that the table was made of.
    is_cut: bool,
    scratch: Scratch,
    typer: Typer,
    ledger: Ledger,
    held: QuarantineWriter,
    newly_held: u64,
    rejected: u64,
}

/// Rows of one step so far.
struct Open {
    step: Step,
    rows: Gathered,
    /// Records of the step that stay out.
    out: u64,
}

/// A scratch table that is whole.
pub(super) struct Replayed {
    main: Table,
    record: StateRecord,
    scratch: Scratch,
    ledger: Option<Ledger>,
    rejected: u64,
}

impl<'a> Replay<'a> {
    /// Finds the table, finishes what was decided before, and drops what a writer that died left.
    pub(super) async fn open(
        lake: &'a Lake,
        plan: &WritePlan,
        admitted: Option<&BTreeSet<String>>,
    ) -> Result<Self> {
        let shape = Shape::new(plan)?;
        let (source, stream) = (&plan.source, &plan.stream.name);
        let main = Table::open(&lake.storage, &shape.folder).await?;
        let found = StateRecord::read(&main, &plan.connection, stream).await?;
        let mut record = found.ok_or_else(|| {
            Error::not_found(format!("table '{}' holds no state of this stream", shape.name))
                .hint("sync the stream once before rebuilding it")
        })?;
        checkpoint::check_partitions(&main, &shape)?;
        quarantine::settle(&lake.storage, source, stream, &main).await?;
        staging::drop_all(&lake.storage, &shape, plan, &record).await?;
        remove_leftovers(lake, plan, record.sequence).await?;
        if let Some(family) = &shape.family {
            family
                .recover(&lake.storage, Some(record.sequence))
                .boxed()
                .await?;
        }
        // Rows keep their lists until the exchange.
        let shape = shape.with_lists();
        let family = record.form.as_ref().map_or(record.mode, |form| form.mode);
        let same_key = record
            .form
            .as_ref()
            .is_none_or(|form| form.primary_key == shape.primary_key);
        let same_family = family.write() == shape.mode.write();
        if !same_family {
            // As if the stream had always been read in the new mode.
            for past in &mut record.generations {
                past.mode = shape.mode;
            }
        }
        let next = record.sequence + 1;
        let run = format!("{RUN}{}", uuid::Uuid::now_v7().simple());
        record.mode = plan.mode;
        record.form = Some(TableForm::of(&shape));
        record.run.clone_from(&run);
        Ok(Self {
            typer: Typer::new(plan, None, lake.pii_key.expose().as_bytes())?,
            ledger: Ledger::read(&lake.storage, source, stream, admitted, |sequence| {
                record.is_replaced(sequence)
            })
            .await?,
            held: QuarantineWriter::new(lake.storage.clone(), plan, run, next),
            scratch: Scratch::new(lake, shape, plan, &record).await?,
            lake,
            main,
            record,
            changed: !(same_family && same_key),
            is_cut: false,
            newly_held: 0,
            rejected: 0,
        })
    }

    /// The first object of Bronze that is there.
    pub(super) fn begins_with(&mut self, sequence: u64, part: u32) {
        let from = self.record.bronze_from;
        self.is_cut = from.is_some_and(|from| sequence > from || (sequence == from && part > 0));
        self.record.bronze_from = Some(sequence);
    }

    pub(super) async fn run(
        mut self,
        mut batches: BoxStream<'_, Result<RawBatch>>,
        accepts_loss: bool,
    ) -> Result<Replayed> {
        let mut open: Option<Open> = None;
        while let Some(raw) = batches.try_next().await? {
            let Some(step) = self.scratch.step(&self.record, raw.sequence) else {
                continue;
            };
            if let Some(before) = open.take_if(|before| before.step != step) {
                self.put(before).boxed().await?;
            }
            let open = open.get_or_insert_with(|| Open {
                step,
                rows: self.scratch.gather(step),
                out: 0,
            });
            let (batch, digests) = self.admitted(&raw);
            open.out += (raw.batch.records.len() - batch.records.len()) as u64;
            if batch.records.is_empty() {
                continue;
            }
            let decoded = self.typer.decode(&batch)?;
            open.out += decoded.quarantined.len() as u64;
            self.account(&raw, &decoded, &digests).await?;
            let rows = with_run(&decoded.rows, &raw.run)?;
            open.rows.push(self.scratch.shape.rows(rows)?).await?;
        }
        if let Some(open) = open.take() {
            self.put(open).boxed().await?;
        }
        self.held.flush(self.record.sequence + 1).await?;
        self.check_rows(accepts_loss).boxed().await?;
        Ok(Replayed {
            main: self.main,
            record: self.record,
            scratch: self.scratch,
            ledger: Some(self.ledger),
            rejected: self.rejected,
        })
    }

    async fn put(&mut self, open: Open) -> Result<()> {
        let schema = self.scratch.shape.table_schema(&self.typer.row_schema());
        self.scratch
            .put(&self.record, open.step, open.rows, schema, open.out == 0)
            .await
    }

    /// The batch without the records that stay out, and what each of the others is known by, where
    /// that matters.
    fn admitted(&mut self, raw: &RawBatch) -> (Batch, Vec<Digest>) {
        if !self.ledger.knows(raw.sequence) {
            return (raw.batch.clone(), Vec::new());
        }
        let mut batch = raw.batch.clone();
        let mut digests = Vec::with_capacity(batch.records.len());
        batch.records.retain(|record| {
            let digest = quarantine::digest(raw.origin(), raw.batch.emitted_at, raw.batch.json(record));
            let stays = !self.ledger.keeps_out(digest);
            if stays {
                digests.push(digest);
            }
            stays
        });
        (batch, digests)
    }

    /// Notes which lines landed, and holds those that do not fit and are not held already.
    async fn account(&mut self, raw: &RawBatch, decoded: &Decoded, digests: &[Digest]) -> Result<()> {
        let mut out = vec![false; digests.len()];
        for rejected in &decoded.quarantined {
            self.rejected += 1;
            if let Some(digest) = digests.get(rejected.place) {
                out[rejected.place] = true;
                if self.ledger.stays(*digest) {
                    continue;
                }
            }
            self.newly_held += 1;
            self.held.push_from(raw.origin(), rejected).await?;
        }
        let landed = digests.iter().zip(out).filter(|(_, out)| !out);
        landed.for_each(|(digest, _)| self.ledger.landed(*digest));
        Ok(())
    }

    /// Fewer rows than now mean that Bronze no longer holds all of them: `accepts_loss` must say
    /// that it may be so. Another mode or key makes another number of rows of the same records.
    async fn check_rows(&mut self, accepts_loss: bool) -> Result<()> {
        let count = |files: &[DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
        let (now, rebuilt) = (count(&self.main.files()?), count(&self.scratch.files()?));
        let is_whole = if self.changed {
            !self.is_cut && (rebuilt + self.newly_held > 0 || now == 0)
        } else {
            rebuilt + self.newly_held >= now
        };
        if accepts_loss || is_whole {
            return Ok(());
        }
        let storage = &self.lake.storage;
        storage.delete_folder(&self.scratch.folder).await?;
        self.held.withdraw().await?;
        let message = if self.changed {
            format!("Bronze no longer holds all that the {now} rows of the table were made of")
        } else {
            format!("the table would have {rebuilt} rows instead of {now}")
        };
        Err(Error::new(ErrorKind::Gate, message)
            .with("table", &self.scratch.shape.name)
            .hint("nothing was changed. Put archived Bronze objects back, or say --accept-loss if fewer rows are right"))
    }
}

impl Replayed {
    /// Ids of the held records that land with the exchange.
    pub(super) fn released(&mut self) -> BTreeSet<String> {
        self.ledger.take().map(Ledger::released).unwrap_or_default()
    }

    /// Puts the scratch table's rows in the place of the main table's.
    pub(super) async fn exchange(mut self, application: Option<String>) -> Result<Rebuilt> {
        let storage = self.main.storage().clone();
        let mut record = self.record.clone();
        record.sequence += 1;
        record.books = weir_protocol::Books::default();
        let before = self.record.sequence;
        let adds = self.adds(&mut record).boxed().await?;
        let outcome = Outcome {
            adds,
            removes: self.main.files()?,
            ..Outcome::default()
        };
        // The numbers go on; the Bronze of the checkpoints before stays what the rows come from.
        let mut change = checkpoint::change("REBUILD", &outcome, &record)?;
        change.schema = Some(self.columns().as_ref().clone());
        let shape = &self.scratch.shape;
        change.properties = shape.properties();
        change.transactions.extend(application.map(|id| (id, 1)));
        failpoint::reach("lake.in_rebuild")?;
        let version = match self.main.try_commit(&change).await? {
            Attempt::Committed(version) => version,
            Attempt::Lost => {
                if let Some(family) = &shape.family {
                    family.roll_back(&storage, Some(before)).boxed().await?;
                }
                return Err(super::scratch::outrun(&shape.name));
            }
        };
        match &shape.family {
            // Its rows were written again without their lists.
            Some(_) => storage.delete_folder(&self.scratch.folder).await?,
            None => staging::drop_log(&storage, &self.scratch.folder).await?,
        }
        Ok(Rebuilt {
            rows: outcome.adds.iter().map(|file| file.rows).sum(),
            released: 0,
            rejected: self.rejected,
            version,
            oldest_sequence: 0,
        })
    }

    /// The files that become the main table's. Child tables are committed ahead of it.
    async fn adds(&self, record: &mut StateRecord) -> Result<Vec<DataFile>> {
        let shape = &self.scratch.shape;
        if let (Some(family), Some(scratch)) = (&shape.family, self.scratch.table()) {
            let next = Next {
                sequence: record.sequence,
                after: Some(self.record.sequence),
            };
            let memory_bytes = self.scratch.memory_bytes();
            let split = children::split(family, scratch, &self.main, memory_bytes)
                .boxed()
                .await?;
            let done = split.children.commit(scratch.schema(), next).boxed().await?;
            record.children.extend(done.versions);
            return Ok(split.parents);
        }
        let folder = self.scratch.name();
        let files = self.scratch.files()?.into_iter().map(|file| DataFile {
            path: format!("{folder}/{}", file.path),
            ..file
        });
        Ok(files.collect())
    }

    /// The columns of the exchanged table; where no row was rebuilt, those that it had.
    fn columns(&self) -> SchemaRef {
        let shape = &self.scratch.shape;
        match (self.scratch.schema(), &shape.family) {
            (Some(schema), Some(family)) => family.exploder.parent_schema(&schema),
            (Some(schema), None) => schema,
            (None, _) => {
                let data = columns::data_schema(self.main.schema());
                let lineage = crate::typed::lineage_fields();
                let lineage = lineage.iter().map(|field| field.as_ref().clone());
                shape.table_schema(&columns::with(&data, lineage))
            }
        }
    }
}

impl RawBatch {
    fn origin(&self) -> Origin<'_> {
        Origin {
            sequence: self.sequence,
            run: &self.run,
        }
    }
}

/// Removes what a rebuild held that died before its commit.
async fn remove_leftovers(lake: &Lake, plan: &WritePlan, committed: u64) -> Result<()> {
    let folder: Path = quarantine::folder(&plan.source, &plan.stream.name);
    for (name, meta) in bronze::objects(&lake.storage, &folder).await? {
        if name.sequence > committed && name.run.starts_with(RUN) {
            lake.storage.delete(&meta.location).await?;
        }
    }
    Ok(())
}

/// Whether the rows of this mode replace all that were there before.
pub(super) fn replaces(mode: weir_protocol::SyncMode) -> bool {
    mode.write() == WriteMode::Replace
}
