//! Whether files hold a key twice, in bounded memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use object_store::ObjectStore;
use weir_protocol::Result;

use super::keys::{self, Keys};
use crate::table::{DataFile, scan};

const HASH_BYTES: u64 = 8;
/// More would show in the memory of a large load; a pass reads the key columns alone.
const HASHES_BYTES_MAX: u64 = 16 << 20;

/// The keys of rows as they pass, while there are not too many to remember.
pub(crate) struct SeenKeys {
    by: Keys,
    hashes: Vec<u64>,
    memory_bytes: u64,
}

impl SeenKeys {
    pub(crate) fn new(by: Keys, memory_bytes: u64) -> Self {
        Self {
            by,
            hashes: Vec::new(),
            memory_bytes: memory_bytes.min(HASHES_BYTES_MAX),
        }
    }

    /// False where they are too many.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<bool> {
        self.hashes.extend(self.by.hashes(batch)?);
        Ok(self.hashes.len() as u64 * HASH_BYTES <= self.memory_bytes)
    }

    /// As [`has_duplicates`] says it of files.
    pub(crate) fn have_duplicates(&mut self) -> bool {
        has_pair(&mut self.hashes)
    }
}

fn has_pair(hashes: &mut [u64]) -> bool {
    hashes.sort_unstable();
    hashes.windows(2).any(|pair| pair[0] == pair[1])
}

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
        if has_pair(&mut ours) {
            return Ok(true);
        }
    }
    Ok(false)
}
