//! What must be read of a table's files to know which rows a load is about.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use weir_protocol::Result;

use super::keys;
use super::prune::{self, Wanted};
use super::sieve::{self, Sieve};
use super::{Rule, Upsert, select};
use crate::table::DataFile;
use crate::table::columns::{DELETED_AT, EMITTED_AT, IS_CURRENT, RUN, VALID_FROM, VALID_TO};
use crate::table::original::Original;
use crate::table::scan::{self, Rows};

/// Files in which few keys are looked for are read beside each other: little of each, and a store may answer late.
const FILES_AT_ONCE_MAX: usize = 16;
/// What may be read of one of them at a time: the keys of a row group, where they are in no order.
const FILE_BYTES: u64 = 4 << 20;

/// How one part of a load is looked up.
pub(super) struct Lookup<'a> {
    upsert: &'a Upsert<'a>,
    wanted: Vec<Wanted>,
    /// Where the load is small beside the table.
    sieve: Option<Sieve<'a>>,
}

/// A file that may hold keys of the load.
pub(super) struct Found {
    pub(super) index: usize,
    pub(super) original: Original,
    /// The places of the rows that may have such a key among those that are left; none: all of them.
    places: Option<Vec<u32>>,
    /// These rows, of the columns that decide.
    rows: Rows,
    /// How many of them were given.
    seen: u32,
}

impl<'a> Lookup<'a> {
    /// `load` has the key columns of its rows.
    pub(super) fn new(upsert: &'a Upsert<'a>, load: &RecordBatch) -> Result<Self> {
        let mut wanted = Vec::new();
        for (path, values) in upsert.keys.paths().iter().zip(upsert.keys.key_columns(load)?) {
            wanted.extend(Wanted::new(path, values)?);
        }
        let stored: u64 = upsert.files.iter().map(|file| file.rows).sum();
        // Where rows vanish, those that the load lacks are looked for too.
        let is_worth = upsert.vanish.is_none() && sieve::is_worth(load.num_rows(), stored);
        let sieve = is_worth
            .then(|| Sieve::new(&upsert.keys, load, &upsert.schema))
            .transpose()?;
        Ok(Self {
            upsert,
            wanted,
            sieve,
        })
    }

    /// The files to look at, in their order.
    pub(super) fn files(&self) -> Result<impl Stream<Item = Result<Found>> + Send + '_> {
        let mut looks: Vec<BoxFuture<'_, Result<Found>>> = Vec::new();
        for (index, file) in self.upsert.files.iter().enumerate() {
            if self.upsert.vanish.is_some() || prune::may_hold(file, &self.wanted)? {
                looks.push(self.look(index, file).boxed());
            }
        }
        let at_once = if self.sieve.is_some() { self.at_once() } else { 1 };
        Ok(stream::iter(looks).buffered(at_once))
    }

    fn at_once(&self) -> usize {
        let affordable = usize::try_from(self.upsert.memory_bytes / FILE_BYTES).unwrap_or(usize::MAX);
        affordable.clamp(1, FILES_AT_ONCE_MAX)
    }

    async fn look(&self, index: usize, file: &DataFile) -> Result<Found> {
        let original = Original::open(&self.upsert.table.store(), file).await?;
        let places = match &self.sieve {
            Some(sieve) => sieve.candidates(&original, &self.wanted).await?,
            None => None,
        };
        let rows = match &places {
            Some(places) if places.is_empty() => stream::empty().boxed(),
            Some(places) => {
                let rows = self.rows(&original, Some(places)).await?;
                let rows: Vec<RecordBatch> = rows.try_collect().await?;
                stream::iter(rows).map(Ok).boxed()
            }
            None => self.rows(&original, None).await?,
        };
        Ok(Found {
            index,
            original,
            places,
            rows,
            seen: 0,
        })
    }

    async fn rows(&self, original: &Original, places: Option<&Vec<u32>>) -> Result<Rows> {
        let schema = self.deciding(&original.file)?;
        let selection = places.map(|places| select(places.iter().copied()));
        scan::read_of(original, &schema, selection, scan::BATCH_ROWS).await
    }

    /// The columns of a file that decide what becomes of its rows: each one more is to be read.
    fn deciding(&self, file: &DataFile) -> Result<SchemaRef> {
        let (keys, schema) = (&self.upsert.keys, &self.upsert.schema);
        let mut names = keys.key_roots(schema);
        names.extend(keys.cursor_roots(schema));
        match self.upsert.rule {
            Rule::History => names.extend([IS_CURRENT, VALID_FROM, VALID_TO].map(str::to_owned)),
            Rule::Late => names.push(EMITTED_AT.to_owned()),
            Rule::Merge | Rule::Distinct => {}
        }
        if self.upsert.vanish.is_some() {
            names.push(DELETED_AT.to_owned());
        }
        let run: ArrayRef = Arc::new(StringArray::from(vec![self.upsert.run]));
        let is_ours = Wanted::new(RUN, run)?;
        if self.upsert.rule == Rule::Merge && prune::may_hold(file, is_ours.as_slice())? {
            names.push(RUN.to_owned());
        }
        Ok(keys::project(schema, &names))
    }
}

impl Found {
    /// The next rows, with their places among those that are left of the file.
    pub(super) async fn next(&mut self) -> Result<Option<(RecordBatch, Vec<u32>)>> {
        let Some(batch) = self.rows.try_next().await? else {
            return Ok(None);
        };
        let from = self.seen;
        self.seen += u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        let places = match &self.places {
            Some(places) => places[from as usize..self.seen as usize].to_vec(),
            None => (from..self.seen).collect(),
        };
        Ok(Some((batch, places)))
    }
}
