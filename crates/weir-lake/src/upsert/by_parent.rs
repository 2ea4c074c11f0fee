//! Child rows by their parent: those of a parent that was written again give way as a whole.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::{FutureExt, TryStreamExt};
use weir_protocol::{Error, Result};

use super::incoming::{Bucket, Incoming};
use super::keys::{self, Keys};
use super::prune::{self, Wanted};
use super::{Outcome, Removal, flags, mark, select};
use crate::table::columns::IS_CURRENT;
use crate::table::file_writer::{FileWriter, Layout};
use crate::table::{DataFile, Table, scan};
use crate::typed::INDEX;

/// One exchange of child rows. Rows of the load without `_index` name the parents that were
/// written; the others are their children.
pub(crate) struct ByParent<'a> {
    pub(crate) table: &'a Table,
    /// The parent's key.
    pub(crate) keys: Keys,
    /// Children of the version before are ended and kept.
    pub(crate) keeps_past: bool,
    pub(crate) memory_bytes: u64,
}

/// A stored row that gives way, and the row of the load that says so.
type Hit = (u32, u32);

impl ByParent<'_> {
    pub(crate) async fn run(&self, incoming: &mut Incoming) -> Result<Outcome> {
        let files = self.table.files()?;
        let layout = Layout::of(self.table, self.table.schema().clone())?;
        let mut writer = FileWriter::new(layout, self.memory_bytes);
        let mut gone: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for bucket in incoming.buckets().await? {
            self.exchange(&bucket, &files, &mut gone, &mut writer).await?;
        }
        let mut outcome = Outcome::default();
        let mut removal = Removal::new(self.table)?;
        for (index, rows) in gone {
            removal
                .take_out(&files[index], rows, &mut writer, &mut outcome)
                .await?;
        }
        outcome.adds = writer.finish().await?;
        removal.finish(&mut outcome).await?;
        Ok(outcome)
    }

    async fn exchange(
        &self,
        bucket: &Bucket,
        files: &[DataFile],
        gone: &mut BTreeMap<usize, Vec<u32>>,
        writer: &mut FileWriter,
    ) -> Result<()> {
        let batch = bucket.load(self.table.schema()).await?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let rows = self.keys.keys(&batch)?;
        let is_mark = marks(&batch)?;
        let mut parents: HashMap<&[u8], u32> = HashMap::new();
        for row in (0..batch.num_rows()).filter(|row| is_mark.value(*row)) {
            parents.insert(rows.row(row).data(), u32::try_from(row).unwrap_or(u32::MAX));
        }
        let mut wanted = Vec::new();
        for (path, values) in self.keys.paths().iter().zip(self.keys.key_columns(&batch)?) {
            wanted.extend(Wanted::new(path, values)?);
        }
        for (index, file) in files.iter().enumerate() {
            if !prune::may_hold(file, &wanted)? {
                continue;
            }
            let hits = self.find(file, &parents).await?;
            if hits.is_empty() {
                continue;
            }
            if self.keeps_past {
                self.end(file, &hits, &batch, writer).await?;
            }
            gone.entry(index)
                .or_default()
                .extend(hits.iter().map(|(row, _)| *row));
        }
        let elements = arrow::compute::not(&is_mark).map_err(unfiltered)?;
        writer
            .write(&filter_record_batch(&batch, &elements).map_err(unfiltered)?)
            .await
    }

    async fn find(&self, file: &DataFile, parents: &HashMap<&[u8], u32>) -> Result<Vec<Hit>> {
        let mut names = self.keys.roots(self.table.schema());
        names.push(IS_CURRENT.to_owned());
        let schema = keys::project(self.table.schema(), &names);
        let mut stored = scan::read(&self.table.store(), file, &schema, None)
            .boxed()
            .await?;
        let mut hits = Vec::new();
        let mut position = 0_u32;
        while let Some(batch) = stored.try_next().await? {
            let rows = self.keys.keys(&batch)?;
            let current = flags(&batch, IS_CURRENT);
            for (place, row) in (position..).zip(0..batch.num_rows()) {
                let is_past = current.is_some_and(|flags| !(flags.is_valid(row) && flags.value(row)));
                if self.keeps_past && is_past {
                    continue;
                }
                if let Some(mark) = parents.get(rows.row(row).data()) {
                    hits.push((place, *mark));
                }
            }
            position += u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        }
        Ok(hits)
    }

    /// Writes the rows that give way once more, ended when their parent's new version begins.
    async fn end(
        &self,
        file: &DataFile,
        hits: &[Hit],
        load: &RecordBatch,
        writer: &mut FileWriter,
    ) -> Result<()> {
        let selection = select(hits.iter().map(|(row, _)| *row));
        let store = self.table.store();
        let mut stored = scan::read(&store, file, self.table.schema(), Some(selection))
            .boxed()
            .await?;
        let mut hits = hits.iter();
        while let Some(batch) = stored.try_next().await? {
            let pairs: Vec<(u32, u32)> = (0..)
                .zip(hits.by_ref().take(batch.num_rows()).map(|(_, mark)| *mark))
                .collect();
            writer.write(&mark::ended(&batch, &pairs, load)?).await?;
        }
        Ok(())
    }
}

/// Which rows only name a parent.
fn marks(batch: &RecordBatch) -> Result<BooleanArray> {
    let index = batch.column_by_name(INDEX).ok_or_else(|| {
        Error::internal("child rows have no place in their list").hint("report this defect")
    })?;
    arrow::compute::is_null(index).map_err(unfiltered)
}

fn unfiltered(error: arrow::error::ArrowError) -> Error {
    Error::internal("child rows cannot be told from their parents")
        .hint("report this defect")
        .caused_by(error)
}
