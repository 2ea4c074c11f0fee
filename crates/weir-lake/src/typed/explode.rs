//! Child tables: an array field's elements as rows of their own, with the keys of their parent.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::json::LineDelimitedWriter;
use sha2::{Digest, Sha256};
use weir_protocol::{Error, Result};

use super::column::broken;
use super::kind::{self, Kind, Member, fields};
use super::lineage::lineage_fields;
use super::naming::{self, column_name};
use crate::table::columns::{DELETED_AT, IS_CURRENT, VALID_FROM, VALID_TO};
use crate::upsert::keys;

/// Column of an element that is not an object.
const VALUE: &str = "value";
/// Place of an element in its list.
pub(crate) const INDEX: &str = "_index";
const PARENT: &str = "_parent_";
/// Bytes of a digest that are kept: enough that two lists never share one by chance.
const DIGEST_BYTES: usize = 16;

/// Which lists of a stream's rows become child tables, and how.
#[derive(Debug, Clone)]
pub(crate) struct Exploder {
    /// Field and the column that its list waits in.
    lists: Vec<(String, String)>,
    /// Column in the child table and path in the parent.
    keys: Vec<(String, String)>,
}

/// The column of a list until it is exploded.
pub(crate) fn list_column(field: &str) -> String {
    column_name(field, &[], true)
}

impl Exploder {
    /// None where nothing is exploded.
    pub(crate) fn new(explode: &[String], primary_key: &[String]) -> Option<Self> {
        if explode.is_empty() {
            return None;
        }
        let lists = explode.iter().map(|field| (field.clone(), list_column(field)));
        let keys = primary_key.iter().map(|path| {
            let parts = super::pii::split_path(path).join("_");
            (column_name(&format!("{PARENT}{parts}"), &[], false), path.clone())
        });
        Some(Self {
            lists: lists.collect(),
            keys: keys.collect(),
        })
    }

    /// The columns that tell a child row's parent.
    pub(crate) fn parent_columns(&self) -> Vec<String> {
        self.keys.iter().map(|(column, _)| column.clone()).collect()
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().map(|(field, _)| field.as_str())
    }

    /// Refuses a list whose column is not named after its field alone.
    pub(super) fn check_columns<'a>(
        &self,
        stream: &str,
        mut columns: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<()> {
        let other = columns.find(|(key, column)| {
            self.lists
                .iter()
                .any(|(field, list)| field == key && list != column)
        });
        match other {
            None => Ok(()),
            Some((key, _)) => Err(Error::schema(format!(
                "field '{key}' cannot be exploded: another field of the record has the same column name"
            ))
            .with("stream", stream)
            .hint("rename one of the two in the stream's transform, or remove it from explode")),
        }
    }

    /// Exploded fields that are lists in this schema: field and column.
    pub(crate) fn lists<'a>(&'a self, schema: &'a Schema) -> impl Iterator<Item = (&'a str, &'a Field)> {
        self.lists.iter().filter_map(|(name, column)| {
            let field = schema.field_with_name(column).ok()?;
            matches!(field.data_type(), DataType::List(_)).then_some((name.as_str(), field))
        })
    }

    /// The columns of a row without its lists.
    pub(crate) fn parent_schema(&self, schema: &Schema) -> SchemaRef {
        let lists: Vec<&str> = self
            .lists(schema)
            .map(|(_, field)| field.name().as_str())
            .collect();
        let kept: Vec<FieldRef> = schema
            .fields()
            .iter()
            .filter(|field| !lists.contains(&field.name().as_str()))
            .cloned()
            .collect();
        Arc::new(Schema::new(kept))
    }

    /// For each row a digest of its lists as they are typed; null where it has none.
    pub(crate) fn digests(&self, batch: &RecordBatch) -> Result<StringArray> {
        let schema = batch.schema();
        let indices: Vec<usize> = self
            .lists(&schema)
            .filter_map(|(_, field)| schema.index_of(field.name()).ok())
            .collect();
        if indices.is_empty() {
            return Ok(StringArray::from(vec![None::<&str>; batch.num_rows()]));
        }
        let lists = batch.project(&indices).map_err(|error| broken(&error))?;
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer.write(&lists).map_err(|error| broken(&error))?;
        writer.finish().map_err(|error| broken(&error))?;
        let text = writer.into_inner();
        let lines = text.split(|byte| *byte == b'\n').take(batch.num_rows());
        Ok(lines.map(digest).collect())
    }

    /// The rows of the child table of the list in `column`. A row that is marked as deleted has
    /// none. With `marks`, every row of `batch` gives one row without `_index` beside them: it says
    /// that the parent was written, whether it has elements or not.
    pub(crate) fn explode(&self, batch: &RecordBatch, column: &str, marks: bool) -> Result<RecordBatch> {
        let list = batch
            .column_by_name(column)
            .and_then(|array| array.as_list_opt::<i32>())
            .ok_or_else(|| Error::internal("an exploded field is no list").hint("report this defect"))?;
        let field = batch
            .schema_ref()
            .field_with_name(column)
            .map_err(|error| broken(&error))?;
        let mut pick = Pick::default();
        let deleted = batch.column_by_name(DELETED_AT);
        for row in 0..list.len() {
            if marks {
                pick.mark(row)?;
            }
            if list.is_null(row) || deleted.is_some_and(|deleted| deleted.is_valid(row)) {
                continue;
            }
            let (start, end) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
            for (index, item) in (start..end).enumerate() {
                pick.element(row, index, item)?;
            }
        }
        let (parents, indexes, items) = pick.finish();
        let mut fields: Vec<FieldRef> = Vec::new();
        let mut columns = Vec::new();
        for (name, path) in &self.keys {
            let array = keys::column(batch, path).ok_or_else(|| {
                Error::schema(format!("the primary key '{path}' is no column of the stream"))
                    .hint("correct primary_key in the stream, or remove explode")
            })?;
            fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
            columns.push(picked(&array, &parents)?);
        }
        fields.push(Arc::new(Field::new(INDEX, DataType::Int64, true)));
        columns.push(Arc::new(indexes));
        let values = picked(list.values(), &items)?;
        match values.as_struct_opt() {
            Some(values) => columns.extend(masked(values)?),
            None => columns.push(values),
        }
        fields.extend(element_fields(&item_of(field)?).iter().cloned());
        let own = lineage_fields();
        let own = own.iter().map(|field| field.name().as_str());
        for name in own.chain([VALID_FROM, VALID_TO, IS_CURRENT]) {
            if let Ok(index) = batch.schema_ref().index_of(name) {
                fields.push(Arc::new(batch.schema_ref().field(index).clone()));
                columns.push(picked(batch.column(index), &parents)?);
            }
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| broken(&error))
    }
}

/// Which parent, place and item each row of a child table takes.
#[derive(Default)]
struct Pick {
    parents: Vec<u32>,
    indexes: Vec<Option<i64>>,
    items: Vec<Option<u32>>,
}

impl Pick {
    fn mark(&mut self, row: usize) -> Result<()> {
        self.parents.push(u32::try_from(row).map_err(|_| too_many())?);
        self.indexes.push(None);
        self.items.push(None);
        Ok(())
    }

    fn element(&mut self, row: usize, index: usize, item: i32) -> Result<()> {
        self.parents.push(u32::try_from(row).map_err(|_| too_many())?);
        self.indexes
            .push(Some(i64::try_from(index).map_err(|_| too_many())?));
        self.items
            .push(Some(u32::try_from(item).map_err(|_| too_many())?));
        Ok(())
    }

    fn finish(self) -> (UInt32Array, Int64Array, UInt32Array) {
        (self.parents.into(), self.indexes.into(), self.items.into())
    }
}

fn picked(array: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef> {
    take(array, rows, None).map_err(|error| broken(&error))
}

/// The type of a list column's items.
fn item_of(field: &Field) -> Result<Kind> {
    let members = kind::members(&vec![field.clone()].into())?;
    match members.into_iter().next().map(|member| member.kind) {
        Some(Kind::List(item)) => Ok(*item),
        _ => Err(Error::internal("an exploded field is no list").hint("report this defect")),
    }
}

fn digest(line: &[u8]) -> Option<String> {
    if line == b"{}" {
        return None;
    }
    let digest = Sha256::digest(line);
    Some(
        digest[..DIGEST_BYTES]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
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
    !name.starts_with(PARENT) && !naming::RESERVED.contains(&name)
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

fn too_many() -> Error {
    Error::limit("a page holds more than 4,294,967,295 elements of one list")
        .hint("ask the source for smaller pages (paginate.size)")
}
