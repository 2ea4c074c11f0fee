//! Statistics of row groups that are taken over from another file: their footer says them.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use parquet::file::statistics::Statistics;

use super::{Column, Gather, Range, place};
use crate::table::original::Original;

impl Gather {
    /// The same with a row group's rows; none where its footer does not say enough.
    pub(crate) fn with_group(&self, schema: &Schema, original: &Original, group: usize) -> Option<Self> {
        let mut all = self.clone();
        all.begin_group(schema, original, group);
        for index in 0..all.columns.len() {
            if !all.add_chunk(index, schema, original, group) {
                return None;
            }
        }
        Some(all)
    }

    /// Counts a row group's rows; its columns are added one by one.
    pub(crate) fn begin_group(&mut self, schema: &Schema, original: &Original, group: usize) {
        self.begin(schema);
        self.rows += original.group(group).num_rows().unsigned_abs();
    }

    /// Adds values of one column.
    pub(crate) fn add_values(&mut self, index: usize, array: &ArrayRef) {
        if let Some(column) = self.columns.get_mut(index) {
            column.add(array);
        }
    }

    /// Adds a row group's column by its footer; false, and nothing is added, where that does not say enough.
    pub(crate) fn add_chunk(
        &mut self,
        index: usize,
        schema: &Schema,
        original: &Original,
        group: usize,
    ) -> bool {
        match self.columns.get_mut(index) {
            Some(column) if !column.nested => column.join_chunk(schema, original, group).is_some(),
            // Nobody asks for its statistics.
            Some(_) | None => true,
        }
    }
}

impl Column {
    fn join_chunk(&mut self, schema: &Schema, original: &Original, group: usize) -> Option<()> {
        let chunk = original.group(group).column(place(&original.footer, &self.name)?);
        let found = chunk.statistics()?;
        let nulls = found.null_count_opt()?;
        let kind = schema.field_with_name(&self.name).ok()?.data_type();
        self.nulls += nulls;
        let is_empty = u64::try_from(chunk.num_values()) == Ok(nulls);
        if !(self.is_text || self.unordered || is_empty) {
            // A footer passes over values without an order: that there are none, the log says.
            let is_bounded = original.has_bounds(&self.name);
            self.join(range(found, kind).filter(|_| is_bounded));
        }
        Some(())
    }
}

fn range(found: &Statistics, kind: &DataType) -> Option<Range> {
    match (found, kind) {
        (Statistics::Int64(found), DataType::Int64) => Some(Range::Int(*found.min_opt()?, *found.max_opt()?)),
        (Statistics::Int32(found), DataType::Int32) => {
            Some(Range::Int((*found.min_opt()?).into(), (*found.max_opt()?).into()))
        }
        (Statistics::Double(found), DataType::Float64) => {
            Some(Range::Float(*found.min_opt()?, *found.max_opt()?))
        }
        (Statistics::Boolean(found), DataType::Boolean) => {
            Some(Range::Bool(*found.min_opt()?, *found.max_opt()?))
        }
        (Statistics::Int32(found), DataType::Date32) => {
            Some(Range::Date(*found.min_opt()?, *found.max_opt()?))
        }
        (Statistics::Int64(found), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            Some(Range::Time(*found.min_opt()?, *found.max_opt()?))
        }
        _ => None,
    }
}
