//! A lake in memory: Parquet objects, versions as lists of files.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_protocol::Result;

use crate::tables::*;

#[derive(Default)]
pub(super) struct MemoryLake {
    store: Arc<InMemory>,
    /// Versions of each table with the time they were made.
    versions: Arc<Versions>,
    bronze: Mutex<Vec<String>>,
}

/// One file of a table.
pub(super) struct NewFile {
    pub rows: RecordBatch,
    pub partition: Vec<(&'static str, Option<&'static str>)>,
    pub stats: Option<String>,
}

impl From<RecordBatch> for NewFile {
    fn from(rows: RecordBatch) -> Self {
        Self {
            rows,
            partition: Vec::new(),
            stats: None,
        }
    }
}

impl MemoryLake {
    pub(super) async fn file(&self, table: &TableName, number: usize, new: NewFile) -> DataFile {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, new.rows.schema(), None).unwrap();
        writer.write(&new.rows).unwrap();
        writer.close().unwrap();
        let path = Path::from(format!(
            "{}/{}/part-{number}.parquet",
            table.layer.as_str(),
            table.name
        ));
        let size_bytes = bytes.len() as u64;
        self.store.put(&path, bytes.into()).await.unwrap();
        DataFile {
            path,
            size_bytes,
            rows: Some(new.rows.num_rows() as u64),
            partition_values: new
                .partition
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
                .collect(),
            stats: new.stats,
            live: None,
        }
    }

    /// Adds a version that keeps the files there are.
    pub(super) async fn append(
        &self,
        table: &TableName,
        at: &str,
        schema: SchemaRef,
        partition_columns: &[&str],
        files: Vec<NewFile>,
    ) {
        let mut all = match self.snapshot(table, None).await.unwrap() {
            Some(before) => before.files,
            None => Vec::new(),
        };
        for new in files {
            let number = all.len();
            all.push(self.file(table, number, new).await);
        }
        let snapshot = Snapshot {
            table: table.clone(),
            version: 0,
            schema,
            partition_columns: partition_columns.iter().map(|name| (*name).to_owned()).collect(),
            files: all,
            store: self.store.clone(),
            reader_features: Vec::new(),
            properties: BTreeMap::new(),
        };
        push(&self.versions, at.parse().unwrap(), snapshot);
    }

    /// Changes the newest version in place.
    pub(super) fn edit(&self, table: &TableName, change: impl FnOnce(&mut Snapshot)) {
        let mut versions = self.versions.lock().unwrap();
        change(&mut versions.get_mut(table).unwrap().last_mut().unwrap().1);
    }

    pub(super) async fn put_bronze(&self, name: &str, object: &str, lines: &str) {
        let body = zstd::encode_all(lines.as_bytes(), 1).unwrap();
        let path = Path::from(format!("bronze/{name}/{object}.jsonl.zst"));
        self.store.put(&path, body.into()).await.unwrap();
        self.bronze.lock().unwrap().push(name.to_owned());
    }

    /// Objects in the store.
    pub(super) async fn objects(&self) -> usize {
        self.store.list(None).count().await
    }
}

type Versions = Mutex<BTreeMap<TableName, Vec<(Timestamp, Snapshot)>>>;

fn push(versions: &Versions, at: Timestamp, mut snapshot: Snapshot) -> i64 {
    let mut versions = versions.lock().unwrap();
    let of_table = versions.entry(snapshot.table.clone()).or_default();
    snapshot.version = of_table.len() as i64;
    let version = snapshot.version;
    of_table.push((at, snapshot));
    version
}

#[async_trait]
impl Tables for MemoryLake {
    async fn list(&self) -> Result<Vec<TableName>> {
        let bronze = self.bronze.lock().unwrap().clone();
        let bronze = bronze.into_iter().map(|name| TableName::new(Layer::Bronze, name));
        Ok(self
            .versions
            .lock()
            .unwrap()
            .keys()
            .cloned()
            .chain(bronze)
            .collect())
    }

    async fn snapshot(&self, table: &TableName, as_of: Option<AsOf>) -> Result<Option<Snapshot>> {
        let versions = self.versions.lock().unwrap();
        let Some(versions) = versions.get(table) else {
            return Ok(None);
        };
        let found = versions.iter().rev().find(|(at, snapshot)| match as_of {
            None => true,
            Some(AsOf::Version(version)) => snapshot.version == version,
            Some(AsOf::Timestamp(time)) => *at <= time,
        });
        Ok(found.map(|(_, snapshot)| snapshot.clone()))
    }

    async fn bronze(&self, name: &str) -> Result<Option<BronzeObjects>> {
        let objects = self
            .store
            .list(Some(&Path::from(format!("bronze/{name}"))))
            .try_collect()
            .await
            .unwrap();
        Ok(Some(BronzeObjects {
            store: self.store.clone(),
            objects,
        }))
    }
}

#[async_trait]
impl GoldWriter for MemoryLake {
    async fn stage(&self, build: Build) -> Result<Box<dyn Staged>> {
        let table = TableName::new(Layer::Gold, build.model);
        let rows: Vec<RecordBatch> = build.rows.try_collect().await?;
        let mut rows = concat_batches(&build.schema, &rows).unwrap();
        let mut number = 1000;
        if let (BuildMode::Merge { keys }, Some(before)) = (&build.mode, self.snapshot(&table, None).await?) {
            for file in &before.files {
                let bytes = self.store.get(&file.path).await.unwrap().bytes().await.unwrap();
                let reader = ParquetRecordBatchReader::try_new(bytes, 9999);
                for old in reader.unwrap() {
                    rows = merged(&rows, &old.unwrap(), keys);
                }
                number += 1;
            }
        }
        number += self.objects().await;
        let file = self.file(&table, number, rows.into()).await;
        let snapshot = Snapshot {
            table,
            version: 0,
            schema: Arc::new(Schema::new(build.schema.fields().clone())),
            partition_columns: Vec::new(),
            files: vec![file],
            store: self.store.clone(),
            reader_features: Vec::new(),
            properties: build.properties,
        };
        Ok(Box::new(Waiting {
            versions: Arc::clone(&self.versions),
            store: self.store.clone(),
            snapshot,
        }))
    }
}

/// New rows and those old ones whose key (a text) is not among them.
fn merged(new: &RecordBatch, old: &RecordBatch, keys: &[String]) -> RecordBatch {
    let key = |batch: &RecordBatch| -> Vec<String> {
        let column = batch.column_by_name(&keys[0]).unwrap();
        column
            .as_string::<i32>()
            .iter()
            .map(|value| value.unwrap().to_owned())
            .collect()
    };
    let taken = key(new);
    let keep: Vec<bool> = key(old).iter().map(|key| !taken.contains(key)).collect();
    let kept = filter_record_batch(old, &keep.into()).unwrap();
    concat_batches(&new.schema(), [new, &kept.with_schema(new.schema()).unwrap()]).unwrap()
}

struct Waiting {
    versions: Arc<Versions>,
    store: Arc<InMemory>,
    snapshot: Snapshot,
}

#[async_trait]
impl Staged for Waiting {
    fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    async fn publish(self: Box<Self>) -> Result<i64> {
        Ok(push(&self.versions, Timestamp::now(), self.snapshot))
    }

    async fn discard(self: Box<Self>) -> Result<()> {
        for file in &self.snapshot.files {
            self.store.delete(&file.path).await.unwrap();
        }
        Ok(())
    }
}
