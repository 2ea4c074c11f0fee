//! Bronze: records as received, in zstd JSON Lines objects.
//!
//! An object is named after the checkpoint that its records belong to (see
//! `docs/decisions/20261121-bronze-object-names.md`), so a repeated write overwrites itself and what a
//! checkpoint that never happened left behind can be told apart and removed.

mod line;
mod object;
mod reader;
mod writer;

pub(crate) use line::{Held, RawRecord};
pub(crate) use object::ObjectName;
pub(crate) use reader::{batches, lines, objects};
pub(crate) use writer::BronzeWriter;

use object_store::path::Path;
use weir_protocol::{Result, name};

use crate::storage::Storage;

/// Where a stream's Bronze objects lie.
pub(crate) fn folder(source: &str, stream: &str) -> Path {
    Path::from("bronze").join(name::bronze(source, stream))
}

/// Clears `folder` for the checkpoint after `committed`, the newest that the stream's table knows. A
/// writer that died before its commit leaves objects of the very next checkpoint, which are deleted.
/// Anything else was committed once, to a table that is gone or a connection of another name: it may
/// be the only copy, and is set aside.
pub(crate) async fn clear_after(storage: &Storage, folder: &Path, committed: u64) -> Result<()> {
    let mut kept = 0;
    for (name, meta) in objects(storage, folder).await? {
        if name.sequence <= committed {
            continue;
        }
        if committed > 0 && name.sequence == committed + 1 {
            tracing::info!(object = %meta.location, "removing an object that no checkpoint took");
            storage.delete(&meta.location).await?;
        } else {
            storage.set_aside(&meta.location).await?;
            kept += 1;
        }
    }
    if kept > 0 {
        tracing::warn!(
            %folder,
            objects = kept,
            "the stream's table does not know these objects: they were moved to set_aside/ in the lake. \
             If its table, its connection or its entity was renamed or removed, they may hold records that are nowhere else"
        );
    }
    Ok(())
}

/// Removes the objects in `folder` of checkpoints after `committed`, and says how many there were.
pub(crate) async fn remove_after(storage: &Storage, folder: &Path, committed: u64) -> Result<u64> {
    let mut removed = 0;
    for (name, meta) in objects(storage, folder).await? {
        if name.sequence > committed {
            storage.delete(&meta.location).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
