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
use crate::bronze::{self, ObjectName};
use crate::lake::Lake;
use crate::quarantine;
use crate::table::Table;

/// Objects of one folder that lie after the newest checkpoint that the stream's table knows.
struct Beyond {
    folder: Path,
    /// Of the next checkpoint, which never happened: a writer died before its commit.
    leftovers: Vec<Path>,
    /// Of checkpoints that happened, in a table that is not there any more.
    unknown: Vec<(ObjectName, Path)>,
}

impl Lake {
    /// Readies the folders of a stream whose table stands at checkpoint `committed`: what a writer that
    /// died before its commit left is removed. Refuses, and changes nothing, where there is more that
    /// the table does not know.
    pub(super) async fn clear_folders(&self, plan: &WritePlan, committed: u64) -> Result<()> {
        let found = self.beyond(plan, committed).await?;
        if found.iter().any(|folder| !folder.unknown.is_empty()) {
            return Err(unknown(plan, committed, &found));
        }
        for path in found.iter().flat_map(|folder| &folder.leftovers) {
            tracing::info!(object = %path, "removing an object that no checkpoint took");
            if committed == 0 {
                // Of a first checkpoint nothing else tells that it never happened.
                self.storage.set_aside(path).await?;
            } else {
                self.storage.delete(path).await?;
            }
        }
        Ok(())
    }

    /// Moves what the stream's table does not know to `set_aside/`, where nothing in weir reads or
    /// removes it. Answers how many objects that were.
    pub async fn set_aside(&self, plan: &WritePlan) -> Result<u64> {
        let shape = Shape::new(plan)?;
        let committed = self
            .state(&shape.name, &plan.connection, &plan.stream.name)
            .await?
            .map_or(0, |committed| committed.sequence);
        let mut moved = 0;
        for folder in self.beyond(plan, committed).await? {
            let unknown = folder.unknown.into_iter().map(|(_, path)| path);
            for path in unknown.chain(folder.leftovers) {
                self.storage.set_aside(&path).await?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    async fn beyond(&self, plan: &WritePlan, committed: u64) -> Result<Vec<Beyond>> {
        let (source, stream) = (&plan.source, &plan.stream.name);
        let mut found = Vec::new();
        for folder in [bronze::folder(source, stream), quarantine::folder(source, stream)] {
            let objects = bronze::objects(&self.storage, &folder).await?;
            found.push(sorted(folder, objects, committed, plan.known_sequence));
        }
        Ok(found)
    }
}

/// A checkpoint that the control store knows happened. So did each but the very next one: numbers are
/// given one after the other.
fn sorted(folder: Path, objects: Vec<(ObjectName, ObjectMeta)>, committed: u64, known: u64) -> Beyond {
    let mut found = Beyond {
        folder,
        leftovers: Vec::new(),
        unknown: Vec::new(),
    };
    for (name, meta) in objects {
        if name.sequence <= committed {
            continue;
        }
        if name.sequence == committed + 1 && name.sequence > known {
            found.leftovers.push(meta.location);
        } else {
            found.unknown.push((name, meta.location));
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
