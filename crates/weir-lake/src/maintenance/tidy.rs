//! What keeps a table of many small syncs in few files without anybody asking: at the end of a
//! stream its small files are joined once there are enough of them. A file is joined only with such
//! as come to a good part of its own size, so a row is written again a logarithmic number of times.

use std::collections::BTreeMap;

use futures::FutureExt;
use object_store::path::Path;
use weir_protocol::Result;

use super::compact;
use crate::lake::Lake;
use crate::table::file_writer::FILE_BYTES_TARGET;
use crate::table::partition::Values;
use crate::table::{DataFile, Table};

/// So many small files of a partition are left as they are.
const SMALL_FILES_MAX: usize = 7;
/// A file is small if it is less than this part of its partition, within these bounds: a change to a
/// few rows writes their file anew, so files that are not very many are better not very large.
const SMALL_SHARE: u64 = 32;
const SMALL_BYTES_MIN: u64 = 256 << 10;
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// A file is joined with smaller ones that come to at least its size divided by this.
const GROWTH_MAX: u64 = 2;

impl Lake {
    /// Joins small files of the table in `folder` where it is worth it.
    pub(crate) async fn tidy(&self, folder: &Path, memory_bytes: u64) -> Result<()> {
        let Some(mut table) = Table::find(&self.storage, folder).boxed().await? else {
            return Ok(());
        };
        for group in groups(table.files()?) {
            compact::join(&mut table, &group, memory_bytes).boxed().await?;
        }
        Ok(())
    }
}

/// Whether a table of this version can have anything to join: each version adds few files.
pub(crate) fn is_due(version: i64) -> bool {
    usize::try_from(version).is_ok_and(|version| version >= SMALL_FILES_MAX)
}

/// By partition: the files to join, if any.
fn groups(files: Vec<DataFile>) -> Vec<Vec<DataFile>> {
    let mut partitions: BTreeMap<Values, Vec<DataFile>> = BTreeMap::new();
    for file in files {
        partitions.entry(file.partition.clone()).or_default().push(file);
    }
    let mut groups: Vec<_> = partitions.into_values().collect();
    for group in &mut groups {
        let small = small_below(group.iter().map(|file| file.size));
        group.retain(|file| file.size < small);
        group.sort_by(|a, b| a.size.cmp(&b.size).then_with(|| a.path.cmp(&b.path)));
        group.truncate(worth_joining(group.iter().map(|file| file.size)));
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// The size below which a file of a partition is small.
fn small_below(sizes: impl Iterator<Item = u64>) -> u64 {
    (sizes.sum::<u64>() / SMALL_SHARE).clamp(SMALL_BYTES_MIN, SMALL_BYTES_MAX)
}

/// How many of the smallest files to join; their sizes ascend.
fn worth_joining(sizes: impl Iterator<Item = u64>) -> usize {
    let mut joined = 0;
    let mut total = 0;
    for (index, size) in sizes.enumerate() {
        if total + size > FILE_BYTES_TARGET {
            break;
        }
        if index >= SMALL_FILES_MAX && size <= total * GROWTH_MAX {
            joined = index + 1;
        }
        total += size;
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1 << 10;

    fn joined(sizes: &[u64]) -> usize {
        let mut sizes = sizes.to_vec();
        sizes.sort_unstable();
        worth_joining(sizes.into_iter())
    }

    #[test]
    fn few_files_and_large_ones_beside_few_small_ones_are_left() {
        assert_eq!(joined(&[KIB; 7]), 0);
        assert_eq!(joined(&[&[KIB; 7][..], &[30 << 20]].concat()), 0);
        assert_eq!(joined(&[&[KIB; 8][..], &[30 << 20]].concat()), 8);
        assert_eq!(joined(&[&[KIB][..], &[100 * KIB; 8]].concat()), 9);
    }

    #[test]
    fn what_is_joined_makes_no_file_beyond_the_target() {
        assert_eq!(joined(&[FILE_BYTES_TARGET / 10; 12]), 10);
    }

    proptest! {
        /// However many syncs of whatever size there were: few files, and few writings of each byte.
        #[test]
        fn many_small_syncs_leave_few_files(
            sizes in prop::collection::vec(KIB..16 * KIB, 1..2_000),
        ) {
            let mut files: Vec<u64> = Vec::new();
            let mut written = 0;
            for size in &sizes {
                files.push(*size);
                files.sort_unstable();
                let small = small_below(files.iter().copied());
                let count = worth_joining(files.iter().copied().take_while(|size| *size < small));
                let whole: u64 = files.drain(..count).sum();
                if count > 0 {
                    written += whole;
                    files.push(whole);
                }
                prop_assert!(files.len() <= 50, "{} files", files.len());
            }
            let total: u64 = sizes.iter().sum();
            prop_assert!(written <= total * 8, "{written} written for {total}");
        }
    }
}
