//! The columns that tell since when, until when and whether a row holds.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{cast, take, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use weir_protocol::{Error, Result};

use super::Rule;
use super::keys::Keys;
use crate::table::columns::{self, DELETED_AT, EMITTED_AT, IS_CURRENT, VALID_FROM, VALID_TO};

/// New versions of rows: current, valid from their cursor's time, or else from when they were read.
pub(super) fn begin(batch: &RecordBatch, keys: &Keys) -> Result<RecordBatch> {
    let kind = columns::timestamp();
    let rows = batch.num_rows();
    let emitted = match batch.column_by_name(EMITTED_AT) {
        Some(array) => cast(array, &kind).map_err(unmarked)?,
        None => new_null_array(&kind, rows),
    };
    let from = match keys.cursor_time(batch) {
        Some(cursor) => {
            let cursor = cast(&cursor, &kind).map_err(unmarked)?;
            let known = arrow::compute::is_not_null(&cursor).map_err(unmarked)?;
            arrow::compute::kernels::zip::zip(&known, &cursor, &emitted).map_err(unmarked)?
        }
        None => emitted,
    };
    let batch = set(batch, VALID_FROM, from)?;
    let batch = set(&batch, VALID_TO, new_null_array(&kind, rows))?;
    set(&batch, IS_CURRENT, Arc::new(BooleanArray::from(vec![true; rows])))
}

/// A column of times in microseconds; none where the batch does not have it.
pub(super) fn times(batch: &RecordBatch, name: &str) -> Result<Option<TimestampMicrosecondArray>> {
    let Some(array) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let array = cast(array, &columns::timestamp()).map_err(unmarked)?;
    Ok(Some(array.as_primitive::<TimestampMicrosecondType>().clone()))
}

/// New versions that begin no earlier than the stored ones of their key end: a key that vanished and
/// returns has no version while it was gone, whatever its cursor says.
pub(super) fn after(batch: &RecordBatch, floors: &[Option<i64>]) -> Result<RecordBatch> {
    let Some(from) = times(batch, VALID_FROM)? else {
        return Ok(batch.clone());
    };
    let from = from.iter().zip(floors).map(|(from, floor)| from.max(*floor));
    set(batch, VALID_FROM, instants(from))
}

fn instants(times: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let times: TimestampMicrosecondArray = times.collect();
    Arc::new(times.with_timezone("UTC"))
}

/// Stored rows that a newer version ends: pairs of a row in `stored` and its successor in `incoming`.
pub(super) fn ended(
    stored: &RecordBatch,
    pairs: &[(u32, u32)],
    incoming: &RecordBatch,
) -> Result<RecordBatch> {
    let (old, new): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
    let closed = take_record_batch(stored, &UInt32Array::from(old)).map_err(unmarked)?;
    let until = match incoming.column_by_name(VALID_FROM) {
        Some(from) => take(from, &UInt32Array::from(new), None).map_err(unmarked)?,
        None => new_null_array(&columns::timestamp(), closed.num_rows()),
    };
    close(&closed, until)
}

/// Stored rows whose key the source no longer has.
pub(super) fn vanished(stored: &RecordBatch, rows: &[u32], at: i64, rule: Rule) -> Result<RecordBatch> {
    let gone = take_record_batch(stored, &UInt32Array::from(rows.to_vec())).map_err(unmarked)?;
    let times = TimestampMicrosecondArray::from(vec![at; gone.num_rows()]).with_timezone("UTC");
    match rule {
        Rule::History => close(&gone, Arc::new(times)),
        Rule::Merge | Rule::Late | Rule::Distinct => set(&gone, DELETED_AT, Arc::new(times)),
    }
}

/// Rows whose key the source no longer has, as parents whose children end at that time.
pub(super) fn childless(stored: &RecordBatch, rows: &[u32], at: i64) -> Result<RecordBatch> {
    let gone = take_record_batch(stored, &UInt32Array::from(rows.to_vec())).map_err(unmarked)?;
    let times = TimestampMicrosecondArray::from(vec![at; gone.num_rows()]).with_timezone("UTC");
    let times: ArrayRef = Arc::new(times);
    let gone = set(&gone, DELETED_AT, times.clone())?;
    set(&gone, VALID_FROM, times)
}

/// No version ends before it begins.
fn close(batch: &RecordBatch, until: ArrayRef) -> Result<RecordBatch> {
    let until = cast(&until, &columns::timestamp()).map_err(unmarked)?;
    let until = until.as_primitive::<TimestampMicrosecondType>();
    let until = match times(batch, VALID_FROM)? {
        Some(from) => instants(until.iter().zip(from.iter()).map(|(until, from)| until.max(from))),
        None => Arc::new(until.clone()),
    };
    let batch = set(batch, VALID_TO, until)?;
    let none = BooleanArray::from(vec![false; batch.num_rows()]);
    set(&batch, IS_CURRENT, Arc::new(none))
}

/// The batch with a column's values exchanged; a column that it does not have is left out.
fn set(batch: &RecordBatch, name: &str, values: ArrayRef) -> Result<RecordBatch> {
    let Ok(index) = batch.schema_ref().index_of(name) else {
        return Ok(batch.clone());
    };
    let mut arrays = batch.columns().to_vec();
    arrays[index] = cast(&values, arrays[index].data_type()).map_err(unmarked)?;
    RecordBatch::try_new(batch.schema(), arrays).map_err(unmarked)
}

fn unmarked(error: arrow::error::ArrowError) -> Error {
    Error::internal("the validity of rows cannot be marked")
        .hint("report this defect")
        .caused_by(error)
}
