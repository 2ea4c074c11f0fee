//! Whether the objects and the table that a stream finds under its names are its own.
//!
//! Bronze and quarantine lie under names made of source and stream, the table under one made of source
//! and entity, its state under connection and stream. When one of these names is changed, or the table
//! removed or put back by a copy, they no longer say the same; what is found then may be the only copy
//! of what it holds (`docs/decisions/20261121-stream-identity.md`).

use object_store::ObjectMeta;
use object_store::path::Path;
use weir_protocol::{Error, Result, WritePlan};

use super::shape::{self, Shape};
use super::state::StateRecord;
use crate::bronze::{self, ObjectName};
use crate::failpoint;
use crate::lake::Lake;
use crate::quarantine;
use crate::table::Table;

/// Objects of one folder that no checkpoint of the stream's table covers.
struct Beyond {
    folder: Path,
    /// Of checkpoints that another run committed: their own run never did.
    strays: Vec<Path>,
    /// Of the next checkpoint, by the run that opens the stream: it is being tried again.
    leftovers: Vec<Path>,
    /// Of a checkpoint that the main table has not, by other runs. They died before its commit, or may still
    /// come to it.
    open: Vec<Path>,
    /// Of checkpoints that happened, in a table that is not there any more.
    unknown: Vec<(ObjectName, Path)>,
}

impl Lake {
    /// Readies the folders of a stream whose table stands at `last`, and its main table at the checkpoint
    /// `settled`: what was written for checkpoints that never happened is removed. Answers with what other
    /// runs wrote for later ones; it is done with once the main table has those checkpoints of another run.
    /// Refuses, and changes nothing, where there is more that the table does not know.
    pub(super) async fn clear_folders(
        &self,
        plan: &WritePlan,
        last: Option<&StateRecord>,
        settled: u64,
    ) -> Result<Vec<Path>> {
        let committed = last.map_or(0, |record| record.sequence);
        let found = self.beyond(plan, last, settled).await?;
        if found.iter().any(|folder| !folder.unknown.is_empty()) {
            return Err(unknown(plan, committed, &found));
        }
        let done_with = |folder: &Beyond| [folder.strays.clone(), folder.leftovers.clone()].concat();
        for path in found.iter().flat_map(done_with) {
            tracing::info!(object = %path, "removing an object that no checkpoint took");
            self.storage.delete(&path).await?;
        }
        Ok(found.into_iter().flat_map(|folder| folder.open).collect())
    }

    /// Removes what was written for checkpoints that another run then committed.
    pub(crate) async fn clear_strays(&self, plan: &WritePlan, record: &StateRecord) -> Result<()> {
        for folder in self.beyond(plan, Some(record), record.sequence).await? {
            for path in &folder.strays {
                tracing::info!(object = %path, "removing an object that no checkpoint took");
                self.storage.delete(path).await?;
            }
        }
        Ok(())
    }

    /// Moves what the stream's table does not know to `set_aside/`, where nothing in weir reads or
    /// removes it. Answers how many objects that were.
    pub async fn set_aside(&self, plan: &WritePlan) -> Result<u64> {
        let shape = Shape::new(plan)?;
        let table = Table::find(&self.storage, &shape.folder).await?;
        let last = match &table {
            Some(table) => StateRecord::read(table, &plan.connection, &plan.stream.name).await?,
            None => None,
        };
        let mut moved = 0;
        let settled = last.as_ref().map_or(0, |record| record.sequence);
        for folder in self.beyond(plan, last.as_ref(), settled).await? {
            let unknown = folder.unknown.into_iter().map(|(_, path)| path);
            for path in unknown.chain(folder.leftovers).chain(folder.open) {
                failpoint::reach("lake.in_set_aside")?;
                self.storage.set_aside(&path).await?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    async fn beyond(
        &self,
        plan: &WritePlan,
        last: Option<&StateRecord>,
        settled: u64,
    ) -> Result<Vec<Beyond>> {
        let (source, stream) = (&plan.source, &plan.stream.name);
        let mut found = Vec::new();
        for folder in [bronze::folder(source, stream), quarantine::folder(source, stream)] {
            let objects = bronze::objects(&self.storage, &folder).await?;
            found.push(sorted(folder, objects, (last, settled), plan));
        }
        Ok(found)
    }
}

/// A checkpoint that the control store knows happened. So did each but the very next one: numbers are
/// given one after the other.
fn sorted(
    folder: Path,
    objects: Vec<(ObjectName, ObjectMeta)>,
    (last, settled): (Option<&StateRecord>, u64),
    plan: &WritePlan,
) -> Beyond {
    let committed = last.map_or(0, |record| record.sequence);
    let mut found = Beyond {
        folder,
        strays: Vec::new(),
        leftovers: Vec::new(),
        open: Vec::new(),
        unknown: Vec::new(),
    };
    for (name, meta) in objects {
        if name.sequence <= committed {
            let writer = last.and_then(|record| record.writer_of(name.sequence));
            match writer.is_some_and(|run| run != name.run) {
                true if name.sequence <= settled => found.strays.push(meta.location),
                // A staging table took the number, and the main table may yet give it to a run that sleeps.
                true => found.open.push(meta.location),
                false => {}
            }
        } else if name.sequence > committed + 1 || name.sequence <= plan.known_sequence {
            found.unknown.push((name, meta.location));
        } else if name.run == plan.run {
            found.leftovers.push(meta.location);
        } else {
            found.open.push(meta.location);
        }
    }
    found
}

fn unknown(plan: &WritePlan, committed: u64, found: &[Beyond]) -> Error {
    let (connection, stream) = (&plan.connection, &plan.stream.name);
    let layers: Vec<&str> = found
        .iter()
        .zip(["Bronze", "quarantine"])
        .filter(|(folder, _)| !folder.unknown.is_empty())
        .map(|(_, layer)| layer)
        .collect();
    let sequences = || {
        found
            .iter()
            .flat_map(|folder| &folder.unknown)
            .map(|(name, _)| name.sequence)
    };
    let table = weir_protocol::name::silver(&plan.source, &plan.stream.entity);
    let set_aside = format!(
        "`weir lake set-aside {connection} {stream}` moves those records away, and a sync then reads from the source what it still has"
    );
    let (message, hint) = if committed == 0 {
        (
            format!(
                "stream '{stream}' has records in {} that no table of it knows",
                layers.join(" and ")
            ),
            format!(
                "if the connection, the stream's entity or its source was renamed, set the old name back; if the table '{table}' was removed, \
                 `weir lake rebuild {connection} {stream}` makes it anew from Bronze; or {set_aside}"
            ),
        )
    } else {
        (
            format!(
                "{} of stream '{stream}' holds later checkpoints than its table, which seems to be an older copy",
                layers.join(" and ")
            ),
            format!("put the newest copy of table '{table}' back; or {set_aside}"),
        )
    };
    let mut error = Error::state(message)
        .with("table", table)
        .with("checkpoint of the table", committed);
    if let (Some(first), Some(last)) = (sequences().min(), sequences().max()) {
        error = error.with("found", format!("checkpoints {first} to {last}"));
    }
    for folder in found.iter().filter(|folder| !folder.unknown.is_empty()) {
        error = error.with("folder", &folder.folder);
    }
    error.hint(hint)
}

/// Refuses a table that was made by another stream, and that knows nothing of this one.
pub(super) fn check_owner(table: &Table, plan: &WritePlan) -> Result<()> {
    let Some((connection, stream)) = shape::stream_of(&table.properties()?) else {
        return Ok(());
    };
    if connection == plan.connection && stream == plan.stream.name {
        return Ok(());
    }
    Err(Error::spec(format!(
        "table '{}' belongs to stream '{stream}' of connection '{connection}', and knows nothing of stream '{}' of connection '{}'",
        table.name(),
        plan.stream.name,
        plan.connection
    ))
    .hint(format!(
        "if that is the same stream, give it its old name back (connections/{connection}.yaml, stream '{stream}'); \
         if both are to be kept, give this one another `source:` or `entity:`"
    )))
}
