//! Rows that come in the very place of those that they replace: their order stays, by which few pages need
//! be read to find one, and columns in which nothing changed are taken over as they stand.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use weir_protocol::Result;

use super::incoming::Bucket;
use super::load::Load;
use super::{Merging, Rule};
use crate::table::deletion::Gone;
use crate::table::file_writer::FileWriter;
use crate::table::original::Original;

impl Merging<'_> {
    /// Whether rows may come in the place of those that they replace: all of the load must be known, and
    /// nothing may be kept of a row that goes.
    pub(super) fn may_replace(&self, bucket: &Bucket) -> bool {
        let is_merge = matches!(self.upsert.rule, Rule::Merge | Rule::Late);
        is_merge && bucket.is_only() && self.children.is_none()
    }

    /// Takes out what goes, and answers with the rows of the load that came in its place.
    pub(super) async fn replace(&mut self, load: &Load<'_>) -> Result<HashSet<u32>> {
        let mut seen = HashSet::new();
        let places = self.hits.values().flatten().filter_map(|hit| hit.place);
        // Of several rows with one key one alone could be replaced.
        let doubled: HashSet<usize> = places.filter(|place| !seen.insert(*place)).collect();
        let mut done = HashSet::new();
        for (index, hits) in std::mem::take(&mut self.hits) {
            let rows = hits
                .iter()
                .filter_map(|hit| Some((hit.row, hit.place?)))
                .filter(|(_, place)| load.is_open(*place) && !doubled.contains(place))
                .map(|(row, place)| (row, load.lead(place)));
            let mut replacements = Replacements::new(load, rows.collect());
            let gone = hits.iter().map(|hit| hit.row).collect();
            let (file, outcome, writer) = (&self.upsert.files[index], &mut self.outcome, &mut self.writer);
            self.removal
                .replace(file, gone, &mut replacements, writer, outcome)
                .await?;
            done.extend(replacements.done);
        }
        Ok(done)
    }
}

/// New rows of a row group are copied at once: of more bytes they are written as others are.
const BYTES_MAX: usize = 64 << 20;

/// Rows that may come in the place of stored ones of one file.
#[derive(Default)]
pub(super) struct Replacements<'a> {
    /// By place in the file: the row of the load.
    rows: BTreeMap<u32, u32>,
    load: Option<&'a Load<'a>>,
    bytes_of_row: usize,
    /// Rows of the load that were written.
    done: Vec<u32>,
}

impl<'a> Replacements<'a> {
    fn new(load: &'a Load<'a>, rows: BTreeMap<u32, u32>) -> Self {
        Self {
            rows,
            load: Some(load),
            bytes_of_row: load.bytes_of_row(),
            done: Vec::new(),
        }
    }

    /// Takes a row group over with new rows for all that are gone of it; false where it cannot.
    pub(super) async fn exchange(
        &mut self,
        original: &Original,
        group: usize,
        (places, gone): (&Range<u32>, &Gone),
        writer: &mut FileWriter,
    ) -> Result<bool> {
        let Some(load) = self.load else {
            return Ok(false);
        };
        let here: Vec<(u32, u32)> = self
            .rows
            .range(places.clone())
            .map(|(place, row)| (*place, *row))
            .collect();
        if here.len() as u64 != gone.count_in(places) {
            return Ok(false);
        }
        if here.len() * self.bytes_of_row > BYTES_MAX {
            return Ok(false);
        }
        let rows: Vec<u32> = here.iter().map(|(_, row)| *row).collect();
        let within: Vec<u32> = here.iter().map(|(place, _)| place - places.start).collect();
        let is_done = writer
            .exchange(original, group, &within, &load.take(&rows)?)
            .await?;
        if is_done {
            self.done.extend(rows);
        }
        Ok(is_done)
    }
}

#[cfg(test)]
mod tests;
