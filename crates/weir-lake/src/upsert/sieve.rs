//! Which rows of a file have a key of the load, told from the key columns alone. Of a large table
//! and a small load they are few, and of the others nothing more has to be read.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::iter::Peekable;
use std::ops::Range;
use std::vec;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef};
use foldhash::fast::FixedState;
use futures::{FutureExt, TryStreamExt};
use weir_protocol::Result;

use super::keys::{self, Keys};
use super::pages;
use super::prune::Wanted;
use crate::table::deletion::Gone;
use crate::table::original::Original;
use crate::table::scan;

/// Of so many bits one is set for each key: of other rows one in so many is looked up.
const BITS_PER_KEY: usize = 16;
/// Key columns are narrow, so that more rows can be looked at together.
const BATCH_ROWS: usize = 16 << 10;
/// Where more than one row in so many passes, the file is better read whole.
const SHARE_MIN: u64 = 16;

/// Whether a load of so many rows can be expected to concern few of those stored.
pub(super) fn is_worth(load: usize, stored: u64) -> bool {
    load as u64 * SHARE_MIN <= stored
}

/// A set of keys that may take a foreign one for its own, but never misses one of its own.
pub(super) struct Sieve<'a> {
    keys: &'a Keys,
    schema: SchemaRef,
    bits: Vec<u64>,
    hashes: HashSet<u64, FixedState>,
}

impl<'a> Sieve<'a> {
    /// Of the keys of a load with the columns of `schema`.
    pub(super) fn new(keys: &'a Keys, load: &RecordBatch, schema: &SchemaRef) -> Result<Self> {
        let bits = (load.num_rows() * BITS_PER_KEY).next_power_of_two().max(64);
        let hashes = hashes(&keys.key_columns(load)?, load.num_rows())?;
        let mut sieve = Self {
            keys,
            schema: keys::project(schema, &keys.key_roots(schema)),
            bits: vec![0; bits / 64],
            hashes: hashes.iter().copied().collect(),
        };
        for hash in hashes {
            let (word, bit) = sieve.place(hash);
            sieve.bits[word] |= bit;
        }
        Ok(sieve)
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        let word = (hash >> 6) as usize & (self.bits.len() - 1);
        (word, 1 << (hash & 63))
    }

    fn may_hold(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.bits[word] & bit != 0 && self.hashes.contains(&hash)
    }

    /// The places of the rows that have a key of the load, among those that are left of the file; none
    /// where they are so many that all of them should be looked at.
    pub(super) async fn candidates(
        &self,
        original: &Original,
        wanted: &[Wanted],
    ) -> Result<Option<Vec<u32>>> {
        let pages = pages::may_hold(original, wanted);
        if pages.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let selection = Some(scan::ranges(&pages));
        let mut rows = scan::read_of(&original.whole(), &self.schema, selection, BATCH_ROWS)
            .boxed()
            .await?;
        let mut found = Vec::new();
        let mut places = Places::of(pages);
        let mut seen = 0;
        while let Some(batch) = rows.try_next().await? {
            let hashes = hashes(&self.keys.key_columns(&batch)?, batch.num_rows())?;
            for (row, hash) in hashes.iter().enumerate() {
                if self.may_hold(*hash) {
                    found.extend(places.of_row(seen + row));
                }
            }
            seen += batch.num_rows();
            if found.len() as u64 * SHARE_MIN > original.file.rows {
                return Ok(None);
            }
        }
        let gone = Gone::of(&original.store, &original.file).await?;
        Ok(Some(gone.live_places(found)))
    }
}

/// Where the rows of some pages are in their file. Few are asked for, one after the other.
struct Places {
    pages: Peekable<vec::IntoIter<Range<u32>>>,
    /// Rows of the pages that are behind.
    before: usize,
}

impl Places {
    fn of(pages: Vec<Range<u32>>) -> Self {
        Self {
            pages: pages.into_iter().peekable(),
            before: 0,
        }
    }

    /// The place of the row that is the `row`-th of all pages; no row before one that was asked for.
    fn of_row(&mut self, row: usize) -> Option<u32> {
        while let Some(page) = self.pages.peek() {
            let within = row - self.before;
            if within < page.len() {
                return Some(page.start + u32::try_from(within).ok()?);
            }
            self.before += page.len();
            self.pages.next();
        }
        None
    }
}

/// A number for each row that equal keys share.
fn hashes(columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>> {
    let state = FixedState::default();
    let mut sums = vec![0; rows];
    for column in columns {
        match column.data_type() {
            DataType::Int64 => add_integers::<Int64Type>(&mut sums, column, &state),
            DataType::Int32 => add_integers::<Int32Type>(&mut sums, column, &state),
            DataType::Utf8 => {
                let column = column.as_string::<i32>();
                add(
                    &mut sums,
                    column
                        .iter()
                        .map(|value| value.map(|value| bytes(&state, value.as_bytes()))),
                );
            }
            _ => {
                let rows = keys::encode(std::slice::from_ref(column))?;
                add(&mut sums, rows.iter().map(|row| Some(bytes(&state, row.data()))));
            }
        }
    }
    Ok(sums)
}

fn add_integers<T: ArrowPrimitiveType<Native: Hash>>(
    sums: &mut [u64],
    column: &ArrayRef,
    state: &FixedState,
) {
    let column = column.as_primitive::<T>();
    if column.null_count() == 0 {
        // Of most keys, and several times as fast as looking at each for whether it is there.
        add(
            sums,
            column.values().iter().map(|value| Some(state.hash_one(value))),
        );
    } else {
        add(
            sums,
            column
                .iter()
                .map(|value| value.map(|value| state.hash_one(value))),
        );
    }
}

fn bytes(state: &FixedState, bytes: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// Adds another column of the key. Null is a value of its own.
fn add(sums: &mut [u64], hashes: impl Iterator<Item = Option<u64>>) {
    for (sum, hash) in sums.iter_mut().zip(hashes) {
        *sum = sum.rotate_left(21) ^ hash.unwrap_or(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;

    fn batch(numbers: &[Option<i64>], texts: &[Option<String>]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(numbers.to_vec())),
            Arc::new(StringArray::from(texts.to_vec())),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    #[test]
    fn few_foreign_keys_pass() {
        let keys = Keys::new(vec!["a".to_owned()], None);
        let own = batch(&(0..1_000).map(Some).collect::<Vec<_>>(), &vec![None; 1_000]);
        let sieve = Sieve::new(&keys, &own, own.schema_ref()).unwrap();
        let foreign = batch(
            &(1_000..101_000).map(Some).collect::<Vec<_>>(),
            &vec![None; 100_000],
        );
        let hashes = hashes(&keys.key_columns(&foreign).unwrap(), 100_000).unwrap();
        let passed = hashes.iter().filter(|hash| sieve.may_hold(**hash)).count();
        assert!(passed < 10_000, "{passed} of 100,000");
    }

    proptest! {
        #[test]
        fn rows_of_pages_are_found_in_their_file(
            pages in prop::collection::vec((0..4_u32, 0..5_u32), 0..6),
            asked in prop::collection::btree_set(0..25_usize, 0..9),
        ) {
            let mut next = 0;
            let pages: Vec<Range<u32>> = pages
                .into_iter()
                .map(|(skip, take)| {
                    let start = next + skip;
                    next = start + take;
                    start..next
                })
                .collect();
            let all: Vec<u32> = pages.iter().cloned().flatten().collect();
            let mut places = Places::of(pages);
            for row in asked {
                prop_assert_eq!(places.of_row(row), all.get(row).copied());
            }
        }

        #[test]
        fn every_own_key_passes(
            rows in prop::collection::vec((prop::option::of(any::<i64>()), prop::option::of(".{0,9}")), 1..200),
        ) {
            let (numbers, texts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            let all = batch(&numbers, &texts);
            let keys = Keys::new(vec!["a".to_owned(), "b".to_owned()], None);
            let sieve = Sieve::new(&keys, &all, all.schema_ref()).unwrap();
            for hash in hashes(&keys.key_columns(&all).unwrap(), all.num_rows()).unwrap() {
                prop_assert!(sieve.may_hold(hash));
            }
        }
    }
}
