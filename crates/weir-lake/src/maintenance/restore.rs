//! A table as it was, as a new version.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use object_store::ObjectStoreExt;
use weir_protocol::{Books, Error, Result, SliceState, StreamState, SyncMode};

use crate::children::together;
use crate::failpoint;
use crate::lake::Lake;
use crate::storage::failed;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{AsOf, Attempt, Change, DataFile, Table, deletion, schema};
use crate::writer::shape;
use crate::writer::state::{Span, StateRecord};

/// A table that was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The new version, which is as the old one was.
    pub version: i64,
    pub next: NextRead,
}

/// What the next sync of a restored table's stream reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextRead {
    /// The table has no stream.
    None,
    /// Everything: the version is older than the stream's first checkpoint.
    Everything,
    /// What came after the version.
    Since,
    /// What came after the version, and again what the run had begun to read that wrote it: it was
    /// not at its end, and what it had seen may have changed since.
    Again,
}

impl Lake {
    /// Makes a table what it was. A Silver table's stream goes back to the state that belongs to
    /// those rows, so that the next sync reads what came after again.
    pub async fn restore(&self, name: &str, as_of: AsOf, run: &str) -> Result<Restored> {
        let (_, mut table) = self.table(name).await?;
        together::refuse_child(&table, "restored")?;
        let target = table.at(as_of).await?;
        let wanted = target.files()?;
        check_files(&table, &wanted).await?;
        let stream = shape::stream_of(&table.properties()?);
        for _ in 0..ATTEMPTS_MAX {
            let mut ahead = None;
            let mut next = NextRead::None;
            let mut change = difference(&table, &wanted)?;
            if !schema::equal(table.schema(), target.schema()) {
                change.schema = Some(target.schema().as_ref().clone());
            }
            let now = match &stream {
                Some((connection, stream)) => StateRecord::read(&table, connection, stream).await?,
                None => None,
            };
            if let Some(now) = now {
                let mut then;
                (then, next) = state_at(&target, &now).boxed().await?;
                // The children go first, like those of any checkpoint.
                then.children = together::restore(&self.storage, name, &now, &then.children)
                    .boxed()
                    .await?;
                failpoint::reach("lake.after_child_commit")?;
                ahead = Some(now.clone());
                set_state(&mut change, now, then, run)?;
            }
            failpoint::reach("lake.in_restore")?;
            if let Attempt::Committed(version) = table.try_commit(&change).await? {
                failpoint::reach("lake.after_restore")?;
                return Ok(Restored { version, next });
            }
            if let Some(now) = ahead {
                together::roll_back(&self.storage, name, &now).boxed().await?;
            }
        }
        Err(table.contended())
    }
}

/// What the stream's state is to be with the rows of `target`, and what is read from there.
async fn state_at(target: &Table, now: &StateRecord) -> Result<(StateRecord, NextRead)> {
    let then = StateRecord::read(target, &now.connection, &now.stream).await?;
    let Some(mut then) = then else {
        // From before the first checkpoint: the stream starts over.
        let anew = StateRecord {
            children: BTreeMap::new(),
            state: StreamState::default(),
            generations: Vec::new(),
            lines: Some(0),
            bronze_from: None,
            undone: vec![Span {
                from: 1,
                to: now.sequence,
            }],
            held: 0,
            ..now.clone()
        };
        return Ok((anew, NextRead::Everything));
    };
    // What came after is read again, under new numbers.
    if then.sequence < now.sequence {
        then.undone.push(Span {
            from: then.sequence + 1,
            to: now.sequence,
        });
    }
    if then.state.complete || then.state == StreamState::default() {
        return Ok((then, NextRead::Since));
    }
    if doubles(&then) {
        return Err(refuse_middle(target, &then).boxed().await?);
    }
    then.state = rested(then.state);
    Ok((then, NextRead::Again))
}

/// Whether rows that are read again would stand there twice.
fn doubles(record: &StateRecord) -> bool {
    let has_key = record
        .form
        .as_ref()
        .is_some_and(|form| !form.primary_key.is_empty());
    match record.mode {
        SyncMode::FullRefreshAppend => true,
        SyncMode::IncrementalAppend => {
            let mut slices = record.state.slices.values();
            !has_key && slices.any(|slice| slice.page.is_some() || slice.pending.is_some())
        }
        _ => false,
    }
}

/// The state of a read that was not at its end, without what leads to its next page, its window of
/// time and what it took for read: all of that may have changed at the source. The cursors up to which
/// slices are whole stay.
fn rested(state: StreamState) -> StreamState {
    let slices = state.slices.into_iter().map(|(key, slice)| {
        let rested = SliceState {
            cursor: slice.cursor,
            edge: slice.edge,
            ..SliceState::default()
        };
        (key, rested)
    });
    StreamState {
        floor: state.floor,
        groups: state.groups,
        slices: slices.filter(|(_, slice)| slice.cursor.is_some()).collect(),
        complete: true,
    }
}

async fn refuse_middle(target: &Table, then: &StateRecord) -> Result<Error> {
    let mut end = None;
    for version in (0..target.version()).rev() {
        let Ok(before) = target.at(AsOf::Version(version)).boxed().await else {
            break;
        };
        let record = StateRecord::read(&before, &then.connection, &then.stream).await?;
        if record.is_none_or(|record| record.state.complete) {
            end = Some(version);
            break;
        }
    }
    let hint = match end {
        Some(version) => format!(
            "restore version {version}, the newest before it at which no run was under way; nothing was changed"
        ),
        None => "restore a version at which a run had come to its end; nothing was changed".to_owned(),
    };
    let version = target.version();
    Ok(Error::usage(format!(
        "version {version} of table '{}' was written in the middle of a run, whose rows cannot be told from those that would be read again",
        target.name()
    ))
    .with("run", &then.run)
    .hint(hint))
}

pub(crate) fn difference(table: &Table, wanted: &[DataFile]) -> Result<Change> {
    let have = table.files()?;
    let have_ids: BTreeSet<_> = have.iter().map(DataFile::id).collect();
    let wanted_ids: BTreeSet<_> = wanted.iter().map(DataFile::id).collect();
    let mut change = Change::new("RESTORE");
    let gone = have.iter().filter(|file| !wanted_ids.contains(&file.id()));
    change.removes = gone.map(|file| file.remove(true)).collect();
    let back = wanted.iter().filter(|file| !have_ids.contains(&file.id()));
    change.adds = back.map(|file| file.add(true)).collect();
    Ok(change)
}

/// The numbers go on; state and generations go back.
fn set_state(change: &mut Change, now: StateRecord, then: StateRecord, run: &str) -> Result<()> {
    let record = StateRecord {
        sequence: now.sequence + 1,
        run: run.to_owned(),
        books: Books::default(),
        writers: now.writers,
        ..then
    };
    let with_state =
        crate::writer::checkpoint::change("RESTORE", &crate::upsert::Outcome::default(), &record)?;
    change.transactions = with_state.transactions;
    change.domains = with_state.domains;
    change.notes = with_state.notes;
    Ok(())
}

pub(crate) async fn check_files(table: &Table, wanted: &[DataFile]) -> Result<()> {
    let store = table.store();
    let vectors = wanted.iter().filter_map(|file| file.deletion_vector.as_ref());
    let vectors: BTreeSet<_> = vectors.filter_map(deletion::path).collect();
    for path in wanted.iter().map(DataFile::location).chain(vectors) {
        match store.head(&path).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Error::not_found(format!(
                    "the version cannot be restored: vacuum removed '{path}'"
                ))
                .with("table", table.name())
                .hint("choose a newer version, or rebuild the table with `weir lake rebuild`"));
            }
            Err(error) => return Err(failed("read", &path, error)),
        }
    }
    Ok(())
}
