//! Rows that wait for their checkpoint: in memory while they fit, in spilled files otherwise,
//! there split by key so that every part fits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, SchemaRef};
use futures::FutureExt;
use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use weir_protocol::{Error, Result};

use super::keys::Keys;
use crate::storage::Storage;
use crate::table::adapt::adapt;
use crate::table::columns;
use crate::table::file_writer::{FileWriter, Layout, Purpose};
use crate::table::{DataFile, scan};

/// Folder of spilled rows below a table's. Readers and other tools pass over a leading underscore.
pub(crate) const SPILL_FOLDER: &str = "_spill";
const BUCKET: &str = "_bucket";
/// Spilled rows are split into so many files, which parts are made of.
const SPILL_BUCKETS: u64 = 32;
/// Of more parts, but fewer than there are files, one alone would be twice as large as another.
const MIXED_PARTS_MAX: u64 = SPILL_BUCKETS / 2;
/// A Parquet byte is about so many in memory.
const INFLATION: u64 = 6;

/// Bytes that the rows of a checkpoint may wait in, where each stage may hold `memory_bytes`: while they are merged the
/// stages before are empty, and a load in one part costs half of one in several.
pub(crate) fn held_max(memory_bytes: u64) -> u64 {
    memory_bytes / 2 * 3
}

/// Rows of one load.
pub(crate) struct Incoming {
    keys: Keys,
    /// Bytes of rows that may stand in memory at a time, more than none.
    held_max: u64,
    place: Place,
    batches: Vec<RecordBatch>,
    bytes: u64,
    rows: u64,
    spill: Option<FileWriter>,
    /// Finished spills, one for each schema that the load had.
    spilled: Vec<DataFile>,
    /// What the spilled rows took in memory.
    spilled_bytes: u64,
}

/// Where spilled files go.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl Place {
    pub(crate) fn of(storage: &Storage, table: &Path) -> Self {
        Self {
            store: storage.within(table),
        }
    }
}

/// One part of a load: rows with equal keys are in the same part.
pub(crate) struct Bucket {
    number: u64,
    of: u64,
    rows: Rows,
}

enum Rows {
    Memory(Vec<RecordBatch>),
    Files(Arc<dyn ObjectStore>, Vec<DataFile>),
}

impl Incoming {
    pub(crate) fn new(keys: Keys, held_max: u64, place: Place) -> Self {
        Self {
            keys,
            held_max: held_max.max(1),
            place,
            batches: Vec::new(),
            bytes: 0,
            rows: 0,
            spill: None,
            spilled: Vec::new(),
            spilled_bytes: 0,
        }
    }

    /// Rows that lie in files already. They are split first where they would not fit into memory.
    pub(crate) async fn from_files(
        keys: Keys,
        held_max: u64,
        place: Place,
        mut files: Vec<DataFile>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        files.sort_by(|a, b| age(a).cmp(age(b)));
        let store = place.store.clone();
        let mut incoming = Self::new(keys, held_max, place);
        let inflated: u64 = files.iter().map(|file| file.size).sum::<u64>() * INFLATION;
        let mut rows = scan::read_all(store, files, schema.clone());
        if inflated > held_max {
            incoming.start_spill(schema)?;
        }
        while let Some(batch) = rows.try_next().await? {
            incoming.push(batch).await?;
        }
        Ok(incoming)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) async fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        if self.spill.is_some() {
            return self.spill(&batch).await;
        }
        let batch = without_slack(batch)?;
        self.bytes += used_bytes(&batch);
        self.batches.push(batch);
        if self.bytes <= self.held_max {
            return Ok(());
        }
        for batch in std::mem::take(&mut self.batches) {
            self.spill(&batch).await?;
        }
        self.bytes = 0;
        Ok(())
    }

    fn start_spill(&mut self, schema: &SchemaRef) -> Result<()> {
        let schema = columns::with(schema, [Field::new(BUCKET, DataType::Int32, true)]);
        let layout = Layout {
            store: self.place.store.clone(),
            below: format!("{SPILL_FOLDER}/"),
            schema,
            partitions: vec![BUCKET.to_owned()],
            purpose: Purpose::Spill,
        };
        self.spill = Some(FileWriter::new(layout, self.held_max / 2));
        Ok(())
    }

    async fn spill(&mut self, batch: &RecordBatch) -> Result<()> {
        self.spilled_bytes += used_bytes(batch);
        let widened = columns::with(batch.schema_ref(), [Field::new(BUCKET, DataType::Int32, true)]);
        let hashes = self.keys.hashes(batch)?;
        let buckets: Int32Array = hashes
            .iter()
            .map(|hash| i32::try_from(hash % SPILL_BUCKETS).ok())
            .collect();
        let mut arrays = batch.columns().to_vec();
        arrays.push(Arc::new(buckets) as ArrayRef);
        let batch = RecordBatch::try_new(widened.clone(), arrays).map_err(unfit)?;
        if self
            .spill
            .as_ref()
            .is_some_and(|spill| *spill.schema() != widened)
        {
            // The columns changed in the middle of the load: earlier files keep theirs.
            if let Some(spill) = self.spill.take() {
                self.spilled.extend(spill.finish().await?);
            }
        }
        if self.spill.is_none() {
            self.start_spill(batch.schema_ref())?;
        }
        match &mut self.spill {
            Some(spill) => spill.write(&batch).await,
            None => Ok(()),
        }
    }

    /// The parts of the load.
    pub(crate) async fn buckets(&mut self) -> Result<Vec<Bucket>> {
        if let Some(spill) = self.spill.take() {
            self.spilled.extend(spill.finish().await?);
        }
        if self.spilled.is_empty() {
            return Ok(vec![Bucket {
                number: 0,
                of: 1,
                rows: Rows::Memory(self.batches.clone()),
            }]);
        }
        // Every part means another look at the table's keys, so there are no more than memory asks for.
        let parts = match self.spilled_bytes.div_ceil(self.held_max) {
            parts @ 0..=MIXED_PARTS_MAX => parts.max(1),
            _ => SPILL_BUCKETS,
        };
        let buckets = (0..parts).map(|number| {
            let is_of = |file: &&DataFile| bucket_of(file).is_some_and(|bucket| bucket % parts == number);
            let mut files: Vec<DataFile> = self.spilled.iter().filter(is_of).cloned().collect();
            files.sort_by(|a, b| age(a).cmp(age(b)));
            Bucket {
                number,
                of: parts,
                rows: Rows::Files(self.place.store.clone(), files),
            }
        });
        Ok(buckets.collect())
    }

    /// Removes what was spilled.
    pub(crate) async fn clear(self) {
        crate::table::file_writer::discard(&self.place.store, &self.spilled)
            .boxed()
            .await;
    }
}

impl Bucket {
    /// Whether a key of this hash belongs into this part.
    pub(crate) fn takes(&self, hash: u64) -> bool {
        hash % SPILL_BUCKETS % self.of == self.number
    }

    pub(crate) fn is_only(&self) -> bool {
        self.of == 1
    }

    /// All rows of the part with the columns of `schema`, in the batches that they came in.
    pub(crate) async fn batches(&self, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        match &self.rows {
            Rows::Memory(batches) => batches.iter().map(|batch| adapt(batch, schema)).collect(),
            Rows::Files(store, files) => {
                let rows = scan::read_all(store.clone(), files.clone(), schema.clone());
                rows.try_collect().await
            }
        }
    }

    /// The same as one batch.
    pub(crate) async fn load(&self, schema: &SchemaRef) -> Result<RecordBatch> {
        joined(&self.batches(schema).await?, schema)
    }
}

/// What the rows take themselves. Room that was left for more of them counts for nothing: where it could
/// not be given back, nobody touched it.
fn used_bytes(batch: &RecordBatch) -> u64 {
    let columns = batch.columns().iter();
    let bytes = columns.map(|column| match column.to_data().get_slice_memory_size() {
        Ok(bytes) => bytes,
        Err(_) => column.get_array_memory_size(),
    });
    bytes.sum::<usize>() as u64
}

/// The rows without the room that was left for more of them: they may wait for long.
fn without_slack(batch: RecordBatch) -> Result<RecordBatch> {
    let (schema, mut columns, rows) = batch.into_parts();
    columns.iter_mut().for_each(Array::shrink_to_fit);
    whole(schema, columns, rows)
}

/// One batch of all rows, of the columns of `schema` alone.
pub(super) fn joined(batches: &[RecordBatch], schema: &SchemaRef) -> Result<RecordBatch> {
    let parts = batches
        .iter()
        .map(|batch| adapt(batch, schema))
        .collect::<Result<Vec<_>>>()?;
    concat_batches(schema, &parts).map_err(unfit)
}

fn whole(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(unfit)
}

fn bucket_of(file: &DataFile) -> Option<u64> {
    file.partition.get(BUCKET)?.as_ref()?.parse().ok()
}

/// File names ascend with the time of their writing; the log lists them in any order.
fn age(file: &DataFile) -> &str {
    file.path.rsplit('/').next().unwrap_or_default()
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::internal("waiting rows do not fit together")
        .hint("report this defect with the stream's schema")
        .caused_by(error)
}
