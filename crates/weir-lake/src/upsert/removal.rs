//! Rows taken out of files: marked as gone where the table allows it and few are, otherwise left
//! out when their file is written again.

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use futures::FutureExt;
use futures::TryStreamExt;
use weir_protocol::{Error, Result};

use super::Outcome;
use crate::table::deletion::{self, Gone};
use crate::table::file_writer::FileWriter;
use crate::table::{DataFile, Table, scan};

/// A file of which more is gone is written again: what is gone costs every reader.
const GONE_PERCENT_MAX: u64 = 30;

pub(crate) struct Removal<'a> {
    table: &'a Table,
    marks_rows: bool,
    marked: Vec<(DataFile, Gone)>,
}

impl<'a> Removal<'a> {
    pub(crate) fn new(table: &'a Table) -> Result<Self> {
        Ok(Self {
            table,
            marks_rows: table.marks_rows()?,
            marked: Vec::new(),
        })
    }

    /// Takes out the rows at these places among those of the file that are left.
    pub(crate) async fn take_out(
        &mut self,
        file: &DataFile,
        mut rows: Vec<u32>,
        writer: &mut FileWriter,
        outcome: &mut Outcome,
    ) -> Result<()> {
        rows.sort_unstable();
        rows.dedup();
        outcome.removes.push(file.clone());
        let left = file.rows.saturating_sub(rows.len() as u64);
        if left == 0 {
            return Ok(());
        }
        if self.marks_rows && is_little(file.rows_stored() - left, file.rows_stored()) {
            let gone = Gone::of(&self.table.store(), file).await?.and_of_live(&rows);
            self.marked.push((file.clone(), gone));
            return Ok(());
        }
        without(self.table, file, &rows, writer).boxed().await
    }

    /// Writes the marks. Files that were written again are with `writer`.
    pub(crate) async fn finish(self, outcome: &mut Outcome) -> Result<()> {
        let marked = deletion::put(&self.table.store(), self.marked).await?;
        outcome.adds.extend(marked);
        Ok(())
    }
}

fn is_little(gone: u64, stored: u64) -> bool {
    gone * 100 <= stored * GONE_PERCENT_MAX
}

/// Copies a file but for the rows at these places, which ascend.
async fn without(table: &Table, file: &DataFile, gone: &[u32], writer: &mut FileWriter) -> Result<()> {
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
