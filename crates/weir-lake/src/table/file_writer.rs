//! Rows into Parquet files of a table's folder: streamed, rolled at a size, with statistics. The
//! files belong to no version until a commit adds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use weir_protocol::{Error, Result};

use super::adapt::adapt;
use super::encoding::properties;
use super::exchange::Exchange;
use super::original::Original;
use super::parquet_writer::ParquetWriter;
use super::partition::{self, Values};
use super::stats::Gather;
use super::{DataFile, Table, deletion, now_ms};

/// A file is closed when it has grown to this.
pub(crate) const FILE_BYTES_TARGET: u64 = 64 << 20;
/// Rows are held back until there are so many bytes of them: a file that stays below is small.
const SMALL_BYTES_MAX: usize = 256 << 10;
/// A file is put in parts of this size, the smallest that object stores take, and so many of them
/// may be on their way: they stand in memory.
const PART_BYTES: usize = 5 << 20;
const PARTS_AT_ONCE: usize = 4;

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

    /// The columns that stand in the files: a partition's are in the log.
    fn file_schema(&self) -> SchemaRef {
        if self.partitions.is_empty() {
            return self.schema.clone();
        }
        let fields = self.schema.fields().iter();
        let fields = fields.filter(|field| !self.partitions.contains(field.name()));
        Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
    }
}

struct OpenFile {
    path: String,
    values: Values,
    rows: Rows,
    gather: Gather,
}

/// Where the rows of an open file are.
enum Rows {
    /// In memory still, so many bytes.
    Held(Vec<RecordBatch>, usize),
    Written(Box<ParquetWriter>),
}

impl OpenFile {
    fn new(layout: &Layout, values: Values) -> Self {
        let path = format!(
            "{}{}part-{}.parquet",
            layout.below,
            partition::folder(&values),
            uuid::Uuid::now_v7().simple()
        );
        Self {
            path,
            values,
            rows: Rows::Held(Vec::new(), 0),
            gather: Gather::default(),
        }
    }

    fn memory_size(&self) -> usize {
        match &self.rows {
            Rows::Held(_, bytes) => *bytes,
            Rows::Written(writer) => writer.memory_size(),
        }
    }

    fn bytes_written(&self) -> u64 {
        match &self.rows {
            Rows::Held(..) => 0,
            Rows::Written(writer) => writer.bytes_written(),
        }
    }

    async fn write(&mut self, layout: &Layout, part: &RecordBatch) -> Result<()> {
        if layout.purpose == Purpose::Table {
            self.gather.add(part);
        } else {
            self.gather.count(part);
        }
        match &mut self.rows {
            Rows::Held(batches, bytes) => {
                batches.push(part.clone());
                *bytes += part.get_array_memory_size();
                if *bytes > SMALL_BYTES_MAX {
                    self.writer(layout, Size::Any).await?;
                }
            }
            Rows::Written(writer) => {
                let written = writer.write(part).await;
                written.map_err(|error| failed(&self.path, error))?;
            }
        }
        Ok(())
    }

    /// Takes a row group of a file with the same partition over as it stands; false where it cannot.
    async fn take_over(&mut self, layout: &Layout, original: &Original, group: usize) -> Result<bool> {
        let path = self.path.clone();
        let writer = self.writer(layout, Size::Any).await?;
        let theirs = original.footer.file_metadata().schema_descr();
        if theirs.root_schema() != writer.columns().root_schema() {
            return Ok(false);
        }
        let Some(gather) = self.gather.with_group(&layout.file_schema(), original, group) else {
            return Ok(false);
        };
        self.gather = gather;
        let taken = original.take(group).await?;
        let written = self.writer(layout, Size::Any).await?.take_over(taken).await;
        written.map_err(|error| failed(&path, error))?;
        Ok(true)
    }

    /// Takes a row group over with `rows` in the `places` of some of its own; false where it cannot.
    async fn exchange(
        &mut self,
        layout: &Layout,
        (original, group): (&Original, usize),
        places: &[u32],
        rows: &RecordBatch,
    ) -> Result<bool> {
        let path = self.path.clone();
        let theirs = original.footer.file_metadata().schema_descr();
        let writer = self.writer(layout, Size::Any).await?;
        if theirs.root_schema() != writer.columns().root_schema() {
            return Ok(false);
        }
        let taken = original.take(group).await?;
        let Rows::Written(writer) = &mut self.rows else {
            return Ok(false);
        };
        let exchange = Exchange {
            original,
            group,
            places,
            rows,
            gather: &mut self.gather,
        };
        let written = writer.exchange(taken, exchange).await;
        written.map_err(|error| failed(&path, error))?;
        Ok(true)
    }

    /// The file's writer; rows that were held back are written first.
    async fn writer(&mut self, layout: &Layout, size: Size) -> Result<&mut ParquetWriter> {
        let path = &self.path;
        if let Rows::Held(batches, _) = &mut self.rows {
            let batches = std::mem::take(batches);
            let schema = match batches.first() {
                Some(batch) => batch.schema(),
                None => layout.file_schema(),
            };
            let sink = BufWriter::with_capacity(layout.store.clone(), Path::from(path.as_str()), PART_BYTES)
                .with_max_concurrency(PARTS_AT_ONCE);
            let properties = properties(layout.purpose, size, &schema, &batches);
            let writer = ParquetWriter::new(sink, schema, properties);
            let mut writer = writer.map_err(|error| failed(path, error))?;
            for batch in batches {
                writer.write(&batch).await.map_err(|error| failed(path, error))?;
            }
            self.rows = Rows::Written(Box::new(writer));
        }
        match &mut self.rows {
            Rows::Written(writer) => Ok(writer),
            Rows::Held(..) => Err(Error::internal("a data file was not begun").hint("report this defect")),
        }
    }

    /// Ends the row group that is being filled.
    async fn flush(&mut self) -> Result<()> {
        if let Rows::Written(writer) = &mut self.rows {
            let flushed = writer.flush().await;
            flushed.map_err(|error| failed(&self.path, error))?;
        }
        Ok(())
    }

    async fn close(mut self, layout: &Layout) -> Result<DataFile> {
        let writer = self.writer(layout, Size::Small).await?;
        let finished = writer.finish().await;
        let size = writer.bytes_written();
        let footer = finished.map_err(|error| failed(&self.path, error))?;
        let is_kept = layout.purpose == Purpose::Table;
        Ok(DataFile {
            size,
            rows: self.gather.rows(),
            stats: is_kept.then(|| self.gather.to_json(&footer)),
            partition: self.values,
            path: self.path,
            modified_ms: now_ms(),
            deletion_vector: None,
        })
    }
}

/// How much a file is known to hold when it is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Any,
    /// All rows are there, and they are few.
    Small,
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
        let layout = &self.layout;
        let file = self.open.entry(values.clone());
        let file = file.or_insert_with(|| OpenFile::new(layout, values.clone()));
        file.write(layout, part).await?;
        self.end_if_full(&values).await
    }

    /// Takes a row group of a data file over without decoding it; false where its rows must be
    /// written as others are.
    pub(crate) async fn take_over(&mut self, original: &Original, group: usize) -> Result<bool> {
        if !original.is_worth_taking(group) {
            return Ok(false);
        }
        let (layout, values) = (&self.layout, &original.file.partition);
        let file = self.open.entry(values.clone());
        let file = file.or_insert_with(|| OpenFile::new(layout, values.clone()));
        let is_taken = file.take_over(layout, original, group).await?;
        self.end_if_full(values).await?;
        Ok(is_taken)
    }

    /// Takes a row group over in which `rows` come in the place of those at `places`, which ascend;
    /// false where all of them must be written as others are.
    pub(crate) async fn exchange(
        &mut self,
        original: &Original,
        group: usize,
        places: &[u32],
        rows: &RecordBatch,
    ) -> Result<bool> {
        if !original.is_worth_taking(group) {
            return Ok(false);
        }
        let (layout, values) = (&self.layout, &original.file.partition);
        let rows = adapt(rows, &layout.schema)?;
        let mut parts = partition::split(&rows, &layout.partitions)?.into_iter();
        let (Some((theirs, rows)), None) = (parts.next(), parts.next()) else {
            return Ok(false);
        };
        if theirs != *values {
            return Ok(false);
        }
        let file = self.open.entry(values.clone());
        let file = file.or_insert_with(|| OpenFile::new(layout, values.clone()));
        let is_taken = file.exchange(layout, (original, group), places, &rows).await?;
        self.end_if_full(values).await?;
        Ok(is_taken)
    }

    async fn end_if_full(&mut self, values: &Values) -> Result<()> {
        let size = self.open.get(values).map_or(0, OpenFile::bytes_written);
        if size >= FILE_BYTES_TARGET {
            self.close(values).await?;
        }
        Ok(())
    }

    async fn keep_within_memory(&mut self) -> Result<()> {
        loop {
            let held: usize = self.open.values().map(OpenFile::memory_size).sum();
            if held <= self.memory_bytes_max {
                return Ok(());
            }
            let largest = self.open.iter().max_by_key(|(_, file)| file.memory_size());
            let Some(values) = largest.map(|(values, _)| values.clone()) else {
                return Ok(());
            };
            if self.open.len() == 1 {
                if let Some(file) = self.open.get_mut(&values) {
                    file.flush().await?;
                }
                return Ok(());
            }
            self.close(&values).await?;
        }
    }

    async fn close(&mut self, values: &Values) -> Result<()> {
        if let Some(file) = self.open.remove(values) {
            self.done.push(file.close(&self.layout).await?);
        }
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

/// Removes files that no commit took. One that cannot be removed is left to vacuum.
///
/// Of a file with marked rows the marks alone are what no commit took.
pub(crate) async fn discard(store: &Arc<dyn ObjectStore>, files: &[DataFile]) {
    for file in files {
        let location = match &file.deletion_vector {
            Some(vector) => deletion::path(vector),
            None => Some(file.location()),
        };
        let Some(location) = location else {
            continue;
        };
        match store.delete(&location).await {
            // The marks of several files share an object.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::debug!(%location, %error, "an unused file stays until vacuum"),
        }
    }
}

fn failed(path: &str, error: parquet::errors::ParquetError) -> Error {
    Error::destination(format!("cannot write the data file '{path}'"))
        .hint("check that the lake's location is writable and has room; `weir doctor` tests it")
        .caused_by(error)
}
