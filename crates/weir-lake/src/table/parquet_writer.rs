//! A Parquet file that is written row group by row group: from batches of rows, or taken over from
//! another file as it stands there, without being decoded.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use object_store::buffered::BufWriter;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;
use tokio::io::AsyncWriteExt;

use super::column_writers::ColumnWriters;
use super::exchange::Exchange;
use super::original::RowGroup;

/// A row group is what a change in one place writes anew, and what readers divide among their threads.
pub(super) const GROUP_ROWS_MAX: usize = 64 << 10;
const GROUP_BYTES_MAX: usize = 16 << 20;

pub(super) struct ParquetWriter {
    sink: BufWriter,
    file: SerializedFileWriter<Vec<u8>>,
    writers: ColumnWriters,
    schema: SchemaRef,
    /// The row group that is being filled; empty between two.
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl ParquetWriter {
    pub(super) fn new(sink: BufWriter, schema: SchemaRef, properties: WriterProperties) -> Result<Self> {
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        let (file, _) = writer.into_serialized_writer()?;
        Ok(Self {
            sink,
            writers: ColumnWriters::new(&file, schema.clone()),
            file,
            schema,
            columns: Vec::new(),
            rows: 0,
        })
    }

    pub(super) fn columns(&self) -> &SchemaDescriptor {
        self.file.schema_descr()
    }

    /// What the row group that is being filled takes.
    pub(super) fn memory_size(&self) -> usize {
        self.columns.iter().map(ArrowColumnWriter::memory_size).sum()
    }

    pub(super) fn bytes_written(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut done = 0;
        while done < batch.num_rows() {
            let rows = (GROUP_ROWS_MAX - self.rows).min(batch.num_rows() - done);
            self.encode(&batch.slice(done, rows))?;
            done += rows;
            if self.rows >= GROUP_ROWS_MAX || self.encoded_size() > GROUP_BYTES_MAX {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn encoded_size(&self) -> usize {
        let sizes = self
            .columns
            .iter()
            .map(ArrowColumnWriter::get_estimated_total_bytes);
        sizes.sum()
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.columns.is_empty() {
            let last = self.file.flushed_row_groups().last();
            self.columns = self.writers.next(&self.file, last)?;
        }
        let mut columns = self.columns.iter_mut();
        for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
            for leaf in compute_leaves(field, array)? {
                let column = columns.next().ok_or_else(too_few)?;
                column.write(&leaf)?;
            }
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// Ends the row group that is being filled.
    pub(super) async fn flush(&mut self) -> Result<()> {
        self.rows = 0;
        let columns = std::mem::take(&mut self.columns);
        if columns.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for column in columns {
            column.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.pass_on().await
    }

    /// Takes a row group over, ahead of the one that is being filled.
    pub(super) async fn take_over(&mut self, taken: RowGroup) -> Result<()> {
        let mut group = self.file.next_row_group()?;
        for chunk in taken.chunks {
            group.append_column(&taken.bytes, chunk)?;
        }
        group.close()?;
        self.pass_on().await
    }

    /// Takes a row group over with some of its rows exchanged, ahead of the one that is being filled.
    pub(super) async fn exchange(&mut self, taken: RowGroup, mut exchange: Exchange<'_>) -> Result<()> {
        let writers = self.writers.next(&self.file, Some(exchange.before()))?;
        let mut writers = writers.into_iter();
        let mut chunks = taken.chunks.into_iter();
        let mut leaves_of = vec![0; self.schema.fields().len()];
        for leaf in 0..self.columns().num_columns() {
            leaves_of[self.columns().get_column_root_idx(leaf)] += 1;
        }
        let mut group = self.file.next_row_group()?;
        exchange.begin();
        for (index, leaves) in leaves_of.into_iter().enumerate() {
            let ours = writers.by_ref().take(leaves).collect();
            let theirs = chunks.by_ref().take(leaves).collect::<Vec<_>>();
            match exchange.column(index, &taken.bytes, ours)? {
                Some(encoded) => {
                    for chunk in encoded {
                        chunk.append_to_row_group(&mut group)?;
                    }
                }
                None => {
                    for chunk in theirs {
                        group.append_column(&taken.bytes, chunk)?;
                    }
                }
            }
        }
        group.close()?;
        self.pass_on().await
    }

    async fn pass_on(&mut self) -> Result<()> {
        let bytes = std::mem::take(self.file.inner_mut());
        let written = self.sink.write_all(&bytes).await;
        written.map_err(|error| ParquetError::External(Box::new(error)))
    }

    pub(super) async fn finish(&mut self) -> Result<ParquetMetaData> {
        self.flush().await?;
        let footer = self.file.finish()?;
        self.pass_on().await?;
        let ended = self.sink.shutdown().await;
        ended.map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(footer)
    }
}

fn too_few() -> ParquetError {
    ParquetError::General("a batch has more columns than its file".to_owned())
}
