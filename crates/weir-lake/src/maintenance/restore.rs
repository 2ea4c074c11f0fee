//! A table as it was, as a new version.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use object_store::ObjectStoreExt;
use weir_protocol::{Books, Error, Result, StreamState};

use crate::children::together;
use crate::failpoint;
use crate::lake::Lake;
use crate::storage::failed;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{AsOf, Attempt, Change, DataFile, Table, schema};
use crate::writer::shape;
use crate::writer::state::StateRecord;

impl Lake {
    /// Makes a table what it was. A Silver table's stream goes back to the state that belongs to
    /// those rows, so that the next sync reads what came after again.
    pub async fn restore(&self, name: &str, as_of: AsOf, run: &str) -> Result<i64> {
        let (_, mut table) = self.table(name).await?;
        together::refuse_child(&table, "restored")?;
        let target = table.at(as_of).await?;
        let wanted = target.files()?;
        check_files(&table, &wanted).await?;
        for _ in 0..ATTEMPTS_MAX {
            let mut ahead = None;
            let mut change = difference(&table, &wanted)?;
            if !schema::equal(table.schema(), target.schema()) {
                change.schema = Some(target.schema().as_ref().clone());
            }
            if let Some((connection, stream)) = shape::stream_of(&table.properties()?) {
                let now = StateRecord::read(&table, &connection, &stream).await?;
                let then = StateRecord::read(&target, &connection, &stream).await?;
                if let Some(now) = now {
                    // A version from before the first checkpoint has no state: the stream starts over.
                    let mut then = then.unwrap_or_else(|| StateRecord {
                        children: BTreeMap::new(),
                        state: StreamState::default(),
                        generations: Vec::new(),
                        held: 0,
                        ..now.clone()
                    });
                    // The children go first, like those of any checkpoint.
                    then.children = together::restore(&self.storage, name, &now, &then.children)
                        .boxed()
                        .await?;
                    failpoint::reach("lake.after_child_commit")?;
                    ahead = Some(now.clone());
                    set_state(&mut change, now, then, run)?;
                }
            }
            if let Attempt::Committed(version) = table.try_commit(&change).await? {
                return Ok(version);
            }
            if let Some(now) = ahead {
                together::roll_back(&self.storage, name, &now).boxed().await?;
            }
        }
        Err(table.contended())
    }
}

pub(crate) fn difference(table: &Table, wanted: &[DataFile]) -> Result<Change> {
    let have = table.files()?;
    let paths =
        |files: &[DataFile]| -> BTreeSet<String> { files.iter().map(|file| file.path.clone()).collect() };
    let (have_paths, wanted_paths) = (paths(&have), paths(wanted));
    let mut change = Change::new("RESTORE");
    let gone = have.iter().filter(|file| !wanted_paths.contains(&file.path));
    change.removes = gone.map(|file| file.remove(true)).collect();
    let back = wanted.iter().filter(|file| !have_paths.contains(&file.path));
    change.adds = back.map(|file| file.add(true)).collect();
    Ok(change)
}

/// The numbers go on; state and generations go back.
fn set_state(change: &mut Change, now: StateRecord, then: StateRecord, run: &str) -> Result<()> {
    let record = StateRecord {
        sequence: now.sequence + 1,
        run: run.to_owned(),
        books: Books::default(),
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
    for file in wanted {
        match store.head(&file.location()).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Error::not_found(format!(
                    "the version cannot be restored: vacuum removed '{}'",
                    file.path
                ))
                .with("table", table.name())
                .hint("choose a newer version, or rebuild the table with `weir lake rebuild`"));
            }
            Err(error) => return Err(failed("read", &file.location(), error)),
        }
    }
    Ok(())
}
