//! Files written again: without some rows, or with other types.

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use futures::FutureExt;
use futures::TryStreamExt;
use weir_protocol::{Error, Result};

use crate::table::file_writer::FileWriter;
use crate::table::{DataFile, Table, scan};

/// Copies a file but for the rows at these positions, which ascend.
pub(crate) async fn without(
    table: &Table,
    file: &DataFile,
    gone: &[u32],
    writer: &mut FileWriter,
) -> Result<()> {
    let schema = writer.schema().clone();
    let mut rows = scan::read(&table.store(), file, &schema, None).boxed().await?;
    let mut gone = gone.iter().copied().peekable();
    let mut position = 0;
    while let Some(batch) = rows.try_next().await? {
        let mut keep = vec![true; batch.num_rows()];
        while let Some(row) = gone.next_if(|row| (*row as usize) < position + batch.num_rows()) {
            keep[row as usize - position] = false;
        }
        position += batch.num_rows();
        let kept = filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(|error| {
            Error::internal("rows cannot be filtered")
                .hint("report this defect")
                .caused_by(error)
        })?;
        writer.write(&kept).await?;
    }
    Ok(())
}
