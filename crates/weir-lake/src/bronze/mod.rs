//! Bronze: records as received, in zstd JSON Lines objects.
//!
//! An object is named after the checkpoint that its records belong to (see
//! `docs/decisions/20261121-bronze-object-names.md`), so a repeated write overwrites itself and what a
//! checkpoint that never happened left behind can be told apart and removed.

mod frame;
mod line;
mod object;
mod reader;
mod writer;

pub(crate) use line::{Held, RawRecord, present};
pub(crate) use object::{ObjectName, Parts};
pub(crate) use reader::{batches, lines, objects};
pub(crate) use writer::BronzeWriter;

use object_store::path::Path;
use weir_protocol::{Result, name};

use crate::storage::Storage;

/// Where a stream's Bronze objects lie.
pub(crate) fn folder(source: &str, stream: &str) -> Path {
    Path::from("bronze").join(name::bronze(source, stream))
}

/// Removes the objects in `folder` of checkpoints after `committed`, those of one run or all, and says
/// how many there were.
pub(crate) async fn remove_after(
    storage: &Storage,
    folder: &Path,
    committed: u64,
    run: Option<&str>,
) -> Result<u64> {
    let mut removed = 0;
    for (name, meta) in objects(storage, folder).await? {
        if name.sequence > committed && run.is_none_or(|run| run == name.run) {
            storage.delete(&meta.location).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
