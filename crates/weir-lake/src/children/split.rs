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

/// Splits all rows of `rows`, a table whose rows keep their lists, into files of `parent`.
pub(crate) async fn split(
    family: &Arc<Family>,
    rows: &Table,
    parent: &Table,
    memory_bytes: u64,
) -> Result<Split> {
    let schema = family.exploder.parent_schema(rows.schema());
    let mut writer = FileWriter::new(Layout::of(parent, schema)?, memory_bytes / 2);
    let mut children = ChildRows::new(family, parent.storage(), memory_bytes / 2, ChildRule::Whole);
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
