//! The child rows of one load, on their way to their tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use futures::FutureExt;
use futures::future::BoxFuture;
use weir_protocol::Result;

use super::{Family, child_folder};
use crate::storage::Storage;
use crate::typed::INDEX;
use crate::upsert::Keys;
use crate::writer::gathered::Gathered;

/// What child rows do to the children that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildRule {
    /// Nothing.
    Append,
    /// They replace those of the same parents.
    Merge,
    /// They end those of the same parents, which stay.
    History,
    /// They replace all.
    Whole,
}

impl ChildRule {
    /// Whether stored children are looked for by their parent.
    fn by_parent(self) -> bool {
        matches!(self, Self::Merge | Self::History)
    }
}

/// Gathers child rows, bounded in memory like any other rows.
pub(crate) struct ChildRows {
    pub(super) family: Arc<Family>,
    pub(super) storage: Storage,
    pub(super) memory_bytes: u64,
    pub(super) rule: ChildRule,
    /// By exploded field.
    pub(super) loads: BTreeMap<String, Load>,
}

/// The rows of one child table.
pub(crate) struct Load {
    pub(super) rows: Gathered,
    /// Elements among them; the others say only that a parent was written.
    pub(super) elements: u64,
}

impl ChildRows {
    pub(crate) fn new(family: &Arc<Family>, storage: &Storage, memory_bytes: u64, rule: ChildRule) -> Self {
        Self {
            family: family.clone(),
            storage: storage.clone(),
            memory_bytes,
            rule,
            loads: BTreeMap::new(),
        }
    }

    /// Takes the children of rows that go into the parent's table.
    // Boxed by type: what gathers a parent's rows gathers a child's too.
    pub(crate) fn land<'a>(&'a mut self, rows: &'a RecordBatch) -> BoxFuture<'a, Result<()>> {
        async move {
            if rows.num_rows() == 0 {
                return Ok(());
            }
            let family = self.family.clone();
            let marks = self.rule.by_parent();
            for (field, list) in family.exploder.lists(&rows.schema()) {
                let exploded = family.exploder.explode(rows, list.name(), marks)?;
                let load = self.load(field);
                load.elements += elements(&exploded);
                load.rows.push(exploded).await?;
            }
            Ok(())
        }
        .boxed()
    }

    /// The rows without the lists.
    pub(crate) fn parents(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        crate::table::adapt::adapt(rows, &self.parent_schema(rows.schema_ref()))
    }

    pub(crate) fn parent_schema(&self, rows: &Schema) -> SchemaRef {
        self.family.exploder.parent_schema(rows)
    }

    fn load(&mut self, field: &str) -> &mut Load {
        let Self {
            family,
            storage,
            memory_bytes,
            rule,
            loads,
        } = self;
        loads.entry(field.to_owned()).or_insert_with(|| {
            let folder = child_folder(family.names.get(field).map_or("", String::as_str));
            let memory = (*memory_bytes / family.names.len().max(1) as u64).max(1 << 20);
            let rows = if rule.by_parent() {
                let keys = Keys::new(family.exploder.parent_columns(), None);
                // A part of them is joined to one batch, and stands in memory twice.
                Gathered::keyed(keys, memory / 2, storage, &folder)
            } else {
                Gathered::plain(storage, &folder, Vec::new(), memory)
            };
            Load { rows, elements: 0 }
        })
    }
}

fn elements(rows: &RecordBatch) -> u64 {
    let index = rows.column_by_name(INDEX);
    index.map_or(0, |index| (index.len() - index.null_count()) as u64)
}
