//! The row groups of a data file as they stand in it, for a file that takes some of them over.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::{Buf, Bytes, buf::Reader};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::DataFile;
use super::object::{ParquetObject, read_range};
use super::parquet_writer::GROUP_ROWS_MAX;

/// Row groups with fewer rows are written anew with others: else many changes would leave many small ones.
const ROWS_MIN: usize = GROUP_ROWS_MAX / 8;
const BYTES_MIN: i64 = 1 << 20;
/// What other programs write of a column's values is not relied on.
const OURS: &str = "weir ";

/// A data file with its footer.
#[derive(Clone)]
pub(crate) struct Original {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) file: DataFile,
    pub(crate) footer: Arc<ParquetMetaData>,
    metadata: ArrowReaderMetadata,
    /// Columns whose smallest and largest value the log knows.
    bounded: BTreeSet<String>,
}

/// One row group as it stands in its file.
pub(super) struct RowGroup {
    pub(super) bytes: Piece,
    /// What the footer and the page index say of each of its columns.
    pub(super) chunks: Vec<ColumnCloseResult>,
}

impl Original {
    pub(crate) async fn open(store: &Arc<dyn ObjectStore>, file: &DataFile) -> Result<Self> {
        let footer = object(store, file)
            .get_metadata(None)
            .await
            .map_err(|error| unread(file, error))?;
        let metadata = ArrowReaderMetadata::try_new(footer.clone(), ArrowReaderOptions::new())
            .map_err(|error| unread(file, error))?;
        Ok(Self {
            store: store.clone(),
            metadata,
            bounded: bounded(file),
            file: file.clone(),
            footer,
        })
    }

    pub(super) fn has_bounds(&self, column: &str) -> bool {
        self.bounded.contains(column)
    }

    /// The same with all rows of the file, gone or not.
    pub(crate) fn whole(&self) -> Self {
        Self {
            file: DataFile {
                deletion_vector: None,
                ..self.file.clone()
            },
            ..self.clone()
        }
    }

    /// The columns that the file itself has.
    pub(crate) fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    /// The places of each row group's rows.
    pub(crate) fn places(&self) -> Vec<Range<u32>> {
        let mut start = 0;
        let places = self.footer.row_groups().iter().map(|group| {
            let end = start + u32::try_from(group.num_rows()).unwrap_or_default();
            std::mem::replace(&mut start, end)..end
        });
        places.collect()
    }

    pub(super) fn group(&self, index: usize) -> &RowGroupMetaData {
        self.footer.row_group(index)
    }

    /// Whether a row group is one that a file of ours may take over.
    pub(super) fn is_worth_taking(&self, index: usize) -> bool {
        let group = self.group(index);
        let is_ours = self.footer.file_metadata().created_by();
        let is_large = group.num_rows() >= ROWS_MIN as i64 || group.compressed_size() >= BYTES_MIN;
        let has_index = self.footer.offset_index().is_some() && self.footer.column_index().is_some();
        is_ours.is_some_and(|by| by.starts_with(OURS)) && is_large && has_index
    }

    pub(super) async fn take(&self, index: usize) -> Result<RowGroup> {
        let group = self.group(index);
        let (start, end) = group.columns().iter().fold((u64::MAX, 0), |(first, end), chunk| {
            let (start, length) = chunk.byte_range();
            (first.min(start), end.max(start + length))
        });
        let bytes = read_range(&self.store, &self.file.location(), start..end).await;
        let bytes = bytes.map_err(|error| unread(&self.file, ParquetError::External(Box::new(error))))?;
        let chunks = group
            .columns()
            .iter()
            .enumerate()
            .map(|(column, chunk)| ColumnCloseResult {
                bytes_written: chunk.byte_range().1,
                rows_written: u64::try_from(group.num_rows()).unwrap_or_default(),
                metadata: chunk.clone(),
                bloom_filter: None,
                column_index: index_of(self.footer.column_index(), index, column),
                offset_index: index_of(self.footer.offset_index(), index, column),
            });
        Ok(RowGroup {
            chunks: chunks.collect(),
            bytes: Piece { start, bytes },
        })
    }

    pub(super) fn object(&self) -> ParquetObject {
        object(&self.store, &self.file)
    }

    /// For a reader of the file's rows, which needs the footer too.
    pub(super) fn metadata(&self) -> ArrowReaderMetadata {
        self.metadata.clone()
    }
}

fn object(store: &Arc<dyn ObjectStore>, file: &DataFile) -> ParquetObject {
    ParquetObject {
        store: store.clone(),
        path: file.location(),
        size: file.size,
    }
}

fn bounded(file: &DataFile) -> BTreeSet<String> {
    let stats: Option<Value> = file
        .stats
        .as_deref()
        .and_then(|stats| serde_json::from_str(stats).ok());
    let bounds = stats.as_ref().and_then(|stats| stats.get("maxValues"));
    let names = bounds.and_then(Value::as_object).into_iter().flat_map(Map::keys);
    names.cloned().collect()
}

fn index_of<T: Clone>(indexes: Option<&Vec<Vec<T>>>, group: usize, column: usize) -> Option<T> {
    indexes?.get(group)?.get(column).cloned()
}

/// A part of a file, read by the places that it has there.
#[derive(Clone)]
pub(super) struct Piece {
    start: u64,
    bytes: Bytes,
}

impl Length for Piece {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Piece {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let length = usize::try_from(self.len().saturating_sub(start)).unwrap_or_default();
        Ok(self.get_bytes(start, length)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let from = start
            .checked_sub(self.start)
            .and_then(|from| usize::try_from(from).ok());
        let range = from.map(|from| from..from + length);
        match range.filter(|range| range.end <= self.bytes.len()) {
            Some(range) => Ok(self.bytes.slice(range)),
            None => Err(ParquetError::EOF(
                "a column lies outside of its row group".to_owned(),
            )),
        }
    }
}

fn unread(file: &DataFile, error: ParquetError) -> Error {
    Error::destination(format!("cannot read the data file '{}'", file.path))
        .hint("if the file is gone, restore it from a backup or run `weir lake rebuild` for this table")
        .caused_by(error)
}
