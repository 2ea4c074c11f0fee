//! Rows into Parquet files of a table's folder: streamed, rolled at a size, with statistics. The
//! files belong to no version until a commit adds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::arrow::AsyncArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use weir_protocol::{Error, Result};

use super::adapt::adapt;
use super::partition::{self, Values};
use super::stats::Gather;
use super::{DataFile, Table, now_ms};

/// A file is closed when it has grown to this.
pub(crate) const FILE_BYTES_TARGET: u64 = 64 << 20;
const ROW_GROUP_ROWS_MAX: usize = 128 << 10;
const ROW_GROUP_BYTES_MAX: usize = 16 << 20;

/// Where files go and what they hold.
#[derive(Clone)]
pub(crate) struct Layout {
    /// Rooted at the table's folder.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Folder below the table's, ending in a slash, or empty.
    pub(crate) below: String,
    /// All columns, partition columns included.
    pub(crate) schema: SchemaRef,
    pub(crate) partitions: Vec<String>,
    pub(crate) purpose: Purpose,
}

/// What files are for decides how much work goes into making them small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Kept, and read by others.
    Table,
    /// Read back once, soon.
    Spill,
}

impl Layout {
    pub(crate) fn of(table: &Table, schema: SchemaRef) -> Result<Self> {
        Ok(Self {
            store: table.store(),
            below: String::new(),
            schema,
            partitions: table.partition_columns()?,
            purpose: Purpose::Table,
        })
    }
}

struct OpenFile {
    path: String,
    values: Values,
    writer: AsyncArrowWriter<BufWriter>,
    gather: Gather,
}

pub(crate) struct FileWriter {
    layout: Layout,
    open: BTreeMap<Values, OpenFile>,
    done: Vec<DataFile>,
    /// Bytes of unfinished row groups over all open files.
    memory_bytes_max: usize,
}

impl FileWriter {
    pub(crate) fn new(layout: Layout, memory_bytes_max: u64) -> Self {
        let memory = usize::try_from(memory_bytes_max).unwrap_or(usize::MAX);
        Self {
            layout,
            open: BTreeMap::new(),
            done: Vec::new(),
            memory_bytes_max: memory.max(1 << 20),
        }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.layout.schema
    }

    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = adapt(batch, &self.layout.schema)?;
        for (values, part) in partition::split(&batch, &self.layout.partitions)? {
            self.write_part(values, &part).await?;
        }
        self.keep_within_memory().await
    }

    async fn write_part(&mut self, values: Values, part: &RecordBatch) -> Result<()> {
        let file = match self.open.entry(values.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(start(&self.layout, values.clone(), part)?)
            }
        };
        file.gather.add(part);
        file.writer
            .write(part)
            .await
            .map_err(|error| failed(&file.path, error))?;
        if file.writer.in_progress_size() > ROW_GROUP_BYTES_MAX {
            file.writer
                .flush()
                .await
                .map_err(|error| failed(&file.path, error))?;
        }
        if file.writer.bytes_written() as u64 >= FILE_BYTES_TARGET {
            self.close(&values).await?;
        }
        Ok(())
    }

    async fn keep_within_memory(&mut self) -> Result<()> {
        loop {
            let held: usize = self.open.values().map(|file| file.writer.memory_size()).sum();
            if held <= self.memory_bytes_max {
                return Ok(());
            }
            let largest = self.open.iter().max_by_key(|(_, file)| file.writer.memory_size());
            let Some(values) = largest.map(|(values, _)| values.clone()) else {
                return Ok(());
            };
            if self.open.len() == 1 {
                if let Some(file) = self.open.get_mut(&values) {
                    file.writer
                        .flush()
                        .await
                        .map_err(|error| failed(&file.path, error))?;
                }
                return Ok(());
            }
            self.close(&values).await?;
        }
    }

    async fn close(&mut self, values: &Values) -> Result<()> {
        let Some(mut file) = self.open.remove(values) else {
            return Ok(());
        };
        file.writer
            .finish()
            .await
            .map_err(|error| failed(&file.path, error))?;
        self.done.push(DataFile {
            size: file.writer.bytes_written() as u64,
            rows: file.gather.rows(),
            stats: Some(file.gather.to_json()),
            partition: file.values,
            path: file.path,
            modified_ms: now_ms(),
        });
        Ok(())
    }

    /// Closes all files and hands them over.
    pub(crate) async fn finish(mut self) -> Result<Vec<DataFile>> {
        let open: Vec<_> = self.open.keys().cloned().collect();
        for values in open {
            self.close(&values).await?;
        }
        Ok(self.done)
    }
}

fn start(layout: &Layout, values: Values, part: &RecordBatch) -> Result<OpenFile> {
    let path = format!(
        "{}{}part-{}.parquet",
        layout.below,
        partition::folder(&values),
        uuid::Uuid::now_v7().simple()
    );
    let sink = BufWriter::new(layout.store.clone(), Path::from(path.as_str()));
    let writer = AsyncArrowWriter::try_new(sink, part.schema(), Some(properties(layout.purpose)))
        .map_err(|error| failed(&path, error))?;
    Ok(OpenFile {
        path,
        values,
        writer,
        gather: Gather::default(),
    })
}

fn properties(purpose: Purpose) -> WriterProperties {
    let builder = WriterProperties::builder()
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned());
    let builder = match purpose {
        Purpose::Table => builder
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::Page),
        // A zstd context for each column of each part would take more memory than the rows.
        Purpose::Spill => builder
            .set_compression(Compression::LZ4_RAW)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None),
    };
    builder.build()
}

/// Removes files that no commit took. One that cannot be removed is left to vacuum.
pub(crate) async fn discard(store: &Arc<dyn ObjectStore>, files: &[DataFile]) {
    for file in files {
        if let Err(error) = store.delete(&file.location()).await {
            tracing::debug!(path = file.path, %error, "an unused file stays until vacuum");
        }
    }
}

fn failed(path: &str, error: parquet::errors::ParquetError) -> Error {
    Error::destination(format!("cannot write the data file '{path}'"))
        .hint("check that the lake's location is writable and has room; `weir doctor` tests it")
        .caused_by(error)
}
