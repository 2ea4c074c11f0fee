//! Columns: from Arrow to Delta, and from one version to the next.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use weir_protocol::{Error, Result};

pub(crate) fn to_delta(schema: &Schema) -> Result<StructType> {
    schema.try_into_kernel().map_err(|error| {
        Error::schema("a column's type cannot be stored in a Delta table")
            .hint("declare a simpler type in the stream's schema")
            .caused_by(error)
    })
}

/// Columns of `old` with those of `new`: new ones at the end, nested ones in their struct, types
/// of `new` where they differ.
pub(crate) fn merge(old: &Schema, new: &Schema) -> SchemaRef {
    Arc::new(Schema::new(merge_fields(old.fields(), new.fields())))
}

fn merge_fields(old: &Fields, new: &Fields) -> Fields {
    let mut merged: Vec<Arc<Field>> = old
        .iter()
        .map(|field| match find(new, field.name()) {
            // What the typer noted at a field (the record's own name for it) stays with it.
            Some(other) => Arc::new(
                Field::new(
                    field.name(),
                    merge_types(field.data_type(), other.data_type()),
                    true,
                )
                .with_metadata(other.metadata().clone()),
            ),
            None => field.clone(),
        })
        .collect();
    merged.extend(
        new.iter()
            .filter(|field| find(old, field.name()).is_none())
            .cloned(),
    );
    merged.into()
}

fn merge_types(old: &DataType, new: &DataType) -> DataType {
    match (old, new) {
        (DataType::Struct(old), DataType::Struct(new)) => DataType::Struct(merge_fields(old, new)),
        (DataType::List(old), DataType::List(new)) => DataType::List(Arc::new(Field::new(
            old.name(),
            merge_types(old.data_type(), new.data_type()),
            true,
        ))),
        (old, new) if same(old, new) => old.clone(),
        // What was widened stays so, whoever comes with what it was before.
        (DataType::Float64, DataType::Int64) | (DataType::Timestamp(..), DataType::Date32) => old.clone(),
        (_, new) => new.clone(),
    }
}

/// Columns of `new` with those that only `old` has, at every depth, nullable; types are those of `new`.
pub(crate) fn widened(new: &Schema, old: &Schema) -> SchemaRef {
    Arc::new(Schema::new(widen_fields(new.fields(), old.fields())))
}

fn widen_fields(new: &Fields, old: &Fields) -> Fields {
    let mut fields: Vec<Arc<Field>> = new
        .iter()
        .map(|field| match find(old, field.name()) {
            Some(other) => {
                let kind = widen_type(field.data_type(), other.data_type());
                Arc::new(field.as_ref().clone().with_data_type(kind))
            }
            None => field.clone(),
        })
        .collect();
    let gone = old.iter().filter(|field| find(new, field.name()).is_none());
    fields.extend(gone.map(|field| Arc::new(field.as_ref().clone().with_nullable(true))));
    fields.into()
}

fn widen_type(new: &DataType, old: &DataType) -> DataType {
    match (new, old) {
        (DataType::Struct(new), DataType::Struct(old)) => DataType::Struct(widen_fields(new, old)),
        (DataType::List(new), DataType::List(old)) => {
            let kind = widen_type(new.data_type(), old.data_type());
            DataType::List(Arc::new(new.as_ref().clone().with_data_type(kind)))
        }
        (new, _) => new.clone(),
    }
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a Arc<Field>> {
    fields.iter().find(|field| field.name() == name)
}

/// Whether a stored value of the old type must be rewritten to be read as the new one.
pub(crate) fn needs_rewrite(old: &Schema, new: &Schema) -> bool {
    old.fields().iter().any(|field| {
        find(new.fields(), field.name())
            .is_some_and(|other| changes_type(field.data_type(), other.data_type()))
    })
}

fn changes_type(old: &DataType, new: &DataType) -> bool {
    match (old, new) {
        (DataType::Struct(old), DataType::Struct(new)) => old.iter().any(|field| {
            find(new, field.name()).is_some_and(|other| changes_type(field.data_type(), other.data_type()))
        }),
        (DataType::List(old), DataType::List(new)) => changes_type(old.data_type(), new.data_type()),
        (old, new) => !same(old, new),
    }
}

/// Types that are one in Delta: the names of list items and the spelling of UTC do not matter.
fn same(old: &DataType, new: &DataType) -> bool {
    match (old, new) {
        (DataType::Timestamp(a, Some(_)), DataType::Timestamp(b, Some(_))) => a == b,
        (DataType::Utf8 | DataType::LargeUtf8, DataType::Utf8 | DataType::LargeUtf8) => true,
        (old, new) => old == new,
    }
}

/// Whether both have the same columns with the same types, in whatever order.
pub(crate) fn equal(a: &Schema, b: &Schema) -> bool {
    same_fields(a.fields(), b.fields())
}

fn same_fields(a: &Fields, b: &Fields) -> bool {
    a.len() == b.len()
        && a.iter().all(|field| {
            find(b, field.name()).is_some_and(|other| same_nested(field.data_type(), other.data_type()))
        })
}

fn same_nested(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::Struct(a), DataType::Struct(b)) => same_fields(a, b),
        (DataType::List(a), DataType::List(b)) => same_nested(a.data_type(), b.data_type()),
        (a, b) => same(a, b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, kind)| Field::new(*name, kind.clone(), true))
            .collect();
        Schema::new(fields)
    }

    #[test]
    fn new_columns_are_added_at_every_depth_and_types_widen() {
        let inner = DataType::Struct(schema(&[("x", DataType::Int64)]).fields().clone());
        let wider = DataType::Struct(
            schema(&[("y", DataType::Utf8), ("x", DataType::Float64)])
                .fields()
                .clone(),
        );
        let old = schema(&[("id", DataType::Int64), ("s", inner)]);
        let new = schema(&[("s", wider), ("n", DataType::Boolean)]);
        let merged = merge(&old, &new);
        assert_eq!(
            merged
                .fields()
                .iter()
                .map(|f| f.name().as_str())
                .collect::<Vec<_>>(),
            ["id", "s", "n"]
        );
        assert!(needs_rewrite(&old, &merged));
        assert!(!needs_rewrite(&new, &merged));
        assert!(equal(&merged, &merge(&merged, &new)));
        assert!(!equal(&merged, &old));
    }
}
