//! One part of a load, with one row chosen for each key.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::row::Rows;
use foldhash::fast::FixedState;
use weir_protocol::{Error, Result};

use super::keys::Keys;
use super::order::Order;

/// Rows of a load by key: of several with the same key the newest leads, the last one on a tie.
pub(crate) struct Load<'a> {
    batches: &'a [RecordBatch],
    /// By batch: how many rows are before it.
    starts: Vec<usize>,
    /// The columns of all rows that decide, in one batch.
    pub(crate) slim: &'a RecordBatch,
    leads: HashMap<&'a [u8], usize, FixedState>,
    /// By key: its leading row, and whether that row is still to be written.
    chosen: Vec<(u32, bool)>,
    /// By leading row: when the key's stored versions end at the latest (µs).
    floors: HashMap<u32, i64>,
    cursors: Option<Order>,
    /// Cursor, then time of emission.
    order: Order,
    keys: &'a Rows,
}

impl<'a> Load<'a> {
    /// `slim` has the rows of `batches` in their order.
    pub(crate) fn choose(
        batches: &'a [RecordBatch],
        slim: &'a RecordBatch,
        keys: &'a Rows,
        by: &Keys,
    ) -> Result<Self> {
        let order = by.order(slim)?;
        let mut leads: HashMap<&[u8], usize, FixedState> =
            HashMap::with_capacity_and_hasher(slim.num_rows(), FixedState::default());
        let mut chosen: Vec<(u32, bool)> = Vec::new();
        for row in 0..slim.num_rows() {
            let position = u32::try_from(row).map_err(|_| too_many())?;
            match leads.entry(keys.row(row).data()) {
                Entry::Vacant(entry) => {
                    entry.insert(chosen.len());
                    chosen.push((position, true));
                }
                Entry::Occupied(entry) => {
                    let lead = &mut chosen[*entry.get()];
                    if order.compare(row, &order, lead.0 as usize).is_ge() {
                        lead.0 = position;
                    }
                }
            }
        }
        let starts = batches.iter().scan(0, |next, batch| {
            let start = *next;
            *next += batch.num_rows();
            Some(start)
        });
        Ok(Self {
            batches,
            starts: starts.collect(),
            slim,
            leads,
            chosen,
            floors: HashMap::new(),
            cursors: by.cursors(slim)?,
            order,
            keys,
        })
    }

    /// The place of a key among the load's keys.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        self.leads.get(key).copied()
    }

    pub(crate) fn is_open(&self, place: usize) -> bool {
        self.chosen[place].1
    }

    /// The key's row is not needed: the table has it, or a newer one.
    pub(crate) fn drop(&mut self, place: usize) {
        self.chosen[place].1 = false;
    }

    pub(crate) fn lead(&self, place: usize) -> u32 {
        self.chosen[place].0
    }

    /// A stored version of the key holds until this time: a new one cannot begin before it.
    pub(crate) fn begins_after(&mut self, place: usize, at: Option<i64>) {
        if let Some(at) = at {
            let floor = self.floors.entry(self.chosen[place].0).or_insert(at);
            *floor = at.max(*floor);
        }
    }

    /// The times before which these rows cannot begin.
    pub(crate) fn floors(&self, rows: &[u32]) -> Vec<Option<i64>> {
        rows.iter().map(|row| self.floors.get(row).copied()).collect()
    }

    /// Whether a stored row's cursor is newer than the incoming one's.
    pub(crate) fn is_older_than(&self, place: usize, cursors: Option<&Order>, row: usize) -> bool {
        self.compare(place, cursors, row) == Some(Ordering::Less)
    }

    /// Whether a stored row's cursor is older than the incoming one's.
    pub(crate) fn is_newer_than(&self, place: usize, cursors: Option<&Order>, row: usize) -> bool {
        self.compare(place, cursors, row) == Some(Ordering::Greater)
    }

    /// The incoming row's cursor beside the stored one's; none where rows have no cursor.
    fn compare(&self, place: usize, cursors: Option<&Order>, row: usize) -> Option<Ordering> {
        let incoming = self.chosen[place].0 as usize;
        let ours = self.cursors.as_ref()?;
        Some(ours.compare(incoming, cursors?, row))
    }

    /// Whether a stored row is as new as the incoming one or newer, by cursor and time of emission.
    pub(crate) fn is_late(&self, place: usize, order: &Order, row: usize) -> bool {
        let incoming = self.chosen[place].0 as usize;
        order.compare(row, &self.order, incoming).is_ge()
    }

    /// The rows to write, in the order of their keys.
    pub(crate) fn survivors(&self) -> Vec<u32> {
        let open = self.chosen.iter().filter(|(_, open)| *open);
        let mut rows: Vec<u32> = open.map(|(row, _)| *row).collect();
        rows.sort_unstable_by(|a, b| self.keys.row(*a as usize).cmp(&self.keys.row(*b as usize)));
        rows
    }

    /// A row's batch, and its place there.
    fn place(&self, row: usize) -> (usize, usize) {
        // Of batches without rows, which start where the next does, the last is meant.
        let batch = self
            .starts
            .partition_point(|start| *start <= row)
            .saturating_sub(1);
        (batch, row - self.starts[batch])
    }

    /// What a row takes in memory, by the mean of all.
    pub(crate) fn bytes_of_row(&self) -> usize {
        let bytes = self.batches.iter().map(RecordBatch::get_array_memory_size);
        bytes.sum::<usize>() / self.slim.num_rows().max(1)
    }

    pub(crate) fn take(&self, rows: &[u32]) -> Result<RecordBatch> {
        let places: Vec<(usize, usize)> = rows.iter().map(|row| self.place(*row as usize)).collect();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        interleave_record_batch(&batches, &places).map_err(|error| {
            Error::internal("chosen rows cannot be taken")
                .hint("report this defect")
                .caused_by(error)
        })
    }
}

fn too_many() -> Error {
    Error::limit("one part of a load has more than 4,294,967,295 rows")
        .hint("raise the memory budget so that the load is split less, or sync smaller slices")
}
