//! Rows that another run lands than the one that read them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use weir_protocol::{Error, Result};

use crate::table::columns::RUN;

/// The rows with the run that read them.
pub(crate) fn with_run(rows: &RecordBatch, run: &str) -> Result<RecordBatch> {
    let Ok(index) = rows.schema_ref().index_of(RUN) else {
        return Ok(rows.clone());
    };
    let mut arrays = rows.columns().to_vec();
    arrays[index] = Arc::new(StringArray::from(vec![run; rows.num_rows()])) as ArrayRef;
    RecordBatch::try_new(rows.schema(), arrays).map_err(|error| {
        Error::internal("the run of rows cannot be set")
            .hint("report this defect")
            .caused_by(error)
    })
}
