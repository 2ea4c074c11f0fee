//! Where a full refresh waits until it is complete: a Delta table of its own inside the main
//! table's folder, `g<generation>-<id>/`, so that publishing it moves no data. The id is new for each
//! one that is begun: a process that slept may yet commit to a staging table that was given up, and
//! must not find another one there under the same number.

use futures::FutureExt;
use object_store::path::Path;
use uuid::Uuid;
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

/// Folder name of a generation that is begun now, below the main table's.
pub(crate) fn new_name(generation: u64) -> String {
    format!("g{generation:010}-{}", Uuid::now_v7().simple())
}

/// Those without an id are of writers before each had one.
pub(crate) fn is_name(name: &str) -> bool {
    let Some(name) = name.strip_prefix('g') else {
        return false;
    };
    let (number, id) = name.split_once('-').unzip();
    let number = number.unwrap_or(name);
    number.len() == 10
        && number.bytes().all(|b| b.is_ascii_digit())
        && id.is_none_or(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The unfinished full refresh of this plan that goes on, if there is one. All others are dropped.
pub(crate) async fn find(
    storage: &Storage,
    shape: &Shape,
    plan: &WritePlan,
    published: &mut Published,
) -> Result<Option<Staging>> {
    let mut found: Option<Staging> = None;
    let mut others = Vec::new();
    for folder in folders(storage, shape).await? {
        let table = match look(storage, &folder).await? {
            Left::Nothing => continue,
            Left::Rest => {
                others.push((folder, false));
                continue;
            }
            Left::Table(table) => *table,
        };
        let last = published.sequence();
        let record = StateRecord::read(&table, &plan.connection, &plan.stream.name).await?;
        let is_refused = record.as_ref().is_some_and(|record| record.refused);
        // Numbers that the main table used up since are not this refresh's any more.
        let goes_on = |record: &StateRecord| {
            shape.is_staged()
                && !plan.restart
                && record.mode == plan.mode
                && record.sequence > last
                && generation_of(&folder) == Some(last + 1)
                && !record.refused
                && found
                    .as_ref()
                    .is_none_or(|found| found.record.sequence < record.sequence)
        };
        if let Some(record) = record.filter(goes_on) {
            let shorter = found.replace(Staging { table, record });
            others.extend(shorter.map(|one| (one.table.folder().clone(), false)));
        } else {
            others.push((folder, is_refused));
        }
    }
    for (folder, is_refused) in others {
        if found.is_some() {
            // What lies in Bronze beyond the main table is that one's. What another process left there under
            // the same numbers is told by its run, when the stream is opened.
            drop_log(storage, &folder).await?;
        } else if is_refused {
            // Whoever wrote it refused to publish it.
            end(storage, plan, &folder, published).await?;
        } else {
            abandon(storage, shape, plan, &folder, published).await?;
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

/// What there is in the folder of a generation.
enum Left {
    Nothing,
    /// The end of a staging table was interrupted, or a process that slept wrote into it afterwards.
    Rest,
    Table(Box<Table>),
}

async fn look(storage: &Storage, folder: &Path) -> Result<Left> {
    let log = storage.list(&folder.clone().join(LOG)).await?;
    if log.is_empty() {
        Ok(Left::Nothing)
    } else if log.iter().any(|object| object.location == first_entry(folder)) {
        let table = Table::open(storage, folder).await?;
        Ok(Left::Table(Box::new(table)))
    } else {
        Ok(Left::Rest)
    }
}

/// The staging table as its writer left it. Another process may have given the refresh up meanwhile.
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

/// Whether a full refresh was begun that is not published.
pub(crate) async fn is_any_begun(storage: &Storage, shape: &Shape) -> Result<bool> {
    for folder in folders(storage, shape).await? {
        if is_begun(storage, &folder).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Drops every full refresh that is not published: the next one starts over.
pub(crate) async fn drop_all(
    storage: &Storage,
    shape: &Shape,
    plan: &WritePlan,
    published: &mut Published,
) -> Result<()> {
    for folder in folders(storage, shape).await? {
        match look(storage, &folder).await? {
            Left::Nothing => {}
            Left::Rest | Left::Table(_) => abandon(storage, shape, plan, &folder, published).await?,
        }
    }
    Ok(())
}

/// Ends a staging table. What an unpublished one left in Bronze and quarantine goes with it: no
/// checkpoint of the main table covers it, nor ever will.
async fn abandon(
    storage: &Storage,
    shape: &Shape,
    plan: &WritePlan,
    folder: &Path,
    published: &mut Published,
) -> Result<()> {
    let from = generation_of(folder).unwrap_or(u64::MAX);
    if published.record.is_none() {
        // Whoever would publish it as the table's first version makes the table, and then looks for this
        // entry once more: either it finds the entry gone, or the table is found here.
        storage.delete(&first_entry(folder)).await?;
        published.begin(storage, shape, plan, from).boxed().await?;
    }
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

    /// Where a table was made without a first checkpoint, its first number is used up: the refresh that made
    /// it comes too late then, or was quicker.
    async fn begin(&mut self, storage: &Storage, shape: &Shape, plan: &WritePlan, from: u64) -> Result<()> {
        let Some(mut main) = Table::find(storage, &shape.folder).await? else {
            return Ok(());
        };
        for _ in 0..ATTEMPTS_MAX {
            self.record = StateRecord::read(&main, &plan.connection, &plan.stream.name).await?;
            if self.record.is_some() {
                break;
            }
            let first = StateRecord::unused(plan, shape, from);
            let change = change("GIVE UP FULL REFRESH", &Outcome::default(), &first)?;
            main.try_commit(&change).await?;
        }
        self.main = Some(main);
        Ok(())
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
    let name = folder.filename()?.strip_prefix('g')?;
    name.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_begun_in_the_same_place_twice() {
        let (one, other) = (new_name(7), new_name(7));
        assert_ne!(one, other);
        assert!(is_name(&one) && is_name("g0000000007"));
        assert!(!is_name("g0000000007-x") && !is_name("g7") && !is_name("gold") && !is_name("x=1"));
        for name in [one.as_str(), "g0000000007"] {
            assert_eq!(generation_of(&Path::from("silver").join(name)), Some(7));
        }
    }
}
