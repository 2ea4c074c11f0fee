//! A full refresh that fits one checkpoint goes into the table in one version, without a staging
//! table before it. Most streams are this small, and a staging table costs more than their rows.

use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use object_store::path::Path;
use weir_protocol::{Result, WriteMode};

use super::checkpoint::{Written, already_there, bytes, change};
use super::gathered::Plain;
use super::generations::Generation;
use super::shape::Shape;
use super::state::StateRecord;
use crate::failpoint;
use crate::storage::Storage;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, Change, DataFile, Table, schema};
use crate::upsert::{Outcome, has_duplicates};

pub(crate) struct Direct<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) shape: &'a Shape,
    pub(crate) schema: SchemaRef,
    pub(crate) memory_bytes: u64,
    /// The first checkpoint of this refresh.
    pub(crate) generation: u64,
    /// The staging table's folder, which has the files: the table itself is not needed.
    pub(crate) folder: &'a Path,
    /// Microseconds since the epoch.
    pub(crate) at: i64,
    /// Without what the rows come to.
    pub(crate) record: StateRecord,
}

impl Direct<'_> {
    /// Whether a refresh into a table of this shape may go this way at all.
    pub(crate) fn allows(shape: &Shape) -> bool {
        shape.is_staged() && shape.mode.write() == WriteMode::Replace && shape.children().is_none()
    }

    /// None where the rows must be compared with each other first: two of them have the same key.
    pub(crate) async fn commit(&self, rows: &mut Plain) -> Result<Option<Written>> {
        let files = rows.finish(&self.schema).boxed().await?;
        if self.are_keys_doubled(&files, rows).boxed().await? {
            return Ok(None);
        }
        failpoint::reach("lake.before_commit")?;
        failpoint::reach("lake.before_publish")?;
        for _ in 0..ATTEMPTS_MAX {
            let main = Table::find(self.storage, &self.shape.folder).boxed().await?;
            if let Some(main) = &main
                && let Some(found) = already_there(main, &self.record).boxed().await?
            {
                return Ok(Some(found));
            }
            let (change, record) = self.change(&files, main.as_ref())?;
            failpoint::reach("lake.in_publish")?;
            if let Attempt::Committed(version) = self.attempt(main, &change).boxed().await? {
                failpoint::reach("lake.after_commit")?;
                failpoint::reach("lake.after_publish")?;
                return Ok(Some(Written { record, version }));
            }
        }
        Err(Table::open(self.storage, &self.shape.folder)
            .boxed()
            .await?
            .contended())
    }

    async fn attempt(&self, main: Option<Table>, change: &Change) -> Result<Attempt> {
        match main {
            Some(mut main) => main.commit_last(change).await,
            None => {
                let (partitions, properties) = (self.shape.partition_columns(), self.shape.properties());
                let folder = &self.shape.folder;
                Table::create_with(
                    self.storage,
                    folder,
                    &self.schema,
                    &partitions,
                    &properties,
                    change,
                )
                .await
            }
        }
    }

    async fn are_keys_doubled(&self, files: &[DataFile], rows: &mut Plain) -> Result<bool> {
        if self.shape.primary_key.is_empty() {
            return Ok(false);
        }
        if let Some(known) = rows.has_duplicates() {
            return Ok(known);
        }
        let store = self.storage.within(self.folder);
        has_duplicates(&store, files, &self.schema, &self.shape.keys(), self.memory_bytes).await
    }

    fn change(&self, files: &[DataFile], main: Option<&Table>) -> Result<(Change, StateRecord)> {
        let folder = self.folder.filename().unwrap_or_default();
        let adds: Vec<DataFile> = files
            .iter()
            .map(|file| DataFile {
                path: format!("{folder}/{}", file.path),
                ..file.clone()
            })
            .collect();
        let outcome = Outcome {
            landed: adds.iter().map(|file| file.rows).sum(),
            removes: main.map(Table::files).transpose()?.unwrap_or_default(),
            adds,
            ..Outcome::default()
        };
        let mut record = self.record.clone();
        record.books.landed += outcome.landed;
        record.silver_bytes += bytes(&outcome.adds);
        record.held = 0;
        record.remember(Generation {
            from: self.generation,
            to: record.sequence,
            at: self.at,
            mode: record.mode,
            vanish: false,
            empty: outcome.landed == 0 && self.record.held == 0,
        });
        let mut change = change("PUBLISH FULL REFRESH", &outcome, &record)?;
        let is_other = main.is_some_and(|main| !schema::equal(main.schema(), &self.schema));
        change.schema = is_other.then(|| self.schema.as_ref().clone());
        Ok((change, record))
    }
}
