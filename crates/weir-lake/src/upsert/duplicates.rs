//! Whether files hold a key twice, in bounded memory.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use object_store::ObjectStore;
use weir_protocol::Result;

use super::keys::{self, Keys};
use crate::table::{DataFile, scan};

const HASH_BYTES: u64 = 8;
/// More would show in the memory of a large load; a pass reads the key columns alone.
const HASHES_BYTES_MAX: u64 = 16 << 20;

/// May say yes where two hashes collide; never says no wrongly.
pub(crate) async fn has_duplicates(
    store: &Arc<dyn ObjectStore>,
    files: &[DataFile],
    schema: &SchemaRef,
    by: &Keys,
    memory_bytes: u64,
) -> Result<bool> {
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let room = memory_bytes.clamp(HASH_BYTES, HASHES_BYTES_MAX);
    let passes = (rows * HASH_BYTES).div_ceil(room).max(1);
    let slim = keys::project(schema, &by.key_roots(schema));
    for pass in 0..passes {
        let mut ours = Vec::with_capacity(usize::try_from(rows / passes).unwrap_or_default());
        let mut batches = scan::read_all(store.clone(), files.to_vec(), slim.clone());
        while let Some(batch) = batches.try_next().await? {
            let hashes = by.hashes(&batch)?;
            ours.extend(hashes.into_iter().filter(|hash| hash % passes == pass));
        }
        ours.sort_unstable();
        if ours.windows(2).any(|pair| pair[0] == pair[1]) {
            return Ok(true);
        }
    }
    Ok(false)
}
