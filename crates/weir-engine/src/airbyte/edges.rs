//! The records exactly at a cursor. They are read again with every read that goes on from it, and
//! rows that are appended have no key to tell them apart by.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::slices::Slice;
use super::time::Moment;
use crate::declarative::Copies;
use crate::interpolate::hex;

/// Most records that are told apart, of all partitions together; more are taken again.
const RECORDS_MAX: usize = 10_000;
/// Bytes of a digest that are kept.
const DIGEST_BYTES: usize = 16;
/// Begins the entry that holds a partition's newest value, before the entries of its digests.
const NEWEST: &str = "newest ";
const OF: &str = " of ";

/// The newest value of a partition, and the digests of the records there.
struct Edge {
    at: Moment,
    digests: BTreeSet<String>,
}

/// What is known of all partitions of a stream.
pub(crate) struct Edges {
    /// Of earlier reads.
    old: HashSet<String>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    partitions: BTreeMap<String, Edge>,
    records: usize,
}

impl Kept {
    /// An older record that comes late does not take the place of what is kept.
    fn take(&mut self, partition: &str, mut edge: Edge) {
        if let Some(known) = self.partitions.remove(partition) {
            self.records -= known.digests.len();
            match known.at.cmp(&edge.at) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => edge.digests.extend(known.digests),
                std::cmp::Ordering::Greater => edge = known,
            }
        }
        let room = RECORDS_MAX.saturating_sub(self.records);
        edge.digests = edge.digests.into_iter().take(room).collect();
        if !edge.digests.is_empty() {
            self.records += edge.digests.len();
            self.partitions.insert(partition.to_owned(), edge);
        }
    }
}

impl Edges {
    /// From what [`Self::stored`] gave.
    pub(crate) fn new(stored: &[String]) -> Self {
        let mut begun: Vec<(&str, Edge)> = Vec::new();
        for entry in stored {
            if let Some((partition, at)) = beginning(entry) {
                let digests = BTreeSet::new();
                begun.push((partition, Edge { at, digests }));
            } else if let Some((_, edge)) = begun.last_mut() {
                edge.digests.insert(entry.clone());
            }
        }
        let digests = begun.iter().flat_map(|(_, edge)| &edge.digests);
        let old = digests.cloned().collect();
        let mut kept = Kept::default();
        for (partition, edge) in begun {
            kept.take(partition, edge);
        }
        Self {
            old,
            kept: Mutex::new(kept),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // What a panic elsewhere could leave half done costs a record that is taken again, no more.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As a stream's state keeps it.
    pub(crate) fn stored(&self) -> Vec<String> {
        let mut stored = Vec::new();
        for (partition, edge) in &self.lock().partitions {
            stored.push(format!("{NEWEST}{}{OF}{partition}", edge.at.micros));
            stored.extend(edge.digests.iter().cloned());
        }
        stored
    }

    /// Of a slice that is about to be read.
    pub(crate) fn begin(self: &Arc<Self>, slice: &Slice) -> SliceEdge {
        SliceEdge {
            edges: self.clone(),
            partition: slice.key.clone(),
            known: Copies::default(),
            newest: None,
            copies: Copies::default(),
        }
    }
}

fn beginning(entry: &str) -> Option<(&str, Moment)> {
    let (micros, partition) = entry.strip_prefix(NEWEST)?.split_once(OF)?;
    Some((partition, Moment::utc(micros.parse().ok()?)))
}

/// What is at the newest value of one slice, while it is read.
pub(crate) struct SliceEdge {
    edges: Arc<Edges>,
    partition: String,
    /// Records of the old edge that came.
    known: Copies,
    newest: Option<Edge>,
    /// Records at the newest value that came.
    copies: Copies,
}

impl SliceEdge {
    /// Whether an earlier read gave this record already. Takes notice of it. `at` is its cursor as a
    /// state would tell it, which may be coarser than the record's own: all of its last day is read again.
    pub(crate) fn knows(&mut self, at: Moment, json: &[u8]) -> bool {
        let digest = self.digest(json);
        let old = &self.edges.old;
        let is_known = old.contains(&digest) && old.contains(&self.known.next(digest.clone()));
        match &mut self.newest {
            Some(newest) if at < newest.at => {}
            Some(newest) if at == newest.at => {
                if newest.digests.len() < RECORDS_MAX {
                    newest.digests.insert(self.copies.next(digest));
                }
            }
            newest => {
                self.copies = Copies::default();
                let digests = [self.copies.next(digest)].into();
                *newest = Some(Edge { at, digests });
            }
        }
        is_known
    }

    /// The slice is read and passed on. Not before: a state must not name a record that it does not cover.
    pub(crate) fn close(self) {
        if let Some(newest) = self.newest {
            self.edges.lock().take(&self.partition, newest);
        }
    }

    /// Partitions may give the same record, each once.
    fn digest(&self, json: &[u8]) -> String {
        let digest = Sha256::new()
            .chain_update(&self.partition)
            .chain_update("\n")
            .chain_update(json)
            .finalize();
        hex(digest.get(..DIGEST_BYTES).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Which records are known, and what is stored then.
    fn read(stored: &[String], partition: &str, records: &[(&str, i64)]) -> (Vec<bool>, Vec<String>) {
        let edges = Arc::new(Edges::new(stored));
        let nothing = || json!({});
        let slice = Slice::new(json!({ "of": partition }), nothing(), nothing());
        let mut edge = edges.begin(&slice);
        let known = records
            .iter()
            .map(|(json, at)| edge.knows(Moment::utc(*at), json.as_bytes()))
            .collect();
        edge.close();
        (known, edges.stored())
    }

    #[test]
    fn a_late_record_leaves_those_at_the_newest_value_known() {
        let (_, first) = read(&[], "x", &[("a", 1), ("b", 2), ("c", 2)]);
        assert_eq!((first[0].as_str(), first.len()), (r#"newest 2 of {"of":"x"}"#, 3));
        let (known, second) = read(&first, "x", &[("late", 1)]);
        assert_eq!((known, &second), (vec![false], &first));
        let (known, third) = read(&second, "x", &[("c", 2), ("d", 2)]);
        assert_eq!((known, third.len()), (vec![true, false], 4));
        let (known, fourth) = read(&third, "x", &[("b", 2), ("d", 2), ("e", 3)]);
        assert_eq!((known, fourth.len()), (vec![true, true, false], 2));
        assert_eq!(read(&third, "x", &[]).1, third);
    }

    #[test]
    fn of_records_that_are_alike_as_many_are_known_as_there_were() {
        let (known, stored) = read(&[], "x", &[("a", 1), ("a", 1)]);
        assert_eq!((known, stored.len()), (vec![false, false], 3));
        let (known, stored) = read(&stored, "x", &[("a", 1), ("a", 1), ("a", 1)]);
        assert_eq!((known, stored.len()), (vec![true, true, false], 4));
    }

    #[test]
    fn each_partition_has_an_edge_of_its_own() {
        let (_, stored) = read(&[], "x", &[("a", 7)]);
        let (known, stored) = read(&stored, "y", &[("a", 3)]);
        assert_eq!((known, stored.len()), (vec![false], 4));
        assert_eq!(read(&stored, "x", &[("a", 7)]), (vec![true], stored.clone()));
        assert_eq!(read(&stored, "y", &[("a", 3)]), (vec![true], stored.clone()));
    }

    #[test]
    fn what_is_read_but_not_passed_on_is_not_stored() {
        let edges = Arc::new(Edges::new(&[]));
        let mut edge = edges.begin(&Slice::whole());
        assert!(!edge.knows(Moment::utc(1), b"a"));
        drop(edge);
        assert!(edges.stored().is_empty());
    }

    #[test]
    fn no_more_records_are_kept_than_may_be() {
        let texts: Vec<String> = (0..RECORDS_MAX + 5).map(|number| number.to_string()).collect();
        let records: Vec<(&str, i64)> = texts.iter().map(|text| (text.as_str(), 1)).collect();
        let (_, stored) = read(&[], "x", &records);
        assert_eq!(stored.len(), RECORDS_MAX + 1);
        assert_eq!(read(&stored, "y", &[("a", 1)]), (vec![false], stored.clone()));
        assert_eq!(read(&stored, "x", &[("a", 2)]).1.len(), 2);
    }
}
