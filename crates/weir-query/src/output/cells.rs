//! Cells as JSON, and batches as flat columns.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use serde_json::Value;
use weir_protocol::{Error, Result};

use crate::failure::arrow;

/// Reads single cells of a batch as JSON.
pub(crate) struct Cells<'a> {
    columns: Vec<NullableEncoder<'a>>,
    text: Vec<u8>,
}

impl Cells<'_> {
    /// Lends the cells of a batch to `read`.
    pub(crate) fn of<T>(batch: &RecordBatch, read: impl FnOnce(&mut Cells<'_>) -> Result<T>) -> Result<T> {
        let (fields, arrays) = encodable(batch)?;
        let options = EncoderOptions::default().with_explicit_nulls(true);
        let columns = fields
            .iter()
            .zip(&arrays)
            .map(|(field, array)| make_encoder(field, array.as_ref(), &options))
            .collect::<std::result::Result<_, _>>()
            .map_err(arrow)?;
        read(&mut Cells {
            columns,
            text: Vec::new(),
        })
    }

    pub(crate) fn values(&mut self, row: usize) -> Result<Vec<Value>> {
        let text = &mut self.text;
        self.columns
            .iter_mut()
            .map(|column| {
                text.clear();
                encode(column, row, text);
                serde_json::from_slice(text).map_err(|error| {
                    Error::internal("a value does not print as JSON")
                        .caused_by(error)
                        .hint("cast the column to text")
                })
            })
            .collect()
    }

    pub(crate) fn object(&mut self, row: usize, names: &[String], out: &mut Vec<u8>) -> Result<()> {
        out.push(b'{');
        for (index, (column, name)) in self.columns.iter_mut().zip(names).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            serde_json::to_writer(&mut *out, name).map_err(|error| {
                Error::internal("a column's name does not print as JSON")
                    .caused_by(error)
                    .hint("give it an alias")
            })?;
            out.push(b':');
            encode(column, row, out);
        }
        out.push(b'}');
        Ok(())
    }
}

fn encode(column: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    if column.is_null(row) {
        out.extend_from_slice(b"null");
    } else {
        column.encode(row, out);
    }
}

/// Columns that print as JSON: what has no JSON form (an interval) becomes text.
fn encodable(batch: &RecordBatch) -> Result<(Vec<FieldRef>, Vec<ArrayRef>)> {
    let options = EncoderOptions::default();
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(schema.fields().len());
    let mut arrays = Vec::with_capacity(schema.fields().len());
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        let prints = make_encoder(field, array.as_ref(), &options).is_ok();
        if prints {
            fields.push(Arc::clone(field));
            arrays.push(Arc::clone(array));
        } else {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            arrays.push(cast(array, &DataType::Utf8).map_err(arrow)?);
        }
    }
    Ok((fields, arrays))
}

/// The same rows with nested columns as JSON text.
pub(super) fn flat(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = distinct(&batch.schema());
    let mut fields: Vec<FieldRef> = Vec::with_capacity(schema.fields().len());
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() || matches!(field.data_type(), DataType::Interval(_)) {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(as_json(field, array)?);
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(array));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(arrow)
}

fn as_json(field: &FieldRef, array: &ArrayRef) -> Result<ArrayRef> {
    if !field.data_type().is_nested() {
        return cast(array, &DataType::Utf8).map_err(arrow);
    }
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, array.as_ref(), &options).map_err(arrow)?;
    let mut out = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..array.len() {
        if encoder.is_null(row) {
            out.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        out.append_value(String::from_utf8_lossy(&text));
    }
    Ok(Arc::new(out.finish()))
}

/// Names of an answer's columns, the second `id` as `id_2`.
pub(super) fn distinct_names(schema: &Schema) -> Vec<String> {
    let mut taken = HashSet::new();
    schema
        .fields()
        .iter()
        .map(|field| {
            let mut name = field.name().clone();
            let mut number = 2;
            while !taken.insert(name.clone()) {
                name = format!("{}_{number}", field.name());
                number += 1;
            }
            name
        })
        .collect()
}

pub(super) fn distinct(schema: &Schema) -> SchemaRef {
    let names = distinct_names(schema);
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(names)
        .map(|(field, name)| field.as_ref().clone().with_name(name))
        .collect();
    Arc::new(Schema::new(fields))
}
