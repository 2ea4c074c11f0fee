//! Batches of one schema as batches of another: columns by name, missing ones null, types cast.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Fields, SchemaRef};
use weir_protocol::{Error, Result};

use crate::typed::{is_beyond_double, rounds};

/// A batch with exactly the columns of `schema`. A value that the new type cannot hold is an error, and so
/// is an integer that a double would round.
pub(crate) fn adapt(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => array(column, field.data_type(), field.name()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(mismatch)
}

fn array(from: &ArrayRef, to: &DataType, name: &str) -> Result<ArrayRef> {
    if from.data_type() == to {
        return Ok(from.clone());
    }
    match (from.data_type(), to) {
        (DataType::Struct(_), DataType::Struct(fields)) => structs(from.as_struct(), fields),
        (DataType::List(_), DataType::List(field)) => {
            let list = from.as_list::<i32>();
            let values = array(list.values(), field.data_type(), name)?;
            let list = ListArray::try_new(
                field.clone(),
                list.offsets().clone(),
                values,
                list.nulls().cloned(),
            );
            Ok(Arc::new(list.map_err(mismatch)?))
        }
        (_, DataType::Float64) if is_beyond_double(from) => Err(rounds(name)),
        (DataType::Float64, DataType::Int64) => Err(cuts(name)),
        _ => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(from, to, &options).map_err(mismatch)
        }
    }
}

fn structs(from: &StructArray, fields: &Fields) -> Result<ArrayRef> {
    let columns = fields
        .iter()
        .map(|field| match from.column_by_name(field.name()) {
            Some(column) => array(column, field.data_type(), field.name()),
            None => Ok(new_null_array(field.data_type(), from.len())),
        })
        .collect::<Result<Vec<_>>>()?;
    let array = if fields.is_empty() {
        StructArray::new_empty_fields(from.len(), from.nulls().cloned())
    } else {
        StructArray::try_new(fields.clone(), columns, from.nulls().cloned()).map_err(mismatch)?
    };
    Ok(Arc::new(array))
}

fn cuts(name: &str) -> Error {
    Error::schema(format!(
        "column '{name}' holds fractions, which whole numbers would cut off"
    ))
    .with("column", name)
    .hint("rebuild the table from Bronze with `weir lake rebuild`")
}

fn mismatch(error: arrow::error::ArrowError) -> Error {
    Error::schema("stored rows do not fit the table's columns")
        .hint("rebuild the table from Bronze with `weir lake rebuild`")
        .caused_by(error)
}
