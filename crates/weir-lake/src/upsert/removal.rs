//! Rows taken out of files: marked as gone where the table allows it and few are, otherwise left
//! out when their file is written again.

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use futures::FutureExt;
use futures::TryStreamExt;
use weir_protocol::{Error, Result};

use super::Outcome;
use super::replace::Replacements;
use crate::table::deletion::{self, Gone};
use crate::table::file_writer::FileWriter;
use crate::table::original::Original;
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
        rows: Vec<u32>,
        writer: &mut FileWriter,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let nobody = &mut Replacements::default();
        self.replace(file, rows, nobody, writer, outcome).await
    }

    /// As [`Self::take_out`], where a row may be replaced by another that comes in its very place. Those
    /// that did are no longer among `replacements`.
    pub(super) async fn replace(
        &mut self,
        file: &DataFile,
        mut rows: Vec<u32>,
        replacements: &mut Replacements<'_>,
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
        let gone = Gone::of(&self.table.store(), file).await?.and_of_live(&rows);
        if self.marks_rows && is_little(gone.len(), file.rows_stored()) {
            self.marked.push((file.clone(), gone));
            return Ok(());
        }
        // Places among the rows that are left are those in the file only where all are left.
        let nobody = &mut Replacements::default();
        let replacements = match file.deletion_vector {
            None => replacements,
            Some(_) => nobody,
        };
        rewrite(self.table, file, &gone, replacements, writer)
            .boxed()
            .await
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

/// Writes a file's rows again but for those that are gone. Row groups that keep all of theirs are
/// taken over as they stand, those of which every row that is gone has a replacement column by column.
async fn rewrite(
    table: &Table,
    file: &DataFile,
    gone: &Gone,
    replacements: &mut Replacements<'_>,
    writer: &mut FileWriter,
) -> Result<()> {
    // Which rows are gone is said by place in the file, those that were gone before included.
    let original = Original::open(&table.store(), file).await?.whole();
    let mut left = Vec::new();
    for (group, places) in original.places().into_iter().enumerate() {
        let is_taken = if gone.has_any_in(&places) {
            let of = (&places, gone);
            replacements.exchange(&original, group, of, writer).await?
        } else {
            writer.take_over(&original, group).await?
        };
        if !is_taken {
            left.push(places);
        }
    }
    let schema = writer.schema().clone();
    let selection = Some(scan::ranges(&left));
    let mut rows = scan::read_of(&original, &schema, selection, scan::BATCH_ROWS)
        .boxed()
        .await?;
    let mut places = left.into_iter().flatten().map(u64::from);
    let mut gone = gone.iter().peekable();
    while let Some(batch) = rows.try_next().await? {
        let keep: BooleanArray = places
            .by_ref()
            .take(batch.num_rows())
            .map(|place| {
                while gone.next_if(|row| *row < place).is_some() {}
                Some(gone.next_if_eq(&place).is_none())
            })
            .collect();
        let kept = filter_record_batch(&batch, &keep).map_err(|error| {
            Error::internal("rows cannot be filtered")
                .hint("report this defect")
                .caused_by(error)
        })?;
        writer.write(&kept).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
