//! Merging rows into a table by key, at a cost that follows the change: files that cannot hold an
//! incoming key are left alone, of the others only the key columns are read, and only files with a
//! hit are written again, or, where the table allows it, only told which of their rows are gone.

mod ascending;
mod by_parent;
mod duplicates;
mod incoming;
pub(crate) mod keys;
mod load;
mod lookup;
mod mark;
mod order;
mod pages;
mod prune;
mod removal;
mod replace;
mod sieve;

use std::collections::{BTreeMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use weir_protocol::Result;

pub(crate) use by_parent::ByParent;
pub(crate) use duplicates::{SeenKeys, has_duplicates};
pub(crate) use incoming::{Bucket, Incoming, Place, SPILL_FOLDER, held_max};
pub(crate) use keys::Keys;
use load::Load;
use lookup::{Found, Lookup};
pub(crate) use removal::Removal;

use crate::children::ChildRows;
use crate::table::columns::{self, CHILDREN_DIGEST, DELETED_AT, IS_CURRENT, RUN, VALID_FROM, VALID_TO};
use crate::table::file_writer::{FileWriter, Layout};
use crate::table::original::Original;
use crate::table::{DataFile, Table, scan};

const WRITE_ROWS: usize = 2048;

/// What an incoming row does to the rows that have its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A row that is there already (same key, same cursor) is not taken again; nothing is changed.
    Distinct,
    /// It replaces them.
    Merge,
    /// It replaces them if it is newer. It came in long ago: of two with the same cursor the one
    /// that was emitted last stays.
    Late,
    /// It ends the current one and stands beside it.
    History,
}

/// One merge into one version of a table.
pub(crate) struct Upsert<'a> {
    pub(crate) table: &'a Table,
    /// The files of the table that the load is merged with.
    pub(crate) files: Vec<DataFile>,
    /// The table's columns after the merge, and the lists that go to child tables.
    pub(crate) schema: SchemaRef,
    pub(crate) keys: Keys,
    pub(crate) rule: Rule,
    /// The load is the whole of the source: rows whose key is not in it vanished at this time (µs).
    pub(crate) vanish: Option<i64>,
    pub(crate) run: &'a str,
    pub(crate) memory_bytes: u64,
}

/// What a merge did; nothing of it is committed yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) adds: Vec<DataFile>,
    pub(crate) removes: Vec<DataFile>,
    pub(crate) landed: u64,
    pub(crate) deduplicated: u64,
    pub(crate) vanished: u64,
}

impl Outcome {
    /// Whether the table holds all of the load already.
    pub(crate) fn changes_nothing(&self) -> bool {
        self.adds.is_empty() && self.removes.is_empty() && self.landed == 0
    }
}

/// A stored row that the load has something to say about.
struct Match {
    row: u32,
    /// Place of its key in the load; none: the key vanished.
    place: Option<usize>,
}

/// A stored row that goes.
struct Hit {
    row: u32,
    /// Place in the load of the key whose row replaces it.
    place: Option<usize>,
}

struct Merging<'a> {
    upsert: &'a Upsert<'a>,
    children: Option<&'a mut ChildRows>,
    /// By file: the rows that go.
    hits: BTreeMap<usize, Vec<Hit>>,
    removal: Removal<'a>,
    writer: FileWriter,
    /// Rows that this run landed in an earlier checkpoint and that now went.
    superseded: u64,
    outcome: Outcome,
}

impl Upsert<'_> {
    /// Children of the rows that are written, and of those that vanish, are given to `children`.
    pub(crate) async fn run(
        &self,
        incoming: &mut Incoming,
        children: Option<&mut ChildRows>,
    ) -> Result<Outcome> {
        let schema = match children {
            // The lists are no columns of this table.
            Some(_) => self.table.schema().clone(),
            None => self.schema.clone(),
        };
        let layout = Layout::of(self.table, schema)?;
        let mut merging = Merging {
            upsert: self,
            children,
            hits: BTreeMap::new(),
            removal: Removal::new(self.table)?,
            writer: FileWriter::new(layout, self.memory_bytes),
            superseded: 0,
            outcome: Outcome::default(),
        };
        for bucket in incoming.buckets().await? {
            merging.merge(&bucket).await?;
        }
        merging.finish().await
    }
}

impl Merging<'_> {
    async fn merge(&mut self, bucket: &Bucket) -> Result<()> {
        let mut batches = bucket.batches(&self.upsert.schema).await?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 && (self.upsert.vanish.is_none() || self.upsert.files.is_empty()) {
            return Ok(());
        }
        if self.add_ascending(&batches).await? {
            return Ok(());
        }
        if self.upsert.rule == Rule::History {
            for batch in &mut batches {
                *batch = mark::begin(batch, &self.upsert.keys)?;
            }
        }
        let mut names = self.upsert.keys.roots(&self.upsert.schema);
        names.push(VALID_FROM.to_owned());
        let slim = incoming::joined(&batches, &keys::project(&self.upsert.schema, &names))?;
        let keys = self.upsert.keys.keys(&slim)?;
        let mut load = Load::choose(&batches, &slim, &keys, &self.upsert.keys)?;
        let lookup = Lookup::new(self.upsert, &slim)?;
        let mut files = lookup.files()?;
        while let Some(mut found) = files.try_next().await? {
            let matches = self.find(&mut found, bucket, &mut load).await?;
            if !matches.is_empty() {
                let (index, original) = (found.index, &found.original);
                self.judge(index, original, &matches, &mut load).await?;
            }
        }
        let survivors = load.survivors();
        self.outcome.landed += survivors.len() as u64;
        self.outcome.deduplicated += (rows - survivors.len()) as u64;
        let replacing = match self.may_replace(bucket) {
            true => self.replace(&load).await?,
            false => HashSet::new(),
        };
        let survivors: Vec<u32> = survivors
            .into_iter()
            .filter(|row| !replacing.contains(row))
            .collect();
        for rows in survivors.chunks(WRITE_ROWS) {
            let rows = match self.upsert.rule {
                Rule::History => mark::after(&load.take(rows)?, &load.floors(rows))?,
                Rule::Merge | Rule::Late | Rule::Distinct => load.take(rows)?,
            };
            if let Some(children) = &mut self.children {
                children.land(&rows).await?;
            }
            self.writer.write(&rows).await?;
        }
        Ok(())
    }

    fn hit(&mut self, file: usize, row: u32, place: Option<usize>) {
        self.hits.entry(file).or_default().push(Hit { row, place });
    }

    /// Finds the rows of a file that the load is about.
    async fn find(&mut self, found: &mut Found, bucket: &Bucket, load: &mut Load<'_>) -> Result<Vec<Match>> {
        let mut matches = Vec::new();
        while let Some((batch, places)) = found.next().await? {
            let replaced = self.find_in(&batch, &places, bucket, load, &mut matches)?;
            if !replaced.is_empty() {
                self.hits.entry(found.index).or_default().extend(replaced);
            }
        }
        Ok(matches)
    }

    /// `places` are those of the batch's rows in their file. Answers with the rows that go in any case: those that merge with a row whose cursor is newer.
    /// For the others the rest of the row must be looked at.
    fn find_in(
        &mut self,
        batch: &RecordBatch,
        places: &[u32],
        bucket: &Bucket,
        load: &mut Load<'_>,
        matches: &mut Vec<Match>,
    ) -> Result<Vec<Hit>> {
        let by = &self.upsert.keys;
        let mut replaced = Vec::new();
        let is_merge = matches!(self.upsert.rule, Rule::Merge | Rule::Late);
        let keys = by.keys(batch)?;
        let cursors = by.cursors(batch)?;
        let order = match self.upsert.rule {
            Rule::Late => Some(by.order(batch)?),
            Rule::Distinct | Rule::Merge | Rule::History => None,
        };
        let hashes = if self.upsert.vanish.is_some() && !bucket.is_only() {
            Some(by.hashes(batch)?)
        } else {
            None
        };
        let current = flags(batch, IS_CURRENT);
        let runs = batch.column_by_name(RUN);
        let deleted = batch.column_by_name(DELETED_AT);
        let times = match self.upsert.rule {
            Rule::History => Some((mark::times(batch, VALID_FROM)?, mark::times(batch, VALID_TO)?)),
            Rule::Distinct | Rule::Merge | Rule::Late => None,
        };
        for (index, row) in places.iter().copied().zip(0..batch.num_rows()) {
            let is_past = current.is_some_and(|flags| !(flags.is_valid(row) && flags.value(row)));
            let place = load.find(keys.row(row).data());
            if let (Some(place), Some((from, to))) = (place, &times) {
                let held_until = if is_past { to } else { from };
                load.begins_after(place, held_until.as_ref().map(|times| times.value(row)));
            }
            if self.upsert.rule == Rule::History && is_past {
                continue;
            }
            if let Some(place) = place {
                if !load.is_open(place) {
                    continue;
                }
                let is_late = order
                    .as_ref()
                    .is_some_and(|order| load.is_late(place, order, row));
                if self.upsert.rule == Rule::Distinct
                    || is_late
                    || load.is_older_than(place, cursors.as_ref(), row)
                {
                    load.drop(place);
                } else if is_merge && load.is_newer_than(place, cursors.as_ref(), row) {
                    replaced.push(Hit {
                        row: index,
                        place: Some(place),
                    });
                    self.superseded += u64::from(self.is_of_this_run(runs, row));
                } else {
                    matches.push(Match {
                        row: index,
                        place: Some(place),
                    });
                }
                continue;
            }
            let ours = hashes.as_ref().is_none_or(|hashes| bucket.takes(hashes[row]));
            let is_deleted = deleted.is_some_and(|deleted| deleted.is_valid(row));
            if self.upsert.vanish.is_some() && ours && !is_deleted {
                matches.push(Match {
                    row: index,
                    place: None,
                });
            }
        }
        Ok(replaced)
    }

    /// Whether a stored row that is merged with a newer one was landed by this run: then it was an
    /// older record of the same key.
    fn is_of_this_run(&self, runs: Option<&ArrayRef>, row: usize) -> bool {
        let runs = runs.and_then(|runs| runs.as_string_opt::<i32>());
        self.upsert.rule == Rule::Merge
            && runs.is_some_and(|runs| runs.is_valid(row) && runs.value(row) == self.upsert.run)
    }

    /// Reads the matched rows whole and decides for each: equal rows stay, others go.
    async fn judge(
        &mut self,
        index: usize,
        original: &Original,
        matches: &[Match],
        load: &mut Load<'_>,
    ) -> Result<()> {
        let selection = Some(select(matches.iter().map(|found| found.row)));
        let mut rows = scan::read_of(original, &self.upsert.schema, selection, scan::BATCH_ROWS)
            .boxed()
            .await?;
        let mut matches = matches.iter();
        while let Some(batch) = rows.try_next().await? {
            let part: Vec<&Match> = matches.by_ref().take(batch.num_rows()).collect();
            self.judge_part(index, &batch, &part, load).await?;
        }
        Ok(())
    }

    async fn judge_part(
        &mut self,
        index: usize,
        stored: &RecordBatch,
        matches: &[&Match],
        load: &mut Load<'_>,
    ) -> Result<()> {
        let equal = self.equal(stored, matches, load)?;
        let runs = stored.column_by_name(RUN);
        let mut vanished = Vec::new();
        let mut ended = Vec::new();
        for (row, found) in matches.iter().enumerate() {
            match found.place {
                Some(place) if equal[row] => load.drop(place),
                Some(place) if load.is_open(place) => {
                    self.hit(index, found.row, Some(place));
                    ended.push((u32::try_from(row).unwrap_or(u32::MAX), load.lead(place)));
                    self.superseded += u64::from(self.is_of_this_run(runs, row));
                }
                Some(_) => {}
                None => {
                    self.hit(index, found.row, None);
                    vanished.push(u32::try_from(row).unwrap_or(u32::MAX));
                }
            }
        }
        self.outcome.vanished += vanished.len() as u64;
        if let (false, Some(at)) = (vanished.is_empty(), self.upsert.vanish) {
            if let Some(children) = &mut self.children {
                let childless = mark::childless(stored, &vanished, at)?;
                children.land(&childless).await?;
            }
            let marked = mark::vanished(stored, &vanished, at, self.upsert.rule)?;
            self.writer.write(&marked).await?;
        }
        if self.upsert.rule == Rule::History && !ended.is_empty() {
            let closed = mark::ended(stored, &ended, load.slim)?;
            self.writer.write(&closed).await?;
        }
        Ok(())
    }

    /// For each match: whether the stored row has the same data as the incoming one.
    fn equal(&self, stored: &RecordBatch, matches: &[&Match], load: &Load<'_>) -> Result<Vec<bool>> {
        let leads: Vec<u32> = matches
            .iter()
            .map(|found| found.place.map_or(0, |place| load.lead(place)))
            .collect();
        if load.slim.num_rows() == 0 {
            return Ok(vec![false; matches.len()]);
        }
        let incoming = load.take(&leads)?;
        // Of lists that go to child tables the digest speaks.
        let own = match &self.children {
            Some(children) => children.parent_schema(&self.upsert.schema),
            None => self.upsert.schema.clone(),
        };
        let data = columns::data_schema(&own);
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        let names = data.fields().iter().map(|field| field.name().as_str());
        for name in names.chain([CHILDREN_DIGEST]) {
            ours.extend(incoming.column_by_name(name).cloned());
            theirs.extend(stored.column_by_name(name).cloned());
        }
        let (ours, theirs) = (keys::encode(&ours)?, keys::encode(&theirs)?);
        let is_deleted = |batch: &RecordBatch, row: usize| {
            batch
                .column_by_name(DELETED_AT)
                .is_some_and(|array| array.is_valid(row))
        };
        let same = (0..matches.len()).map(|row| {
            matches[row].place.is_some()
                && ours.row(row).data() == theirs.row(row).data()
                && is_deleted(&incoming, row) == is_deleted(stored, row)
        });
        Ok(same.collect())
    }

    async fn finish(mut self) -> Result<Outcome> {
        for (index, hits) in std::mem::take(&mut self.hits) {
            let (file, outcome) = (&self.upsert.files[index], &mut self.outcome);
            let rows = hits.into_iter().map(|hit| hit.row).collect();
            let removal = &mut self.removal;
            removal.take_out(file, rows, &mut self.writer, outcome).await?;
        }
        let superseded = self.superseded.min(self.outcome.landed);
        self.outcome.landed -= superseded;
        self.outcome.deduplicated += superseded;
        self.outcome.adds = self.writer.finish().await?;
        self.removal.finish(&mut self.outcome).await?;
        Ok(self.outcome)
    }
}

fn flags<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a BooleanArray> {
    batch.column_by_name(name)?.as_boolean_opt()
}

/// The rows at these positions, which ascend.
fn select(rows: impl Iterator<Item = u32>) -> RowSelection {
    let mut selectors = Vec::new();
    let mut next = 0;
    for row in rows {
        let row = row as usize;
        if row > next {
            selectors.push(RowSelector::skip(row - next));
        }
        selectors.push(RowSelector::select(1));
        next = row + 1;
    }
    RowSelection::from(selectors)
}
