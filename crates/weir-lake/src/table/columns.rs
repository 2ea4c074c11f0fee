//! The columns that weir itself adds to Silver tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_protocol::{Error, Result};

pub(crate) const EMITTED_AT: &str = "_emitted_at";
pub(crate) const CURSOR: &str = "_cursor";
pub(crate) const RUN: &str = "_run";
pub(crate) const DELETED_AT: &str = "_deleted_at";
pub(crate) const VALID_FROM: &str = "_valid_from";
pub(crate) const VALID_TO: &str = "_valid_to";
pub(crate) const IS_CURRENT: &str = "_is_current";
/// Of a table with child tables: a digest of the row's lists, so that a row whose lists alone
/// changed counts as changed.
pub(crate) const CHILDREN_DIGEST: &str = "_children_digest";

/// Where a row comes from.
pub(crate) const LINEAGE: [&str; 5] = [EMITTED_AT, "_source", "_stream", CURSOR, RUN];

/// Prefixes of partition columns that are derived from another column.
pub(crate) const DERIVED: [&str; 3] = ["_year_", "_month_", "_day_"];

/// Whether the lake adds this column itself.
pub(crate) fn is_own(name: &str) -> bool {
    LINEAGE.contains(&name)
        || [DELETED_AT, VALID_FROM, VALID_TO, IS_CURRENT, CHILDREN_DIGEST].contains(&name)
        || DERIVED.iter().any(|prefix| name.starts_with(prefix))
}

pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub(crate) fn deleted_at() -> Field {
    Field::new(DELETED_AT, timestamp(), true)
}

pub(crate) fn history() -> [Field; 3] {
    [
        Field::new(VALID_FROM, timestamp(), true),
        Field::new(VALID_TO, timestamp(), true),
        Field::new(IS_CURRENT, DataType::Boolean, true),
    ]
}

/// The source's columns alone.
pub(crate) fn data_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .filter(|field| !is_own(field.name()))
        .cloned()
        .collect();
    Arc::new(Schema::new(fields))
}

/// The schema with a field at its end, unless it has one of that name.
pub(crate) fn with(schema: &Schema, fields: impl IntoIterator<Item = Field>) -> SchemaRef {
    let mut all = schema.fields().to_vec();
    for field in fields {
        if schema.column_with_name(field.name()).is_none() {
            all.push(Arc::new(field));
        }
    }
    Arc::new(Schema::new(all))
}

/// The batch with one more column.
pub(crate) fn and(batch: &RecordBatch, name: &str, values: ArrayRef) -> Result<RecordBatch> {
    let field = Field::new(name, values.data_type().clone(), true);
    let mut arrays = batch.columns().to_vec();
    arrays.push(values);
    RecordBatch::try_new(with(batch.schema_ref(), [field]), arrays).map_err(|error| {
        Error::internal("a column cannot be added to rows")
            .hint("report this defect")
            .caused_by(error)
    })
}
