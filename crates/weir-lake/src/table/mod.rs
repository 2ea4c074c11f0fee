//! One Delta table: its log, its files and their columns.

pub(crate) mod adapt;
mod column_writers;
pub(crate) mod columns;
mod commit;
mod damage;
pub(crate) mod deletion;
mod encoding;
mod exchange;
pub(crate) mod file_writer;
mod object;
pub(crate) mod original;
mod parquet_writer;
pub(crate) mod partition;
pub(crate) mod scan;
pub(crate) mod schema;
pub(crate) mod stats;
pub(crate) mod widen;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake::DeltaTable;
use deltalake::kernel::{Add, DeletionVectorDescriptor, EagerSnapshot, Remove};
use deltalake::logstore::LogStoreRef;
use futures::FutureExt;
use object_store::{ObjectStore, path::Path};
use weir_protocol::{Error, Result};

pub(crate) use commit::{Attempt, Change};

use crate::storage::Storage;

#[cfg(test)]
mod tests;

/// A moment in a table's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    Version(i64),
    /// The newest version that was committed at or before this time.
    Timestamp(jiff::Timestamp),
}

/// A file that belongs to a version of a table.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Relative to the table's folder.
    pub path: String,
    pub size: u64,
    /// Without those that are marked as gone.
    pub rows: u64,
    /// Partition column to value, as the log writes it.
    pub partition: BTreeMap<String, Option<String>>,
    /// Delta statistics as JSON: `numRecords`, `minValues`, `maxValues`, `nullCount`.
    pub stats: Option<String>,
    /// Milliseconds since the epoch.
    pub modified_ms: i64,
    /// Which rows are marked as gone.
    pub deletion_vector: Option<DeletionVectorDescriptor>,
}

impl DataFile {
    pub(crate) fn location(&self) -> Path {
        Path::from(self.path.as_str())
    }

    /// What a version of a table knows the file by: the same file with other rows marked is another.
    pub(crate) fn id(&self) -> (&str, Option<(&str, Option<i32>)>) {
        let vector = self.deletion_vector.as_ref();
        let vector = vector.map(|vector| (vector.path_or_inline_dv.as_str(), vector.offset));
        (&self.path, vector)
    }

    /// Rows that the file itself holds.
    pub(crate) fn rows_stored(&self) -> u64 {
        let gone = self
            .deletion_vector
            .as_ref()
            .map_or(0, |vector| vector.cardinality);
        self.rows + u64::try_from(gone).unwrap_or_default()
    }

    /// The same file with these rows gone.
    pub(crate) fn marked(&self, deletion_vector: DeletionVectorDescriptor) -> Self {
        let gone = u64::try_from(deletion_vector.cardinality).unwrap_or_default();
        Self {
            rows: self.rows_stored().saturating_sub(gone),
            stats: self.stats.as_deref().and_then(deletion::loosen),
            deletion_vector: Some(deletion_vector),
            ..self.clone()
        }
    }

    /// The action that takes this file out of the table.
    pub(crate) fn remove(&self, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change,
            deletion_timestamp: Some(now_ms()),
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values()),
            size: i64::try_from(self.size).ok(),
            deletion_vector: self.deletion_vector.clone(),
            ..Remove::default()
        }
    }

    /// The action that puts this file into a table.
    pub(crate) fn add(&self, data_change: bool) -> Add {
        Add {
            path: self.path.clone(),
            partition_values: self.partition_values(),
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            modification_time: self.modified_ms,
            data_change,
            stats: self.stats.clone(),
            deletion_vector: self.deletion_vector.clone(),
            ..Add::default()
        }
    }

    #[cfg(test)]
    pub(crate) fn named(path: &str, rows: u64) -> Self {
        Self {
            path: path.to_owned(),
            size: 1,
            rows,
            partition: BTreeMap::new(),
            stats: None,
            modified_ms: 0,
            deletion_vector: None,
        }
    }

    fn partition_values(&self) -> HashMap<String, Option<String>> {
        self.partition.clone().into_iter().collect()
    }
}

/// A table at one version. `refresh` moves it to the newest.
#[derive(Clone)]
pub(crate) struct Table {
    storage: Storage,
    folder: Path,
    log: LogStoreRef,
    delta: DeltaTable,
    schema: SchemaRef,
}

impl Table {
    /// The table in a folder of the lake, if there is one.
    pub(crate) async fn find(storage: &Storage, folder: &Path) -> Result<Option<Self>> {
        let log = storage.log_store(folder)?;
        let exists = log.is_delta_table_location().await;
        if !exists.map_err(|error| failed("find", folder, error))? {
            return Ok(None);
        }
        let mut delta = DeltaTable::new(log.clone());
        if let Err(error) = delta.load().boxed().await {
            return Err(unreadable(storage, folder, error).boxed().await);
        }
        let schema = state(&delta, folder)?.arrow_schema();
        Ok(Some(Self {
            storage: storage.clone(),
            folder: folder.clone(),
            log,
            delta,
            schema,
        }))
    }

    pub(crate) async fn open(storage: &Storage, folder: &Path) -> Result<Self> {
        Self::find(storage, folder).await?.ok_or_else(|| {
            Error::not_found(format!("the lake has no table '{folder}'"))
                .hint("`weir lake tables` lists what there is")
        })
    }

    /// The same table as it was.
    pub(crate) async fn at(&self, as_of: AsOf) -> Result<Self> {
        let version = match as_of {
            AsOf::Version(version) => version,
            AsOf::Timestamp(timestamp) => self.version_at(timestamp).await?,
        };
        let wanted = u64::try_from(version).map_err(|_| self.no_version(version))?;
        let mut delta = DeltaTable::new(self.log.clone());
        if version > self.version() {
            return Err(self.no_version(version));
        }
        if let Err(error) = delta.load_version(wanted).boxed().await {
            let found = damage::find(&self.storage, &self.folder, Some(version))
                .boxed()
                .await?;
            return Err(found.unwrap_or_else(|| self.no_version(version).caused_by(error)));
        }
        let schema = state(&delta, &self.folder)?.arrow_schema();
        Ok(Self {
            delta,
            schema,
            ..self.clone()
        })
    }

    fn no_version(&self, version: i64) -> Error {
        Error::not_found(format!("table '{}' has no version {version}", self.name()))
            .with("newest", self.version())
            .hint("versions older than the vacuum retention are gone; choose a newer one")
    }

    async fn version_at(&self, timestamp: jiff::Timestamp) -> Result<i64> {
        let folder = self.folder.clone().join("_delta_log");
        let mut found = None;
        for object in self.storage.list(&folder).await? {
            let Some(version) = object
                .location
                .filename()
                .and_then(|name| name.strip_suffix(".json"))
                .and_then(|digits| digits.parse::<i64>().ok())
            else {
                continue;
            };
            if object.last_modified.timestamp_millis() <= timestamp.as_millisecond() {
                found = found.max(Some(version));
            }
        }
        found.ok_or_else(|| {
            Error::not_found(format!("table '{}' did not exist at {timestamp}", self.name()))
                .hint("choose a later time")
        })
    }

    pub(crate) async fn refresh(&mut self) -> Result<()> {
        if let Err(error) = self.delta.update_state().boxed().await {
            return Err(unreadable(&self.storage, &self.folder, error).boxed().await);
        }
        self.schema = state(&self.delta, &self.folder)?.arrow_schema();
        Ok(())
    }

    pub(crate) fn name(&self) -> &str {
        self.folder.filename().unwrap_or_default()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Rooted at the table's folder.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        self.log.object_store(None)
    }

    pub(crate) fn version(&self) -> i64 {
        let version = self.delta.version().unwrap_or_default();
        i64::try_from(version).unwrap_or(i64::MAX)
    }

    /// All columns, partition columns included.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn snapshot(&self) -> Result<&EagerSnapshot> {
        state(&self.delta, &self.folder)
    }

    pub(crate) fn partition_columns(&self) -> Result<Vec<String>> {
        Ok(self.snapshot()?.metadata().partition_columns().to_vec())
    }

    pub(crate) fn properties(&self) -> Result<BTreeMap<String, String>> {
        let configuration = self.snapshot()?.metadata().configuration();
        Ok(configuration.clone().into_iter().collect())
    }

    /// Whether rows that go are marked, and their files stay.
    pub(crate) fn marks_rows(&self) -> Result<bool> {
        let properties = self.snapshot()?.metadata().configuration();
        Ok(properties
            .get(deletion::ENABLED)
            .is_some_and(|value| value == "true"))
    }

    /// The files of this version.
    pub(crate) fn files(&self) -> Result<Vec<DataFile>> {
        let views = self
            .snapshot()?
            .try_log_data()
            .map_err(|error| failed("read", &self.folder, error))?;
        let files = views.iter().map(|view| {
            let deletion_vector = view.deletion_vector_descriptor();
            let gone = deletion_vector.as_ref().map_or(0, |vector| vector.cardinality);
            let stored = view.num_records().unwrap_or_default() as u64;
            DataFile {
                path: view.path().into_owned(),
                size: u64::try_from(view.size()).unwrap_or_default(),
                rows: stored.saturating_sub(u64::try_from(gone).unwrap_or_default()),
                partition: view.partition_values_map().into_iter().collect(),
                stats: view.stats(),
                modified_ms: view.modification_time(),
                deletion_vector,
            }
        });
        Ok(files.collect())
    }

    /// The newest version that an application recorded.
    pub(crate) async fn transaction(&self, application: &str) -> Result<Option<i64>> {
        self.snapshot()?
            .transaction_version(self.log.as_ref(), application)
            .boxed()
            .await
            .map_err(|error| failed("read", &self.folder, error))
    }

    /// What is recorded in a metadata domain.
    pub(crate) async fn domain(&self, domain: &str) -> Result<Option<String>> {
        self.snapshot()?
            .domain_metadata(self.log.as_ref(), domain)
            .boxed()
            .await
            .map_err(|error| failed("read", &self.folder, error))
    }
}

fn state<'a>(delta: &'a DeltaTable, folder: &Path) -> Result<&'a EagerSnapshot> {
    let state = delta.snapshot().map_err(|error| failed("read", folder, error))?;
    Ok(state.snapshot())
}

/// Why a log cannot be read: what is damaged, if that can be told.
async fn unreadable(storage: &Storage, folder: &Path, error: deltalake::DeltaTableError) -> Error {
    match damage::find(storage, folder, None).await {
        Ok(Some(found)) => {
            tracing::debug!(%folder, %error, "the log cannot be read");
            found
        }
        Ok(None) => failed("open", folder, error),
        Err(other) => other,
    }
}

pub(crate) fn failed(verb: &'static str, folder: &Path, error: deltalake::DeltaTableError) -> Error {
    Error::destination(format!("cannot {verb} the table '{folder}'"))
        .hint("check that the lake's location is reachable and the table's _delta_log is whole; `weir doctor` tests it")
        .caused_by(error)
}

/// Now, as the Delta log writes times.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
