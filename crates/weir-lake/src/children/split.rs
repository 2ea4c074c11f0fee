//! Whole rows into a parent's files and the rows of its child tables.

use std::sync::Arc;

use futures::TryStreamExt;
use weir_protocol::Result;

use super::{ChildRows, ChildRule, Family};
use crate::table::file_writer::{FileWriter, Layout};
use crate::table::{DataFile, Table, scan};

/// Rows that were split; nothing of it is committed yet.
pub(crate) struct Split {
    pub(crate) parents: Vec<DataFile>,
    pub(crate) children: ChildRows,
}

/// Splits all rows of `rows`, a table whose rows keep their lists, into files of their parent.
pub(crate) async fn split(
    family: &Arc<Family>,
    rows: &Table,
    parent: Layout,
    memory_bytes: u64,
) -> Result<Split> {
    let mut writer = FileWriter::new(parent, memory_bytes / 2);
    let mut children = ChildRows::new(family, rows.storage(), memory_bytes / 2, ChildRule::Whole);
    let mut batches = scan::read_all(rows.store(), rows.files()?, rows.schema().clone());
    while let Some(batch) = batches.try_next().await? {
        children.land(&batch).await?;
        writer.write(&children.parents(&batch)?).await?;
    }
    Ok(Split {
        parents: writer.finish().await?,
        children,
    })
}
