//! Whether files hold a key twice, in bounded memory.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use object_store::ObjectStore;
use weir_protocol::Result;

use super::keys::{self, Keys};
use crate::table::{DataFile, scan};

/// A hash in the set takes about so much.
const HASH_BYTES: u64 = 24;

/// May say yes where two hashes collide; never says no wrongly.
pub(crate) async fn has_duplicates(
    store: &Arc<dyn ObjectStore>,
    files: &[DataFile],
    schema: &SchemaRef,
    by: &Keys,
    memory_bytes: u64,
) -> Result<bool> {
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let passes = (rows * HASH_BYTES).div_ceil(memory_bytes.max(1)).max(1);
    let slim = keys::project(schema, &by.roots(schema));
    for pass in 0..passes {
        let mut seen = HashSet::new();
        let mut batches = scan::read_all(store.clone(), files.to_vec(), slim.clone());
        while let Some(batch) = batches.try_next().await? {
            let hashes = by.hashes(&batch)?;
            let mut ours = hashes.into_iter().filter(|hash| hash % passes == pass);
            if ours.any(|hash| !seen.insert(hash)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
