//! Where a full refresh waits until it is complete: a Delta table of its own inside the main
//! table's folder, `g<generation>/`, so that publishing it moves no data.

use futures::FutureExt;
use object_store::path::Path;
use weir_protocol::{Error, ErrorKind, Result, WritePlan};

use super::checkpoint::change;
use super::shape::Shape;
use super::state::StateRecord;
use crate::storage::Storage;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, Table};
use crate::upsert::Outcome;
use crate::{bronze, quarantine};

const LOG: &str = "_delta_log";

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
    published: &mut Published,
) -> Result<Option<Staging>> {
    let mut found = None;
    for folder in folders(storage, shape).await? {
        let Some(table) = begun(storage, plan, &folder, published).await? else {
            continue;
        };
        let last = published.sequence();
        let record = StateRecord::read(&table, &plan.connection, &plan.stream.name).await?;
        let resumes = shape.is_staged() && !plan.restart && found.is_none();
        let is_refused = record.as_ref().is_some_and(|record| record.refused);
        match record {
            // Numbers that the main table used up since are not this refresh's any more.
            Some(record)
                if resumes
                    && record.mode == plan.mode
                    && record.sequence > last
                    && generation_of(&folder) == Some(last + 1)
                    && !record.refused =>
            {
                found = Some(Staging { table, record });
            }
            // Whoever wrote it refused to publish it.
            _ if is_refused => end(storage, plan, &folder, published).await?,
            _ => abandon(storage, plan, &folder, published).await?,
        }
    }
    Ok(found)
}

/// Folders of generations, newest first.
async fn folders(storage: &Storage, shape: &Shape) -> Result<Vec<Path>> {
    let mut names = storage.folders(&shape.folder).await?;
    names.retain(|name| is_name(name));
    names.sort();
    let newest_first = names.into_iter().rev();
    Ok(newest_first.map(|name| shape.folder.clone().join(name)).collect())
}

/// The staging table in a folder. What is left of one whose end was interrupted is ended.
async fn begun(
    storage: &Storage,
    plan: &WritePlan,
    folder: &Path,
    published: &mut Published,
) -> Result<Option<Table>> {
    let log = storage.list(&folder.clone().join(LOG)).await?;
    if log.is_empty() {
        return Ok(None);
    }
    if !log.iter().any(|object| object.location == first_entry(folder)) {
        abandon(storage, plan, folder, published).await?;
        return Ok(None);
    }
    Table::open(storage, folder).await.map(Some)
}

/// The staging table as its writer left it. Another process may have given the refresh up meanwhile, and
/// begun one of its own under the same number: what is to be added belongs to neither then.
pub(crate) async fn check(storage: &Storage, folder: &Path, last: &StateRecord) -> Result<Table> {
    if is_begun(storage, folder).await? {
        let table = Table::open(storage, folder).await?;
        let found = StateRecord::read(&table, &last.connection, &last.stream).await?;
        if found.is_some_and(|found| (found.sequence, &found.run) == (last.sequence, &last.run)) {
            return Ok(table);
        }
    }
    Err(given_up(last))
}

pub(super) fn given_up(last: &StateRecord) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "another process gave up the full refresh of stream '{}' while this run was at it",
            last.stream
        ),
    )
    .with("run", &last.run)
    .with("checkpoint", last.sequence)
    .hint("let only one process work on a stream at a time, then sync again: the table is as it was")
}

/// Whether a folder holds a staging table, and not what is left of one.
pub(crate) async fn is_begun(storage: &Storage, folder: &Path) -> Result<bool> {
    let log = storage.list(&folder.clone().join(LOG)).await?;
    Ok(log.iter().any(|object| object.location == first_entry(folder)))
}

/// Drops every full refresh that is not published: the next one starts over.
pub(crate) async fn drop_all(
    storage: &Storage,
    shape: &Shape,
    plan: &WritePlan,
    published: &mut Published,
) -> Result<()> {
    for folder in folders(storage, shape).await? {
        if begun(storage, plan, &folder, published).await?.is_some() {
            abandon(storage, plan, &folder, published).await?;
        }
    }
    Ok(())
}

/// Ends a staging table. What an unpublished one left in Bronze and quarantine goes with it: no
/// checkpoint of the main table covers it, nor ever will.
async fn abandon(
    storage: &Storage,
    plan: &WritePlan,
    folder: &Path,
    published: &mut Published,
) -> Result<()> {
    let from = generation_of(folder).unwrap_or(u64::MAX);
    if published.prevent(from).boxed().await? {
        return end(storage, plan, folder, published).await;
    }
    drop_log(storage, folder).await
}

/// Ends a staging table that nobody will publish, with what it left in Bronze and quarantine.
async fn end(storage: &Storage, plan: &WritePlan, folder: &Path, published: &Published) -> Result<()> {
    // From here on nobody goes on with it, wherever this is interrupted.
    storage.delete(&first_entry(folder)).await?;
    let from = generation_of(folder).unwrap_or(u64::MAX);
    let (source, stream) = (&plan.source, &plan.stream.name);
    let kept = published.sequence().max(from.saturating_sub(1));
    for folder in [bronze::folder(source, stream), quarantine::folder(source, stream)] {
        bronze::remove_after(storage, &folder, kept, None).await?;
    }
    drop_log(storage, folder).await
}

/// What the main table says.
pub(crate) struct Published {
    pub(crate) main: Option<Table>,
    pub(crate) record: Option<StateRecord>,
}

impl Published {
    fn sequence(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.sequence)
    }

    /// Makes sure that a refresh which began with checkpoint `from` is never published: a process that
    /// only sleeps may be about to. Its first number is used up instead, so that it comes too late.
    /// False where it was published already.
    async fn prevent(&mut self, from: u64) -> Result<bool> {
        for _ in 0..ATTEMPTS_MAX {
            let (Some(main), Some(record)) = (&mut self.main, &self.record) else {
                return Ok(true);
            };
            if record.generations.iter().any(|past| past.from == from) {
                return Ok(false);
            }
            if record.sequence + 1 != from {
                return Ok(true);
            }
            let next = StateRecord {
                sequence: from,
                ..record.clone()
            };
            let change = change("GIVE UP FULL REFRESH", &Outcome::default(), &next)?;
            if let Attempt::Committed(_) = main.try_commit(&change).await? {
                self.record = Some(next);
                return Ok(true);
            }
            self.record = StateRecord::read(main, &record.connection, &record.stream).await?;
        }
        Err(self.main.as_ref().map_or_else(
            || Error::internal("the main table is gone").hint("report it"),
            Table::contended,
        ))
    }
}

/// Ends a staging table. Its data files stay: the main table may have taken them, and those that it
/// has not are vacuum's.
pub(crate) async fn drop_log(storage: &Storage, folder: &Path) -> Result<()> {
    tracing::debug!(%folder, "a staging table ends");
    // A log without its beginning is no table's any more, and says so.
    storage.delete(&first_entry(folder)).await?;
    storage.delete_folder(&folder.clone().join(LOG)).await
}

fn first_entry(folder: &Path) -> Path {
    folder.clone().join(LOG).join(format!("{:020}.json", 0))
}

/// The number in a staging table's name: the first checkpoint of its refresh.
pub(crate) fn generation(table: &Table) -> Option<u64> {
    generation_of(table.folder())
}

fn generation_of(folder: &Path) -> Option<u64> {
    folder.filename()?.strip_prefix('g')?.parse().ok()
}
