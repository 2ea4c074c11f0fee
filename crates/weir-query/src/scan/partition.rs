//! Partition values: text in the log, typed columns in the scan.

use datafusion::arrow::datatypes::{DataType, Fields};
use datafusion::common::ScalarValue;
use weir_protocol::{Error, Result};

use crate::tables::{DataFile, TableName};

/// The file's value for each partition column. The log writes null as null or as empty text.
pub(super) fn values(table: &TableName, file: &DataFile, columns: &Fields) -> Result<Vec<ScalarValue>> {
    columns
        .iter()
        .map(|column| {
            let text = file.partition_values.get(column.name()).cloned().flatten();
            value(text.filter(|text| !text.is_empty()), column.data_type()).map_err(|error| {
                Error::destination(format!(
                    "partition value of column '{}' is not a {}",
                    column.name(),
                    column.data_type()
                ))
                .with("table", table)
                .with("file", &file.path)
                .caused_by(error)
                .hint("the table's log is damaged: `weir lake restore` goes back to an earlier version")
            })
        })
        .collect()
}

fn value(text: Option<String>, kind: &DataType) -> datafusion::error::Result<ScalarValue> {
    match text {
        None => ScalarValue::try_from(kind),
        Some(text) => ScalarValue::Utf8(Some(text)).cast_to(kind),
    }
}
