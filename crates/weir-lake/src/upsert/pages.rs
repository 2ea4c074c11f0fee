//! Which rows of a file may have a wanted key, by the smallest and largest value of each page: of keys
//! that ascend with their rows, most pages need not be read.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::offset_index::PageLocation;

use super::keys::encode;
use super::prune::Wanted;
use crate::table::original::Original;

/// The places of rows in pages that may hold a wanted value of every key column.
pub(super) fn may_hold(original: &Original, wanted: &[Wanted]) -> Vec<Range<u32>> {
    let mut found = original.places();
    let schema = original.schema();
    for wanted in wanted {
        if let Some(pages) = of_column(&original.footer, schema, wanted) {
            found = both(&found, &pages);
        }
    }
    found
}

/// The same by one column; none where the file does not say enough of it.
fn of_column(footer: &ParquetMetaData, schema: &Schema, wanted: &Wanted) -> Option<Vec<Range<u32>>> {
    let (columns, offsets) = (footer.column_index()?, footer.offset_index()?);
    let parquet = footer.file_metadata().schema_descr();
    let converter = StatisticsConverter::try_new(wanted.column(), schema, parquet).ok()?;
    let column = converter.parquet_column_index()?;
    let groups: Vec<usize> = (0..footer.num_row_groups()).collect();
    let mins = converter.data_page_mins(columns, offsets, &groups).ok()?;
    let maxes = converter.data_page_maxes(columns, offsets, &groups).ok()?;
    let pages = pages(footer, column)?;
    if pages.len() != mins.len() || pages.len() != maxes.len() {
        return None;
    }
    let may_be = bounds(wanted, &mins, &maxes)?;
    let held = pages.into_iter().zip(may_be).filter(|(_, may_be)| *may_be);
    Some(joined(held.map(|(page, _)| page)))
}

/// For each page whether a wanted value lies within its bounds.
fn bounds(wanted: &Wanted, mins: &ArrayRef, maxes: &ArrayRef) -> Option<Vec<bool>> {
    if mins.data_type() != wanted.kind() || maxes.data_type() != wanted.kind() {
        return None;
    }
    let low = encode(std::slice::from_ref(mins)).ok()?;
    let high = encode(std::slice::from_ref(maxes)).ok()?;
    let may_be = (0..mins.len()).map(|page| {
        let is_unknown = mins.is_null(page) || maxes.is_null(page);
        is_unknown || wanted.is_between(low.row(page).data(), high.row(page).data())
    });
    Some(may_be.collect())
}

/// The places of each page's rows.
fn pages(footer: &ParquetMetaData, column: usize) -> Option<Vec<Range<u32>>> {
    let mut all = Vec::new();
    let mut start = 0;
    for (index, group) in footer.row_groups().iter().enumerate() {
        let rows = u32::try_from(group.num_rows()).ok()?;
        let found = footer.offset_index()?.get(index)?.get(column)?.page_locations();
        let first = |page: &PageLocation| u32::try_from(page.first_row_index).ok();
        for (page, location) in found.iter().enumerate() {
            let end = found.get(page + 1).map_or(Some(rows), first)?;
            all.push(start + first(location)?..start + end);
        }
        start += rows;
    }
    Some(all)
}

/// Ranges that ascend, those that touch as one.
fn joined(ranges: impl Iterator<Item = Range<u32>>) -> Vec<Range<u32>> {
    let mut all: Vec<Range<u32>> = Vec::new();
    for range in ranges.filter(|range| !range.is_empty()) {
        match all.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => all.push(range),
        }
    }
    all
}

/// What two lists of ascending ranges have in common.
fn both(one: &[Range<u32>], other: &[Range<u32>]) -> Vec<Range<u32>> {
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    let mut all = Vec::new();
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        all.push(a.start.max(b.start)..a.end.min(b.end));
        if a.end < b.end {
            left.next();
        } else {
            right.next();
        }
    }
    joined(all.into_iter())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(lengths: &[(u32, u32)]) -> Vec<Range<u32>> {
        let mut next = 0;
        let ranges = lengths.iter().map(|(skip, take)| {
            let start = next + skip;
            next = start + take;
            start..next
        });
        joined(ranges)
    }

    proptest! {
        #[test]
        fn rows_in_both_lists_are_found(
            one in prop::collection::vec((0..4_u32, 0..4_u32), 0..9),
            other in prop::collection::vec((0..4_u32, 0..4_u32), 0..9),
        ) {
            let (one, other) = (ranges(&one), ranges(&other));
            let common: Vec<u32> = both(&one, &other).into_iter().flatten().collect();
            let is_in = |list: &[Range<u32>], row: u32| list.iter().any(|range| range.contains(&row));
            let expected: Vec<u32> = (0..90).filter(|row| is_in(&one, *row) && is_in(&other, *row)).collect();
            prop_assert_eq!(common, expected);
        }
    }
}
