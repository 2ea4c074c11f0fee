//! A load of ascending keys, none of which a file can hold: the first load of a table, above all, and new
//! records after the last ones. Nothing has to be looked up, so nothing is made to look it up with.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat;
use weir_protocol::{Error, Result};

use super::keys::Keys;
use super::prune::{self, Wanted};
use super::{Merging, Rule};

impl Merging<'_> {
    /// Writes the load as it came, if it is of this kind; false where it must be compared with the table.
    pub(super) async fn add_ascending(&mut self, batches: &[RecordBatch]) -> Result<bool> {
        // A new version of a row says when it begins, which is not looked up here either.
        let is_open = self.upsert.rule == Rule::History || self.upsert.vanish.is_some();
        if is_open || !ascend(&self.upsert.keys, batches)? || !self.are_beside(batches)? {
            return Ok(false);
        }
        for rows in batches {
            self.outcome.landed += rows.num_rows() as u64;
            if let Some(children) = &mut self.children {
                children.land(rows).await?;
            }
            self.writer.write(rows).await?;
        }
        Ok(true)
    }

    /// Whether no file has a key between the first and the last of the load.
    fn are_beside(&self, batches: &[RecordBatch]) -> Result<bool> {
        if self.upsert.files.is_empty() {
            return Ok(true);
        }
        let Some(column) = self.upsert.keys.paths().first() else {
            return Ok(false);
        };
        let Some(ends) = ends(&self.upsert.keys, batches)? else {
            return Ok(false);
        };
        let Some(wanted) = Wanted::new(column, ends)? else {
            return Ok(false);
        };
        for file in &self.upsert.files {
            if !prune::is_beside(file, &wanted)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether each row's key is larger than that of the row before.
fn ascend(keys: &Keys, batches: &[RecordBatch]) -> Result<bool> {
    let mut last: Option<Box<[u8]>> = None;
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        let rows = keys.keys(batch)?;
        let goes_on = last.as_deref().is_none_or(|last| last < rows.row(0).data());
        if !goes_on || !rows.iter().is_sorted_by(|a, b| a < b) {
            return Ok(false);
        }
        last = Some(rows.row(batch.num_rows() - 1).data().into());
    }
    Ok(true)
}

/// The first and the last value of the first column of the key.
fn ends(keys: &Keys, batches: &[RecordBatch]) -> Result<Option<ArrayRef>> {
    let filled = || batches.iter().filter(|batch| batch.num_rows() > 0);
    let (Some(first), Some(last)) = (filled().next(), filled().next_back()) else {
        return Ok(None);
    };
    let of = |batch| keys.key_columns(batch).map(|columns| columns.into_iter().next());
    let (Some(low), Some(high)) = (of(first)?, of(last)?) else {
        return Ok(None);
    };
    let ends = [low.slice(0, 1), high.slice(high.len() - 1, 1)];
    let ends = concat(&[ends[0].as_ref(), ends[1].as_ref()]).map_err(|error| {
        Error::internal("the keys of a load are of several types")
            .hint("report this defect with the stream's schema")
            .caused_by(error)
    })?;
    Ok(Some(ends))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn batch(ids: &[Option<i64>]) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).unwrap()
    }

    proptest! {
        #[test]
        fn ascending_is_what_never_stays_or_falls(
            ids in prop::collection::vec(prop::option::weighted(0.9, -3_i64..9), 0..6),
            sorted in any::<bool>(),
            cut in 0_usize..6,
        ) {
            let mut ids = ids;
            if sorted {
                ids.sort_unstable();
            }
            let (first, second) = ids.split_at(cut.min(ids.len()));
            let batches = [batch(first), batch(&[]), batch(second)];
            let keys = Keys::new(vec!["id".to_owned()], None);
            let ascends = ids.windows(2).all(|pair| pair[0] < pair[1]);
            prop_assert_eq!(ascend(&keys, &batches).unwrap(), ascends);
            let ends = ends(&keys, &batches).unwrap();
            let ends = ends.map(|ends| ends.as_primitive::<Int64Type>().iter().collect::<Vec<_>>());
            prop_assert_eq!(ends, (!ids.is_empty()).then(|| vec![ids[0], ids[ids.len() - 1]]));
        }
    }
}
