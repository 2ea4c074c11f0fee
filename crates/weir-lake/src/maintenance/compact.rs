//! Many small files into few large ones, and files with marked rows into such without. The rows stay
//! the same, and so does what readers see.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, take_record_batch};
use futures::{FutureExt, TryStreamExt};
use weir_protocol::{Error, Result};

use crate::failpoint;
use crate::lake::Lake;
use crate::table::file_writer::{self, FILE_BYTES_TARGET, FileWriter, Layout};
use crate::table::partition::Values;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, Change, DataFile, Table, scan};
use crate::upsert::Keys;
use crate::writer::shape;

/// Rows that are sorted stand in memory as they were read, in one piece, as keys, and in part as they are written.
const COPIES: u64 = 4;
const WRITE_ROWS: usize = 8192;

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    pub files_before: u64,
    pub files_after: u64,
    pub bytes_written: u64,
    pub version: i64,
}

impl Lake {
    /// Joins files of a table that are small or have rows marked as gone, partition by partition, sorted by the table's key where a
    /// group fits into memory. Other writers may go on meanwhile: a group that they touch is left.
    pub async fn compact(&self, name: &str, memory_bytes: u64) -> Result<Compacted> {
        let (_, mut table) = self.table(name).await?;
        let mut done = Compacted {
            files_before: table.files()?.len() as u64,
            ..Compacted::default()
        };
        for group in groups(table.files()?) {
            done.bytes_written += join(&mut table, &group, memory_bytes).boxed().await?;
        }
        done.files_after = table.files()?.len() as u64;
        done.version = table.version();
        Ok(done)
    }
}

/// Files of one partition that together come to about one good file.
fn groups(files: Vec<DataFile>) -> Vec<Vec<DataFile>> {
    let mut small: BTreeMap<Values, Vec<DataFile>> = BTreeMap::new();
    for file in files {
        if file.size < FILE_BYTES_TARGET / 2 || file.deletion_vector.is_some() {
            small.entry(file.partition.clone()).or_default().push(file);
        }
    }
    let mut groups = Vec::new();
    for mut files in small.into_values() {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut group = Vec::new();
        let mut bytes = 0;
        for file in files {
            if bytes + file.size > FILE_BYTES_TARGET && !group.is_empty() {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += file.size;
            group.push(file);
        }
        groups.push(group);
    }
    groups.retain(|group| group.len() > 1 || group.iter().any(|file| file.deletion_vector.is_some()));
    groups
}

pub(super) async fn join(table: &mut Table, group: &[DataFile], memory_bytes: u64) -> Result<u64> {
    let mut writer = FileWriter::new(Layout::of(table, table.schema().clone())?, memory_bytes);
    let keys = shape::primary_key(&table.properties()?);
    // Names of files ascend with time: keys that do so too stay in order where rows are not sorted.
    let mut files = group.to_vec();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut rows = scan::read_all(table.store(), files, table.schema().clone());
    let sortable = if keys.is_empty() { 0 } else { memory_bytes / COPIES };
    let (first, are_all) = up_to(&mut rows, sortable).await?;
    if are_all && !first.is_empty() {
        let all = concat_batches(table.schema(), &first).map_err(unsorted)?;
        drop(first);
        for part in sorted(&all, &Keys::new(keys, None))? {
            writer.write(&part?).await?;
        }
    } else {
        for batch in first {
            writer.write(&batch).await?;
        }
        while let Some(batch) = rows.try_next().await? {
            writer.write(&batch).await?;
        }
    }
    let written = writer.finish().await?;
    let mut change = Change::new("OPTIMIZE");
    change.removes = group.iter().map(|file| file.remove(false)).collect();
    change.adds = written.iter().map(|file| file.add(false)).collect();
    failpoint::reach("lake.in_compaction")?;
    for _ in 0..ATTEMPTS_MAX {
        if let Attempt::Committed(_) = table.try_commit(&change).await? {
            failpoint::reach("lake.after_compaction")?;
            return Ok(written.iter().map(|file| file.size).sum());
        }
        let active = table.files()?;
        let active: BTreeSet<_> = active.iter().map(DataFile::id).collect();
        if !group.iter().all(|file| active.contains(&file.id())) {
            break;
        }
    }
    // Another writer took one of the files out: its change wins.
    file_writer::discard(&table.store(), &written).await;
    Ok(0)
}

/// The rows as far as they take no more than `bytes` of memory, one batch more perhaps, and whether they are all.
/// Their size in files tells nothing of that: a column of one value takes no bytes there.
async fn up_to(rows: &mut scan::Rows, bytes: u64) -> Result<(Vec<RecordBatch>, bool)> {
    let mut held = Vec::new();
    let mut size = 0;
    while size <= bytes {
        let Some(batch) = rows.try_next().await? else {
            return Ok((held, true));
        };
        size += batch.get_array_memory_size() as u64;
        held.push(batch);
    }
    Ok((held, false))
}

fn sorted<'a>(
    all: &'a RecordBatch,
    by: &Keys,
) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<'a>> {
    let keys = by.keys(all)?;
    let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).unwrap_or(u32::MAX)).collect();
    order.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    let starts = (0..order.len()).step_by(WRITE_ROWS);
    Ok(starts.map(move |start| {
        let end = (start + WRITE_ROWS).min(order.len());
        let part = arrow::array::UInt32Array::from(order[start..end].to_vec());
        take_record_batch(all, &part).map_err(unsorted)
    }))
}

fn unsorted(error: arrow::error::ArrowError) -> Error {
    Error::internal("rows cannot be sorted by their key")
        .hint("report this defect")
        .caused_by(error)
}
