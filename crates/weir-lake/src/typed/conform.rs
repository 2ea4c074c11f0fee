//! Rows of an older schema in the shape of a newer one.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Fields, SchemaRef};
use weir_protocol::{Error, Result};

use super::column::broken;
use super::exact::{is_beyond_double, rounds};

/// Gives `batch` the schema `to`: columns it lacks are null (nested ones too), widened ones are
/// cast, columns that `to` does not have are left out. Fails where a value has no place in the wider
/// type, as an integer that a double would round.
pub fn conform(batch: &RecordBatch, to: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == to {
        return Ok(batch.clone());
    }
    let rows = batch.num_rows();
    let from = batch.schema_ref().fields();
    let columns = fit_columns(from, batch.columns(), to.fields(), rows)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(to), columns, &options).map_err(|error| broken(&error))
}

fn fit_columns(from: &Fields, columns: &[ArrayRef], to: &Fields, rows: usize) -> Result<Vec<ArrayRef>> {
    to.iter()
        .map(|field| match from.find(field.name()) {
            Some((index, _)) => fit(&columns[index], field),
            None => Ok(new_null_array(field.data_type(), rows)),
        })
        .collect()
}

fn fit(array: &ArrayRef, to: &FieldRef) -> Result<ArrayRef> {
    if array.data_type() == to.data_type() {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), to.data_type()) {
        (DataType::Struct(from), DataType::Struct(fields)) => {
            let values = array.as_struct();
            let columns = fit_columns(from, values.columns(), fields, values.len())?;
            let nulls = values.nulls().cloned();
            let fitted = StructArray::try_new_with_length(fields.clone(), columns, nulls, values.len());
            Ok(Arc::new(fitted.map_err(|error| broken(&error))?))
        }
        (DataType::List(_), DataType::List(item)) => {
            let list: &ListArray = array.as_list();
            let values = fit(list.values(), item)?;
            let offsets = list.offsets().clone();
            let fitted = ListArray::try_new(Arc::clone(item), offsets, values, list.nulls().cloned());
            Ok(Arc::new(fitted.map_err(|error| broken(&error))?))
        }
        (_, DataType::Float64) if is_beyond_double(array) => Err(rounds(to.name())),
        (from, wider) => {
            let strict = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(array, wider, &strict).map_err(|error| {
                Error::schema(format!(
                    "column '{}' of type {from} cannot become {wider}",
                    to.name()
                ))
                .caused_by(error.to_string())
                .hint("rebuild the table with `weir lake rebuild`")
            })
        }
    }
}
