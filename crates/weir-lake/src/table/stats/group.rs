//! Statistics of row groups that are taken over from another file: their footer says them.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use parquet::file::statistics::Statistics;

use super::{Gather, Range, place};
use crate::table::original::Original;

impl Gather {
    /// The same with a row group's rows; none where its footer does not say enough.
    pub(crate) fn with_group(&self, schema: &Schema, original: &Original, group: usize) -> Option<Self> {
        let mut all = self.clone();
        all.begin(schema);
        let group = original.group(group);
        for column in all.columns.iter_mut().filter(|column| !column.nested) {
            let chunk = group.column(place(&original.footer, &column.name)?);
            let found = chunk.statistics()?;
            let nulls = found.null_count_opt()?;
            column.nulls += nulls;
            let is_empty = u64::try_from(chunk.num_values()) == Ok(nulls);
            if column.is_text || column.unordered || is_empty {
                continue;
            }
            // A footer passes over values without an order: that there are none, the log says.
            let is_bounded = original.has_bounds(&column.name);
            let kind = schema.field_with_name(&column.name).ok()?.data_type();
            column.join(range(found, kind).filter(|_| is_bounded));
        }
        all.rows += u64::try_from(group.num_rows()).ok()?;
        Some(all)
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
