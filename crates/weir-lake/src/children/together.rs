//! Children that follow what is done to their parent beside syncs: restore and retention.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use futures::{FutureExt, TryStreamExt};
use weir_protocol::{Error, ErrorKind, Result};

use super::mark::{ChildTable, Mark};
use crate::storage::Storage;
use crate::table::columns::{CURSOR, EMITTED_AT};
use crate::table::file_writer;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, DataFile, Table, scan};
use crate::typed::Exploder;
use crate::upsert::{ByParent, Incoming, Keys, Place, keys};
use crate::writer::shape;
use crate::writer::state::StateRecord;

/// Refuses what is done to a parent and its children together where a child alone is named.
pub(crate) fn refuse_child(table: &Table, verb: &str) -> Result<()> {
    match ChildTable::of(table.name(), &table.properties()?) {
        None => Ok(()),
        Some(child) => Err(Error::usage(format!(
            "table '{}' is a child of '{}' and cannot be {verb} alone",
            child.name, child.parent
        ))
        .hint(format!("name '{}': its children go with it", child.parent))),
    }
}

/// The children that a stream's state names.
fn children_of<'a>(
    parent: &'a str,
    record: &'a StateRecord,
    names: impl Iterator<Item = &'a String> + 'a,
) -> impl Iterator<Item = ChildTable> + 'a {
    names.map(|name| ChildTable {
        name: name.clone(),
        parent: parent.to_owned(),
        connection: record.connection.clone(),
        stream: record.stream.clone(),
    })
}

/// Refuses to go on where a child that a stream's state names is gone, or another one is in its place.
pub(crate) async fn check_whole<'a>(
    storage: &Storage,
    parent: &'a str,
    record: &'a StateRecord,
    names: impl Iterator<Item = &'a String> + 'a,
) -> Result<()> {
    for child in children_of(parent, record, names) {
        let version = record.children.get(&child.name).copied().unwrap_or_default();
        let found = child.find(storage).await?.map(|table| table.version());
        if found.is_some_and(|found| found >= version) {
            continue;
        }
        let message = match found {
            None => format!("child table '{}' of '{parent}' is gone", child.name),
            Some(found) => format!(
                "child table '{}' of '{parent}' stands at version {found}, its parent knows version {version}",
                child.name
            ),
        };
        return Err(Error::destination(message)
            .with("connection", &record.connection)
            .with("stream", &record.stream)
            .hint(format!(
                "put its folder back, or fill it anew from Bronze: `weir lake rebuild {} {}`",
                record.connection, record.stream
            )));
    }
    Ok(())
}

/// Makes the children what they were at `then`, ahead of the parent's next checkpoint. Gives their
/// versions. Children that did not exist at that time are emptied.
pub(crate) async fn restore(
    storage: &Storage,
    parent: &str,
    now: &StateRecord,
    then: &BTreeMap<String, i64>,
) -> Result<BTreeMap<String, i64>> {
    check_whole(storage, parent, now, now.children.keys())
        .boxed()
        .await?;
    let mut versions = BTreeMap::new();
    for child in children_of(parent, now, now.children.keys()) {
        let Some(mut table) = child.find(storage).await? else {
            continue;
        };
        child.roll_back(&mut table, Some(now.sequence)).boxed().await?;
        let mut is_done = false;
        for _ in 0..ATTEMPTS_MAX {
            let mark = Mark {
                sequence: now.sequence + 1,
                after: Some(now.sequence),
                before: table.version(),
            };
            let target = then.get(&child.name).copied();
            if let Attempt::Committed(version) = child.put_back(&mut table, target, &mark).await? {
                versions.insert(child.name.clone(), version);
                is_done = true;
                break;
            }
        }
        if !is_done {
            return Err(table.contended());
        }
    }
    Ok(versions)
}

/// Takes back children that went ahead of a parent's commit that was lost.
pub(crate) async fn roll_back(storage: &Storage, parent: &str, now: &StateRecord) -> Result<()> {
    for child in children_of(parent, now, now.children.keys()) {
        if let Some(mut table) = child.find(storage).await? {
            child.roll_back(&mut table, Some(now.sequence)).boxed().await?;
        }
    }
    Ok(())
}

/// Removes the children of the parent rows in `files`, which are about to go. Done again, it
/// changes nothing. Gives the versions of the children.
pub(crate) async fn forget(
    parent: &Table,
    record: &StateRecord,
    files: &[DataFile],
    memory_bytes: u64,
) -> Result<BTreeMap<String, i64>> {
    let storage = parent.storage();
    check_whole(storage, parent.name(), record, record.children.keys())
        .boxed()
        .await?;
    let primary_key = shape::primary_key(&parent.properties()?);
    let mut versions = record.children.clone();
    for child in children_of(parent.name(), record, record.children.keys()) {
        let Some(mut table) = child.find(storage).await? else {
            continue;
        };
        if child.goes_back_to(storage, &table).await?.is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("child table '{}' is in the middle of a checkpoint", child.name),
            )
            .hint("sync the stream to its end, then run retention again; nothing was changed"));
        }
        // The same field names in any list: only the parent's key is asked for.
        let parents = Exploder::new(std::slice::from_ref(&child.name), &primary_key)
            .map(|exploder| exploder.parent_columns())
            .unwrap_or_default();
        let forgetting = Forgetting {
            child: &child,
            parent,
            primary_key: &primary_key,
            parents,
            memory_bytes,
        };
        versions.insert(
            child.name.clone(),
            forgetting.run(&mut table, record.sequence, files).boxed().await?,
        );
    }
    Ok(versions)
}

struct Forgetting<'a> {
    child: &'a ChildTable,
    parent: &'a Table,
    primary_key: &'a [String],
    /// Columns of the parent's key in the child.
    parents: Vec<String>,
    memory_bytes: u64,
}

impl Forgetting<'_> {
    /// A version of a parent is told by its key, its cursor and when it was read.
    fn keys(&self) -> Keys {
        let mut names = self.parents.clone();
        names.extend([CURSOR.to_owned(), EMITTED_AT.to_owned()]);
        Keys::new(names, None)
    }

    async fn run(&self, table: &mut Table, sequence: u64, files: &[DataFile]) -> Result<i64> {
        let place = Place::of(self.parent.storage(), table.folder());
        let mut load = Incoming::new(self.keys(), self.memory_bytes / 2, place);
        let mut names: Vec<String> = Keys::new(self.primary_key.to_vec(), None).roots(self.parent.schema());
        names.extend([CURSOR.to_owned(), EMITTED_AT.to_owned()]);
        let schema = keys::project(self.parent.schema(), &names);
        let mut rows = scan::read_all(self.parent.store(), files.to_vec(), schema);
        while let Some(batch) = rows.try_next().await? {
            load.push(self.named(&batch)?).await?;
        }
        for _ in 0..ATTEMPTS_MAX {
            let by_parent = ByParent {
                table,
                keys: self.keys(),
                keeps_past: false,
                memory_bytes: self.memory_bytes,
            };
            let outcome = by_parent.run(&mut load).boxed().await?;
            if outcome.removes.is_empty() {
                load.clear().await;
                return Ok(table.version());
            }
            let mark = Mark {
                sequence,
                after: None,
                before: table.version(),
            };
            let mut change = self.child.change("DELETE", &mark)?;
            change.adds = outcome.adds.iter().map(|file| file.add(true)).collect();
            change.removes = outcome.removes.iter().map(|file| file.remove(true)).collect();
            if let Attempt::Committed(version) = table.try_commit(&change).boxed().await? {
                load.clear().await;
                return Ok(version);
            }
            file_writer::discard(&table.store(), &outcome.adds).boxed().await;
        }
        Err(table.contended())
    }

    /// The parents of a batch as the child names them.
    fn named(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let lost = |error: arrow::error::ArrowError| {
            Error::internal("the keys of parents cannot be taken")
                .hint("report this defect")
                .caused_by(error)
        };
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        let own = [(CURSOR, CURSOR), (EMITTED_AT, EMITTED_AT)];
        let parents = self.parents.iter().map(String::as_str);
        let paths = self.primary_key.iter().map(String::as_str);
        for (name, path) in parents.zip(paths).chain(own) {
            if let Some(array) = keys::column(batch, path) {
                fields.push(Field::new(name, array.data_type().clone(), true));
                columns.push(array);
            }
        }
        RecordBatch::try_new(std::sync::Arc::new(Schema::new(fields)), columns).map_err(lost)
    }
}
