//! Where a full refresh waits until it is complete: a Delta table of its own inside the main
//! table's folder, `g<generation>/`, so that publishing it moves no data.

use object_store::path::Path;
use weir_protocol::{Result, WritePlan};

use super::shape::Shape;
use super::state::StateRecord;
use crate::storage::Storage;
use crate::table::Table;
use crate::{bronze, quarantine};

/// A full refresh that was begun.
pub(crate) struct Staging {
    pub(crate) table: Table,
    pub(crate) record: StateRecord,
}

/// Folder name of a generation, below the main table's.
pub(crate) fn name(generation: u64) -> String {
    format!("g{generation:010}")
}

pub(crate) fn is_name(name: &str) -> bool {
    name.strip_prefix('g')
        .is_some_and(|digits| digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The unfinished full refresh of this plan that goes on, if there is one. All others are dropped.
pub(crate) async fn find(
    storage: &Storage,
    shape: &Shape,
    plan: &WritePlan,
    published: Option<&StateRecord>,
) -> Result<Option<Staging>> {
    let last = published.map_or(0, |record| record.sequence);
    let mut found = None;
    for table in tables(storage, shape).await? {
        let record = StateRecord::read(&table, &plan.connection, &plan.stream.name).await?;
        let resumes = shape.is_staged() && !plan.restart && found.is_none();
        match record {
            Some(record)
                if resumes && record.mode == plan.mode && record.sequence > last && !record.refused =>
            {
                found = Some(Staging { table, record });
            }
            _ => abandon(storage, plan, &table, published).await?,
        }
    }
    Ok(found)
}

/// Staging tables that have a log, newest first.
async fn tables(storage: &Storage, shape: &Shape) -> Result<Vec<Table>> {
    let mut names = storage.folders(&shape.folder).await?;
    names.retain(|name| is_name(name));
    names.sort();
    let mut found = Vec::new();
    while let Some(name) = names.pop() {
        let folder = shape.folder.clone().join(name.as_str());
        found.extend(Table::find(storage, &folder).await?);
    }
    Ok(found)
}

/// Drops every full refresh that is not published: the next one starts over.
pub(crate) async fn drop_all(
    storage: &Storage,
    shape: &Shape,
    plan: &WritePlan,
    published: &StateRecord,
) -> Result<()> {
    for table in tables(storage, shape).await? {
        abandon(storage, plan, &table, Some(published)).await?;
    }
    Ok(())
}

/// Ends a staging table. What an unpublished one left in Bronze and quarantine goes with it: no
/// checkpoint of the main table covers it.
async fn abandon(
    storage: &Storage,
    plan: &WritePlan,
    table: &Table,
    published: Option<&StateRecord>,
) -> Result<()> {
    let from = generation(table).unwrap_or(u64::MAX);
    let mut generations = published.iter().flat_map(|record| &record.generations);
    if !generations.any(|past| past.from == from) {
        let (source, stream) = (&plan.source, &plan.stream.name);
        for folder in [bronze::folder(source, stream), quarantine::folder(source, stream)] {
            bronze::remove_after(storage, &folder, from.saturating_sub(1)).await?;
        }
    }
    drop_log(storage, table.folder()).await
}

/// Ends a staging table. Its data files stay: the main table may have taken them, and those that it
/// has not are vacuum's.
pub(crate) async fn drop_log(storage: &Storage, folder: &Path) -> Result<()> {
    tracing::debug!(%folder, "a staging table ends");
    storage.delete_folder(&folder.clone().join("_delta_log")).await
}

/// The number in a staging table's name: the first checkpoint of its refresh.
pub(crate) fn generation(table: &Table) -> Option<u64> {
    table.name().strip_prefix('g')?.parse().ok()
}
