//! Are the rows of Silver those that Bronze comes to? Bronze is typed once more into a table beside the
//! main one, as a rebuild does; then both are compared row by row, and the other one goes.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::FutureExt;
use futures::stream::{BoxStream, TryStreamExt};
use weir_protocol::{Result, WritePlan};

use super::rebuild::{RawBatch, batches};
use super::replay::{Purpose, Replay};
use crate::bronze;
use crate::children::Family;
use crate::lake::Lake;
use crate::table::columns::{EMITTED_AT, RUN};
use crate::table::{DataFile, Table, adapt, scan, schema};
use crate::typed::INDEX;
use crate::upsert::{Keys, keys};

/// Of each row a hash of its key and one of all of it.
const ROW_BYTES: u64 = 2 * size_of::<Hashes>() as u64;

/// What a comparison of Silver with Bronze found. Counts of rows, those of child tables included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Rows that Silver holds.
    pub rows: u64,
    /// The same key, other values.
    pub altered: u64,
    /// In Bronze alone.
    pub lost: u64,
    /// In Silver alone.
    pub added: u64,
    /// In Silver more often than Bronze says.
    pub doubled: u64,
    /// In Silver, of lines that Bronze no longer holds: nothing can be said of them.
    pub unproven: u64,
}

impl Compared {
    pub fn is_same(&self) -> bool {
        self.altered == 0 && self.lost == 0 && self.added == 0 && self.doubled == 0
    }
}

/// A row's key and the whole row.
type Hashes = (u64, u64);

impl Lake {
    /// Compares a stream's Silver table, and its child tables, with what Bronze comes to by the schema
    /// of today. Nothing is changed. None where there is no table.
    pub async fn compare(&self, plan: &WritePlan) -> Result<Option<Compared>> {
        let nothing = BTreeSet::new();
        let replay = Replay::open(self, plan, Some(&nothing), Purpose::Compare)
            .boxed()
            .await?;
        let Some(mut replay) = replay else { return Ok(None) };
        let objects =
            bronze::objects(&self.storage, &bronze::folder(&plan.source, &plan.stream.name)).await?;
        if let Some((first, _)) = objects.first() {
            replay.begins_with(first.sequence, first.part);
        }
        let folder = replay.scratch_folder().clone();
        let compared = compare(replay, batches(&self.storage, objects)).boxed().await;
        // What went wrong before says more than that the rest could not be removed.
        let removed = self.storage.remove_folder(&folder).await;
        let compared = compared?;
        removed.map(|()| Some(compared))
    }
}

async fn compare(replay: Replay<'_>, lines: BoxStream<'_, Result<RawBatch>>) -> Result<Compared> {
    let sides = replay.sides(lines).boxed().await?;
    let shape = &sides.scratch.shape;
    let mut compared = Compared::default();
    let memory_bytes = sides.scratch.memory_bytes();
    let whole = sides
        .scratch
        .schema()
        .unwrap_or_else(|| Arc::new(Schema::empty()));
    let rows = match &shape.family {
        Some(family) => family.exploder.parent_schema(&whole),
        None => whole,
    };
    let parents = Pair {
        main: &sides.main,
        scratch: sides.scratch.table(),
        schema: columns(sides.main.schema(), &rows),
        by: Keys::new(shape.primary_key.clone(), None),
        list: None,
        memory_bytes,
        is_cut: sides.is_cut,
    };
    parents.compare(&mut compared).boxed().await?;
    let Some(family) = &shape.family else {
        return Ok(compared);
    };
    for (field, child) in family.tables() {
        let Some(table) = child.find(&sides.storage).await? else {
            continue;
        };
        let mut key = family.exploder.parent_columns();
        key.push(INDEX.to_owned());
        let children = Pair {
            main: &table,
            scratch: sides.scratch.table(),
            schema: columns(table.schema(), &Schema::empty()),
            by: Keys::new(key, None),
            list: Some((family, field)),
            memory_bytes,
            is_cut: sides.is_cut,
        };
        children.compare(&mut compared).boxed().await?;
    }
    Ok(compared)
}

/// The columns that both are compared by. When a row was read, and by which run, may differ: a record
/// that is read again after its row was taken away is the same record.
fn columns(table: &SchemaRef, bronze: &Schema) -> SchemaRef {
    let all = schema::merge(table, bronze);
    let names: Vec<String> = all
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .filter(|name| name != RUN && name != EMITTED_AT)
        .collect();
    keys::project(&all, &names)
}

/// Two tables that should have the same rows.
struct Pair<'a> {
    main: &'a Table,
    /// None where Bronze gave no row.
    scratch: Option<&'a Table>,
    schema: SchemaRef,
    by: Keys,
    /// The rows of `scratch` are parents: those of `main` are the elements of this list of theirs.
    list: Option<(&'a Arc<Family>, &'a str)>,
    memory_bytes: u64,
    is_cut: bool,
}

impl Pair<'_> {
    /// In as many passes as memory asks for, each over a part of the keys.
    async fn compare(&self, compared: &mut Compared) -> Result<()> {
        let files = self.main.files()?;
        let held = rows(&files);
        compared.rows += held;
        let given = self.scratch.map(Table::files).transpose()?.unwrap_or_default();
        let most = (held + rows(&given)).max(1);
        let passes = (most * ROW_BYTES).div_ceil(self.memory_bytes).max(1);
        for pass in 0..passes {
            let mut ours = Vec::new();
            let mut batches = scan::read_all(self.main.store(), files.clone(), self.schema.clone());
            while let Some(batch) = batches.try_next().await? {
                self.hash(&batch, (pass, passes), &mut ours)?;
            }
            let theirs = match self.scratch {
                Some(scratch) => self.theirs(scratch, &given, (pass, passes)).boxed().await?,
                None => Vec::new(),
            };
            tally(ours, theirs, self.is_cut, compared);
        }
        Ok(())
    }

    async fn theirs(&self, scratch: &Table, files: &[DataFile], part: (u64, u64)) -> Result<Vec<Hashes>> {
        let mut found = Vec::new();
        let schema = match self.list {
            Some(_) => scratch.schema().clone(),
            None => self.schema.clone(),
        };
        let mut batches = scan::read_all(scratch.store(), files.to_vec(), schema);
        while let Some(batch) = batches.try_next().await? {
            let Some((family, field)) = self.list else {
                self.hash(&batch, part, &mut found)?;
                continue;
            };
            let whole = batch.schema();
            let list = family.exploder.lists(&whole).find(|(name, _)| *name == field);
            if let Some((_, list)) = list {
                let elements = family.exploder.explode(&batch, list.name(), false)?;
                self.hash(&adapt::adapt(&elements, &self.schema)?, part, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Adds the hashes of the rows whose keys belong to this pass.
    fn hash(&self, batch: &RecordBatch, (pass, passes): (u64, u64), found: &mut Vec<Hashes>) -> Result<()> {
        let encoded = keys::encode(batch.columns())?;
        // Told apart within one process only.
        let seed = foldhash::quality::FixedState::with_seed(1);
        let whole = encoded.iter().map(|row| {
            let mut hasher = seed.build_hasher();
            hasher.write(row.data());
            hasher.finish()
        });
        let whole: Vec<u64> = whole.collect();
        let key = if self.by.paths().is_empty() {
            whole.clone()
        } else {
            self.by.hashes(batch)?
        };
        found.extend(key.into_iter().zip(whole).filter(|(key, _)| key % passes == pass));
        Ok(())
    }
}

fn rows(files: &[DataFile]) -> u64 {
    files.iter().map(|file| file.rows).sum()
}

/// Walks both sides key by key. What is left of a key after equal rows are taken off is altered as far
/// as both have some.
fn tally(mut ours: Vec<Hashes>, mut theirs: Vec<Hashes>, is_cut: bool, compared: &mut Compared) {
    ours.sort_unstable();
    theirs.sort_unstable();
    let same_key = |a: &Hashes, b: &Hashes| a.0 == b.0;
    let mut ours = ours.chunk_by(same_key).peekable();
    let mut theirs = theirs.chunk_by(same_key).peekable();
    loop {
        let (here, there) = (
            ours.peek().map(|rows| rows[0].0),
            theirs.peek().map(|rows| rows[0].0),
        );
        let Some(least) = here.into_iter().chain(there).min() else {
            return;
        };
        let held = ours.next_if(|rows| rows[0].0 == least).unwrap_or_default();
        let given = theirs.next_if(|rows| rows[0].0 == least).unwrap_or_default();
        let (only_held, only_given) = difference(held, given);
        let altered = only_held.min(only_given);
        compared.altered += altered;
        compared.lost += only_given - altered;
        let rest = only_held - altered;
        match (given.is_empty(), is_cut) {
            (false, _) => compared.doubled += rest,
            (true, true) => compared.unproven += rest,
            (true, false) => compared.added += rest,
        }
    }
}

/// How many rows each side has that the other has not, equal rows counted.
fn difference(a: &[Hashes], b: &[Hashes]) -> (u64, u64) {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let (mut only_a, mut only_b) = (0, 0);
    loop {
        match (a.peek(), b.peek()) {
            (None, None) => return (only_a, only_b),
            (Some(_), None) => only_a += u64::from(a.next().is_some()),
            (None, Some(_)) => only_b += u64::from(b.next().is_some()),
            (Some(left), Some(right)) if left == right => {
                a.next();
                b.next();
            }
            (Some(left), Some(right)) if left < right => only_a += u64::from(a.next().is_some()),
            _ => only_b += u64::from(b.next().is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(ours: &[Hashes], theirs: &[Hashes], is_cut: bool) -> [u64; 5] {
        let mut found = Compared::default();
        tally(ours.to_vec(), theirs.to_vec(), is_cut, &mut found);
        [
            found.altered,
            found.lost,
            found.added,
            found.doubled,
            found.unproven,
        ]
    }

    #[test]
    fn each_difference_has_its_name() {
        let bronze = [(1, 10), (2, 20), (3, 30), (3, 31)];
        assert_eq!(compared(&bronze, &bronze, false), [0; 5]);
        assert_eq!(
            compared(&[(1, 10), (2, 21), (3, 31), (3, 30)], &bronze, false),
            [1, 0, 0, 0, 0]
        );
        assert_eq!(
            compared(&[(1, 10), (3, 31), (3, 30)], &bronze, false),
            [0, 1, 0, 0, 0]
        );
        assert_eq!(
            compared(&[(1, 10), (2, 20), (3, 30)], &bronze, false),
            [0, 1, 0, 0, 0]
        );
        let more = [(1, 10), (2, 20), (2, 20), (3, 30), (3, 31), (4, 40)];
        assert_eq!(compared(&more, &bronze, false), [0, 0, 1, 1, 0]);
        assert_eq!(compared(&more, &bronze, true), [0, 0, 0, 1, 1]);
        assert_eq!(compared(&[], &bronze, true), [0, 4, 0, 0, 0]);
    }
}
