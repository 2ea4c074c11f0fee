//! The records of Bronze on their way into a scratch table.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use futures::stream::{BoxStream, TryStreamExt};
use object_store::path::Path;
use weir_protocol::{Batch, Error, Result, WriteMode, WritePlan};

use super::exchange::Replayed;
use super::guard::Guard;
use super::orphan;
use super::rebuild::RawBatch;
use super::scratch::{Scratch, Step, outrun};
use crate::bronze;
use crate::lake::Lake;
use crate::quarantine::{self, Digest, Ledger, Origin, QuarantineWriter};
use crate::storage::Storage;
use crate::table::Table;
use crate::typed::{Decoded, Typer};
use crate::writer::checkpoint;
use crate::writer::form::TableForm;
use crate::writer::gathered::Gathered;
use crate::writer::lineage::with_run;
use crate::writer::shape::Shape;
use crate::writer::staging::{self, Published};
use crate::writer::state::StateRecord;

/// Runs under which rebuilds hold records begin so.
const RUN: &str = "rebuild";

pub(super) struct Replay<'a> {
    lake: &'a Lake,
    /// None where it is gone.
    main: Option<Table>,
    record: StateRecord,
    guard: Guard,
    /// Empty full refreshes up to this checkpoint were put in.
    refreshed: u64,
    scratch: Scratch,
    typer: Typer,
    ledger: Ledger,
    /// None where nothing may be held.
    held: Option<QuarantineWriter>,
    rejected: u64,
}

/// Rows of one step so far.
struct Open {
    step: Step,
    rows: Gathered,
    /// Records of the step that stay out.
    out: u64,
}

/// What a replay is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// Its rows take the place of the table's.
    Rebuild {
        /// Newest checkpoints of runs, where somebody but the table knows them.
        reached: &'a BTreeMap<String, u64>,
    },
    /// Its rows are looked at, and nothing is changed.
    Compare,
}

/// A table, and beside it what Bronze comes to.
pub(super) struct Sides {
    pub(super) main: Table,
    pub(super) scratch: Scratch,
    pub(super) storage: Storage,
    /// Bronze lacks lines that the table was made of.
    pub(super) is_cut: bool,
}

impl<'a> Replay<'a> {
    /// Finds the table, finishes what was decided before, and drops what a writer that died left.
    pub(super) async fn for_rebuild(
        lake: &'a Lake,
        plan: &WritePlan,
        admitted: Option<&BTreeSet<String>>,
        reached: &BTreeMap<String, u64>,
    ) -> Result<Self> {
        let found = Self::open(lake, plan, admitted, Purpose::Rebuild { reached })
            .boxed()
            .await?;
        found.ok_or_else(|| {
            Error::internal("a rebuild found nothing to begin with").hint("report this defect")
        })
    }

    /// None where there is no table to compare with.
    pub(super) async fn open(
        lake: &'a Lake,
        plan: &WritePlan,
        admitted: Option<&BTreeSet<String>>,
        purpose: Purpose<'_>,
    ) -> Result<Option<Self>> {
        let shape = Shape::new(plan)?;
        let (source, stream) = (&plan.source, &plan.stream.name);
        let main = Table::find(&lake.storage, &shape.folder).await?;
        let record = match (&main, purpose) {
            (Some(main), _) => {
                let found = StateRecord::read(main, &plan.connection, stream).await?;
                checkpoint::check_partitions(main, &shape)?;
                found.ok_or_else(|| never_synced(&shape))?
            }
            (None, Purpose::Compare) => return Ok(None),
            // Its rows wait there: to take them away before there is a table would strand its Bronze.
            (None, _) if staging::is_any_begun(&lake.storage, &shape).await? => {
                return Err(unfinished(&shape, plan));
            }
            (None, Purpose::Rebuild { reached }) => {
                orphan::record(lake, plan, &shape, reached).boxed().await?
            }
        };
        let (main, mut record) = match (purpose, &record.form) {
            (Purpose::Compare, Some(form)) => {
                form.check(&shape)?;
                (main, record)
            }
            (Purpose::Compare, None) => (main, record),
            (Purpose::Rebuild { .. }, _) => {
                let published = Published {
                    main,
                    record: Some(record),
                };
                make_ready(lake, plan, &shape, published).boxed().await?
            }
        };
        // Rows keep their lists until the exchange.
        let shape = shape.with_lists();
        let changed = Reform::of(&record, &shape);
        if changed == Reform::Anew {
            // As if the stream had always been read in the new mode.
            for past in &mut record.generations {
                past.mode = shape.mode;
            }
        }
        let next = record.sequence + 1;
        let run = format!("{RUN}{}", uuid::Uuid::now_v7().simple());
        let mut typer = Typer::new(plan, None, lake.pii_key.expose().as_bytes())?;
        // Bronze does not tell where a page ended whose later records kept a column long.
        typer.know(&record.inexact.take().unwrap_or_default());
        record.mode = plan.mode;
        record.form = Some(TableForm::of(&shape));
        record.run.clone_from(&run);
        let (name, held) = match purpose {
            Purpose::Rebuild { .. } => {
                let held = QuarantineWriter::new(lake.storage.clone(), plan, run, next);
                (format!("r{next:010}"), Some(held))
            }
            // Several may compare at once, also beside a rebuild.
            Purpose::Compare => (format!("c{}", uuid::Uuid::now_v7().simple()), None),
        };
        Ok(Some(Self {
            typer,
            ledger: Ledger::read(&lake.storage, source, stream, admitted, |sequence| {
                record.is_replaced(sequence)
            })
            .await?,
            held,
            scratch: Scratch::new(lake, shape, plan, &name).await?,
            lake,
            main,
            record,
            guard: Guard::new(changed != Reform::Same),
            refreshed: 0,
            rejected: 0,
        }))
    }

    pub(super) fn scratch_folder(&self) -> &Path {
        &self.scratch.folder
    }

    /// The first object of Bronze that is there.
    pub(super) fn begins_with(&mut self, sequence: u64, part: u32) {
        let from = self.record.bronze_from;
        self.guard.is_cut = from.is_some_and(|from| sequence > from || (sequence == from && part > 0));
        self.record.bronze_from = Some(sequence);
    }

    pub(super) async fn run(
        mut self,
        batches: BoxStream<'_, Result<RawBatch>>,
        accepts_loss: bool,
    ) -> Result<Replayed> {
        self.fill(batches).boxed().await?;
        if let Some(held) = &mut self.held {
            held.flush(self.record.sequence + 1).await?;
        }
        self.check_loss(accepts_loss).boxed().await?;
        self.record.lines = Some(self.guard.lines);
        self.record.inexact = Some(self.typer.inexact());
        Ok(Replayed {
            main: self.main,
            record: self.record,
            scratch: self.scratch,
            ledger: Some(self.ledger),
            rejected: self.rejected,
            storage: self.lake.storage.clone(),
        })
    }

    /// The table as it is, and the one that Bronze comes to.
    pub(super) async fn sides(mut self, batches: BoxStream<'_, Result<RawBatch>>) -> Result<Sides> {
        self.fill(batches).boxed().await?;
        let expected = self.record.lines.unwrap_or_default();
        Ok(Sides {
            main: self.main.ok_or_else(|| never_synced(&self.scratch.shape))?,
            scratch: self.scratch,
            storage: self.lake.storage.clone(),
            is_cut: self.guard.is_cut || self.guard.lines < expected,
        })
    }

    async fn fill(&mut self, mut batches: BoxStream<'_, Result<RawBatch>>) -> Result<()> {
        let mut open: Option<Open> = None;
        while let Some(raw) = batches.try_next().await? {
            let Some(step) = self.scratch.step(&self.record, raw.sequence) else {
                continue;
            };
            self.guard.lines += raw.batch.records.len() as u64;
            if let Some(before) = open.take_if(|before| before.step != step) {
                self.put(before).boxed().await?;
            }
            if open.is_none() {
                self.put_empty(raw.sequence).boxed().await?;
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
        self.put_empty(u64::MAX).boxed().await
    }

    /// Full refreshes that were read before the checkpoint `until` and brought nothing: what they
    /// lacked vanished, although no line of Bronze tells of them.
    async fn put_empty(&mut self, until: u64) -> Result<()> {
        let from = self.refreshed;
        let mut empty = self.record.generations.clone();
        empty.retain(|past| {
            past.empty && past.to < until && past.to > from && !self.record.is_replaced(past.from)
        });
        self.refreshed = self.refreshed.max(until.saturating_sub(1));
        for past in empty {
            let step = Step::Refresh(past);
            let rows = self.scratch.gather(step);
            self.put(Open { step, rows, out: 0 }).boxed().await?;
        }
        Ok(())
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
            self.guard.note_unfit(&rejected.reason);
            if let Some(held) = &mut self.held {
                held.push_from(raw.origin(), rejected).await?;
            }
        }
        let landed = digests.iter().zip(out).filter(|(_, out)| !out);
        landed.for_each(|(digest, _)| self.ledger.landed(*digest));
        Ok(())
    }

    /// Gives the rebuild up where it would lose something that nobody accepted.
    async fn check_loss(&mut self, accepts_loss: bool) -> Result<()> {
        if accepts_loss {
            return Ok(());
        }
        let refusal = self
            .guard
            .refusal(self.main.as_ref(), &self.record, &self.scratch);
        let Some(refusal) = refusal.boxed().await? else {
            return Ok(());
        };
        let storage = &self.lake.storage;
        storage.delete_folder(&self.scratch.folder).await?;
        if let Some(held) = &mut self.held {
            held.withdraw().await?;
        }
        Err(refusal)
    }
}

/// How the stream of today stands to the one that wrote the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reform {
    Same,
    /// It goes on with what a full refresh put in the place of all before: that stays replaced.
    GoesOn,
    OtherKey,
    /// Another way to write.
    Anew,
}

impl Reform {
    fn of(record: &StateRecord, shape: &Shape) -> Self {
        let new = TableForm::of(shape);
        let old = record.form.clone().unwrap_or(TableForm {
            mode: record.mode,
            ..new.clone()
        });
        if old.mode.write() == new.mode.write() {
            return if old.primary_key == new.primary_key {
                Self::Same
            } else {
                Self::OtherKey
            };
        }
        if replaces(old.mode) && old.allows(&new) {
            return Self::GoesOn;
        }
        Self::Anew
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

fn unfinished(shape: &Shape, plan: &WritePlan) -> Error {
    let (connection, stream) = (&plan.connection, &plan.stream.name);
    Error::not_found(format!(
        "there is no table '{}' yet: the first full refresh of stream '{stream}' is not finished",
        shape.name
    ))
    .hint(format!(
        "`weir sync {connection} --stream {stream}` goes on with it"
    ))
}

fn never_synced(shape: &Shape) -> Error {
    Error::not_found(format!("table '{}' holds no state of this stream", shape.name))
        .hint("sync the stream once before rebuilding it")
}

/// Finishes what was decided before, and drops what writers that died left.
async fn make_ready(
    lake: &Lake,
    plan: &WritePlan,
    shape: &Shape,
    mut published: Published,
) -> Result<(Option<Table>, StateRecord)> {
    if let Some(main) = &published.main {
        quarantine::settle(&lake.storage, &plan.source, &plan.stream.name, main).await?;
    }
    staging::drop_all(&lake.storage, shape, plan, &mut published).await?;
    let Published { main, record } = published;
    let record = record.ok_or_else(|| outrun(&shape.name))?;
    remove_leftovers(lake, plan, record.sequence).await?;
    lake.clear_strays(plan, &record).boxed().await?;
    if let Some(family) = &shape.family {
        let sequence = main.is_some().then_some(record.sequence);
        family.recover(&lake.storage, sequence).boxed().await?;
    }
    Ok((main, record))
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
