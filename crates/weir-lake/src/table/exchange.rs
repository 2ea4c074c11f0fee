//! A row group of a data file with new rows in the place of some of its own. Column by column: one in
//! which the new rows say what the old ones said is taken over as it stands, so that a change of few
//! fields does not cost what the others hold.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::RowGroupMetaData;

use super::adapt::adapt;
use super::original::{Original, Piece};
use super::stats::Gather;

const BATCH_ROWS: usize = 4 << 10;
/// So much of a column is kept in memory while it seems that nothing of it changes.
const HELD_BYTES_MAX: usize = 16 << 20;

/// Rows of one row group and those that come in their place.
pub(super) struct Exchange<'a> {
    pub(super) original: &'a Original,
    pub(super) group: usize,
    /// Places in the row group, which ascend.
    pub(super) places: &'a [u32],
    /// A row for each place, with the columns of the file.
    pub(super) rows: &'a RecordBatch,
    pub(super) gather: &'a mut Gather,
}

/// A column that is written anew, or not yet.
struct Rewritten {
    field: FieldRef,
    leaves: Vec<ArrowColumnWriter>,
    /// Values that were the same so far.
    held: Vec<ArrayRef>,
    held_bytes: usize,
    is_changed: bool,
}

impl Exchange<'_> {
    /// The row group as it stands in its file.
    pub(super) fn before(&self) -> &RowGroupMetaData {
        self.original.group(self.group)
    }

    /// Counts the rows of the group; its columns follow.
    pub(super) fn begin(&mut self) {
        self.gather
            .begin_group(self.rows.schema_ref(), self.original, self.group);
    }

    /// The chunks of a top-level column, or none where those that stand in the file are as they should be.
    pub(super) fn column(
        &mut self,
        index: usize,
        bytes: &Piece,
        leaves: Vec<ArrowColumnWriter>,
    ) -> Result<Option<Vec<ArrowColumnChunk>>> {
        let schema = self.rows.schema();
        let field = schema.fields()[index].clone();
        let values = self.rows.column(index).clone();
        let mut column = Rewritten {
            field,
            leaves,
            held: Vec::new(),
            held_bytes: 0,
            is_changed: false,
        };
        let mut places = self.places;
        let mut start = 0;
        for old in self.read(index, &column.field, bytes)? {
            let old = old?;
            let end = start + u32::try_from(old.len()).unwrap_or(u32::MAX);
            let count = places.partition_point(|place| *place < end);
            let (here, later) = places.split_at(count);
            let new = values.slice(self.places.len() - places.len(), count);
            let here: Vec<u32> = here.iter().map(|place| place - start).collect();
            column.push(old, &new, here, |array| self.gather.add_values(index, array))?;
            (places, start) = (later, end);
        }
        if !column.is_changed && self.gather.add_chunk(index, &schema, self.original, self.group) {
            return Ok(None);
        }
        column.flush(|array| self.gather.add_values(index, array))?;
        let chunks = column.leaves.into_iter().map(ArrowColumnWriter::close);
        chunks.collect::<Result<Vec<_>>>().map(Some)
    }

    /// The column's values in the file, with the type that it has in the table.
    fn read(
        &self,
        index: usize,
        field: &FieldRef,
        bytes: &Piece,
    ) -> Result<impl Iterator<Item = Result<ArrayRef>> + use<>> {
        let columns = self.original.footer.file_metadata().schema_descr();
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), self.original.metadata())
                .with_projection(ProjectionMask::roots(columns, [index]))
                .with_row_groups(vec![self.group])
                .with_batch_size(BATCH_ROWS)
                .build()?;
        let schema: SchemaRef = Arc::new(Schema::new(vec![field.clone()]));
        Ok(reader.map(move |batch| {
            let batch = adapt(&batch?, &schema).map_err(|error| ParquetError::External(Box::new(error)))?;
            Ok(batch.column(0).clone())
        }))
    }
}

impl Rewritten {
    /// Takes in the next values, with `new` in the place of those `at`.
    fn push(
        &mut self,
        old: ArrayRef,
        new: &ArrayRef,
        at: Vec<u32>,
        tell: impl FnMut(&ArrayRef),
    ) -> Result<()> {
        let given = UInt32Array::from(at);
        if !self.is_changed {
            self.is_changed = take(&old, &given, None)?.as_ref() != new.as_ref();
        }
        self.held_bytes += old.get_array_memory_size();
        self.held
            .push(exchanged(old, new, given.values(), self.is_changed)?);
        if self.is_changed || self.held_bytes > HELD_BYTES_MAX {
            self.is_changed = true;
            self.flush(tell)?;
        }
        Ok(())
    }

    /// Writes what is held.
    fn flush(&mut self, mut tell: impl FnMut(&ArrayRef)) -> Result<()> {
        self.held_bytes = 0;
        for array in std::mem::take(&mut self.held) {
            tell(&array);
            let leaves = compute_leaves(&self.field, &array)?;
            for (writer, leaf) in self.leaves.iter_mut().zip(leaves) {
                writer.write(&leaf)?;
            }
        }
        Ok(())
    }
}

fn exchanged(old: ArrayRef, new: &ArrayRef, at: &[u32], is_changed: bool) -> Result<ArrayRef> {
    if !is_changed || at.is_empty() {
        return Ok(old);
    }
    let mut from: Vec<(usize, usize)> = (0..old.len()).map(|row| (0, row)).collect();
    for (row, place) in at.iter().enumerate() {
        from[*place as usize] = (1, row);
    }
    Ok(interleave(&[&old, new], &from)?)
}
