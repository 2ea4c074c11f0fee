//! Child tables: an array field's elements as rows of their own, with the keys of their parent.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use weir_protocol::{Error, Result};

use super::column::broken;
use super::kind::{Kind, Member, fields};
use super::lineage::lineage_fields;
use super::naming::column_name;

/// Column of an element that is not an object.
const VALUE: &str = "value";
const INDEX: &str = "_index";
const PARENT: &str = "_parent_";

/// The parent's key columns: each with its name in child tables and its path in the parent.
pub(crate) type ParentKey = (String, Vec<String>);

pub(crate) fn parent_keys(primary_key: &[String]) -> Vec<ParentKey> {
    primary_key
        .iter()
        .map(|path| {
            let fields = super::pii::split_path(path);
            (format!("{PARENT}{}", fields.join("_")), fields)
        })
        .collect()
}

/// The columns of one element: an object's own, or `value`.
pub(crate) fn element_fields(item: &Kind) -> Fields {
    let Kind::Struct(members) = item else {
        let value = Member {
            key: VALUE.to_owned(),
            column: VALUE.to_owned(),
            kind: item.clone(),
        };
        return fields(&[value]);
    };
    // An element's own columns stand beside weir's in the child table, and give way to them.
    let mut named: Vec<Member> = Vec::with_capacity(members.len());
    for member in members {
        let wished = if is_element_column(&member.column) {
            member.column.clone()
        } else {
            format!("element{}", member.column)
        };
        let column = column_name(&wished, &named, false);
        named.push(Member {
            column,
            ..member.clone()
        });
    }
    fields(&named)
}

/// The type of the list that a registered child table stands for.
pub(crate) fn item_kind(members: Vec<Member>) -> Kind {
    match <[Member; 1]>::try_from(members) {
        Ok([only]) if only.column == VALUE => only.kind,
        Ok([only]) => Kind::Struct(vec![only]),
        Err(members) => Kind::Struct(members),
    }
}

/// Whether a column of a child table is an element's own.
pub(crate) fn is_element_column(name: &str) -> bool {
    name != INDEX && !name.starts_with(PARENT) && !lineage_fields().iter().any(|field| field.name() == name)
}

/// The rows of a child table.
pub(crate) fn explode(
    list: &ListArray,
    element: &Fields,
    keys: &[(String, ArrayRef)],
    lineage: &[ArrayRef],
) -> Result<RecordBatch> {
    let mut parents = Vec::with_capacity(list.values().len());
    let mut indexes = Vec::with_capacity(list.values().len());
    let mut items = Vec::with_capacity(list.values().len());
    for row in 0..list.len() {
        if list.is_null(row) {
            continue;
        }
        let start = list.value_offsets()[row];
        for (index, item) in (start..list.value_offsets()[row + 1]).enumerate() {
            parents.push(u32::try_from(row).map_err(|_| too_many())?);
            indexes.push(i64::try_from(index).map_err(|_| too_many())?);
            items.push(u32::try_from(item).map_err(|_| too_many())?);
        }
    }
    let parents = UInt32Array::from(parents);
    let items = UInt32Array::from(items);
    let pick = |array: &ArrayRef, rows: &UInt32Array| take(array, rows, None).map_err(|error| broken(&error));

    let mut fields: Vec<FieldRef> = Vec::new();
    let mut columns = Vec::new();
    for (name, array) in keys {
        fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
        columns.push(pick(array, &parents)?);
    }
    fields.push(Arc::new(Field::new(INDEX, DataType::Int64, true)));
    columns.push(Arc::new(Int64Array::from(indexes)));
    let values = pick(list.values(), &items)?;
    match values.as_struct_opt() {
        Some(values) => columns.extend(masked(values)?),
        None => columns.push(values),
    }
    fields.extend(element.iter().cloned());
    for (field, array) in lineage_fields().iter().zip(lineage) {
        fields.push(Arc::clone(field));
        columns.push(pick(array, &parents)?);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| broken(&error))
}

/// A struct's columns, null wherever the struct itself is.
fn masked(values: &arrow::array::StructArray) -> Result<Vec<ArrayRef>> {
    let Some(nulls) = values.nulls() else {
        return Ok(values.columns().to_vec());
    };
    let absent = arrow::array::BooleanArray::new(!nulls.inner(), None);
    values
        .columns()
        .iter()
        .map(|column| arrow::compute::nullif(column, &absent).map_err(|error| broken(&error)))
        .collect()
}

/// The schema of a child table.
pub(crate) fn schema(element: &Fields, keys: &[(String, DataType)]) -> SchemaRef {
    let mut fields: Vec<FieldRef> = keys
        .iter()
        .map(|(name, data_type)| Arc::new(Field::new(name, data_type.clone(), true)))
        .collect();
    fields.push(Arc::new(Field::new(INDEX, DataType::Int64, true)));
    fields.extend(element.iter().cloned());
    fields.extend(lineage_fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

fn too_many() -> Error {
    Error::limit("a page holds more than 4,294,967,295 elements of one list")
        .hint("ask the source for smaller pages (paginate.size)")
}
