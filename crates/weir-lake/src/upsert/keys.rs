//! How rows of a table are told apart and which of two is newer.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use weir_protocol::{Error, Result};

use super::order::{Cursor, Order};
use crate::table::columns::{CURSOR, EMITTED_AT};

/// The key and the cursor of a table's rows, by path.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    key: Vec<String>,
    /// None where rows have no cursor: then later emitted is newer.
    cursor: Option<String>,
}

impl Keys {
    pub(crate) fn new(key: Vec<String>, cursor: Option<String>) -> Self {
        Self { key, cursor }
    }

    /// The same, where also the cursor tells rows apart (append: each version is a row).
    pub(crate) fn versions(&self) -> Self {
        let mut key = self.key.clone();
        if self.cursor.is_some() {
            key.push(CURSOR.to_owned());
        }
        Self {
            key,
            cursor: self.cursor.clone(),
        }
    }

    pub(crate) fn paths(&self) -> &[String] {
        &self.key
    }

    /// The top-level columns that must be read to know key and cursor.
    pub(crate) fn roots(&self, schema: &Schema) -> Vec<String> {
        let paths = self.key.iter().chain(self.cursor.as_ref());
        let mut roots: Vec<String> = paths.filter_map(|path| root(schema, path)).collect();
        roots.extend([CURSOR.to_owned(), EMITTED_AT.to_owned()]);
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// The top-level columns by which cursors are compared: the field's own, or its text where that has no order.
    pub(crate) fn cursor_roots(&self, schema: &Schema) -> Vec<String> {
        let Some(path) = &self.cursor else {
            return Vec::new();
        };
        let is_plain = kind(schema, path).is_some_and(|kind| !kind.is_nested());
        let own = root(schema, path).filter(|_| is_plain);
        vec![own.unwrap_or_else(|| CURSOR.to_owned())]
    }

    /// The top-level columns that hold the key alone.
    pub(crate) fn key_roots(&self, schema: &Schema) -> Vec<String> {
        self.key.iter().filter_map(|path| root(schema, path)).collect()
    }

    pub(crate) fn key_columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let columns = self.key.iter().map(|path| {
            column(batch, path).ok_or_else(|| {
                Error::schema(format!("the primary key '{path}' is no column of the stream"))
                    .hint("correct primary_key in the stream, or choose a mode without key")
            })
        });
        columns.collect()
    }

    /// The keys as comparable bytes.
    pub(crate) fn keys(&self, batch: &RecordBatch) -> Result<Rows> {
        encode(&self.key_columns(batch)?)
    }

    /// What orders rows by their cursor; none where there is no cursor.
    fn cursor_of(&self, batch: &RecordBatch) -> Result<Option<Cursor>> {
        let Some(path) = &self.cursor else {
            return Ok(None);
        };
        if let Some(array) = column(batch, path).filter(|array| !array.data_type().is_nested()) {
            return Ok(Some(Cursor::of_column(&array)));
        }
        batch.column_by_name(CURSOR).map(Cursor::of_json).transpose()
    }

    /// The timestamp that a row's version is valid from, where its cursor is one.
    pub(crate) fn cursor_time(&self, batch: &RecordBatch) -> Option<ArrayRef> {
        let array = column(batch, self.cursor.as_ref()?)?;
        matches!(array.data_type(), DataType::Timestamp(..)).then_some(array)
    }

    /// The rows by cursor, then by time of emission.
    pub(crate) fn order(&self, batch: &RecordBatch) -> Result<Order> {
        let emitted = batch.column_by_name(EMITTED_AT);
        let rest = emitted.map(std::slice::from_ref).unwrap_or_default();
        Order::new(self.cursor_of(batch)?, rest, batch.num_rows())
    }

    /// The rows by cursor alone; none where there is no cursor.
    pub(crate) fn cursors(&self, batch: &RecordBatch) -> Result<Option<Order>> {
        let cursor = self.cursor_of(batch)?;
        cursor
            .map(|cursor| Order::new(Some(cursor), &[], batch.num_rows()))
            .transpose()
    }

    /// A number that equal keys share, also when a key's column was widened in between.
    pub(crate) fn hashes(&self, batch: &RecordBatch) -> Result<Vec<u64>> {
        let columns = self
            .key_columns(batch)?
            .iter()
            .map(|array| match array.data_type() {
                kind if kind.is_integer() => cast(array, &DataType::Float64).map_err(unordered),
                DataType::Date32 => cast(array, &crate::table::columns::timestamp()).map_err(unordered),
                _ => Ok(array.clone()),
            })
            .collect::<Result<Vec<_>>>()?;
        let rows = encode(&columns)?;
        // Told apart within one process only.
        let seed = foldhash::quality::FixedState::with_seed(0);
        let hash = |bytes: &[u8]| {
            let mut hasher = seed.build_hasher();
            hasher.write(bytes);
            hasher.finish()
        };
        Ok(rows.iter().map(|row| hash(row.data())).collect())
    }
}

pub(crate) fn encode(columns: &[ArrayRef]) -> Result<Rows> {
    let fields = columns
        .iter()
        .map(|array| SortField::new(array.data_type().clone()))
        .collect();
    let converter = RowConverter::new(fields).map_err(unordered)?;
    converter.convert_columns(columns).map_err(unordered)
}

/// As [`encode`], also for no columns at all.
pub(super) fn encode_with_rows(columns: &[ArrayRef], rows: usize) -> Result<Rows> {
    if columns.is_empty() {
        let nulls = arrow::array::new_null_array(&DataType::Boolean, rows);
        return encode(&[nulls]);
    }
    encode(columns)
}

fn root(schema: &Schema, path: &str) -> Option<String> {
    if schema.column_with_name(path).is_some() {
        return Some(path.to_owned());
    }
    let first = path.split('.').next()?;
    schema.column_with_name(first).map(|_| first.to_owned())
}

/// What [`column`] would find.
fn kind<'a>(schema: &'a Schema, path: &str) -> Option<&'a DataType> {
    if let Ok(field) = schema.field_with_name(path) {
        return Some(field.data_type());
    }
    let mut parts = path.split('.');
    let mut kind = schema.field_with_name(parts.next()?).ok()?.data_type();
    for part in parts {
        let DataType::Struct(fields) = kind else {
            return None;
        };
        kind = fields.find(part)?.1.data_type();
    }
    Some(kind)
}

/// A column by name, or by the path of names through structs.
pub(crate) fn column(batch: &RecordBatch, path: &str) -> Option<ArrayRef> {
    if let Some(array) = batch.column_by_name(path) {
        return Some(array.clone());
    }
    let mut parts = path.split('.');
    let mut array = batch.column_by_name(parts.next()?)?.clone();
    for part in parts {
        let DataType::Struct(_) = array.data_type() else {
            return None;
        };
        let child = array.as_struct().column_by_name(part)?.clone();
        // A null struct makes its fields null.
        array = match array.nulls() {
            None => child,
            Some(nulls) => mask(&child, nulls)?,
        };
    }
    Some(array)
}

fn mask(child: &ArrayRef, nulls: &arrow::buffer::NullBuffer) -> Option<ArrayRef> {
    let valid = arrow::array::BooleanArray::new(nulls.inner().clone(), None);
    let invalid = arrow::compute::not(&valid).ok()?;
    arrow::compute::nullif(child, &invalid).ok()
}

/// The part of `schema` with the named columns.
pub(crate) fn project(schema: &Schema, names: &[String]) -> SchemaRef {
    let fields: Vec<Arc<Field>> = schema
        .fields()
        .iter()
        .filter(|field| names.contains(field.name()))
        .cloned()
        .collect();
    Arc::new(Schema::new(fields))
}

pub(super) fn unordered(error: arrow::error::ArrowError) -> Error {
    Error::schema("key or cursor values cannot be compared")
        .hint("choose a primary key and a cursor of plain types")
        .caused_by(error)
}
