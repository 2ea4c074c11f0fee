//! The records exactly at a cursor. They are read again with every read that goes on from it, and
//! rows that are appended have no key to tell them apart by.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use weir_protocol::source::Notice;

use super::slices::Slice;
use super::time::Moment;
use crate::declarative::Copies;
use crate::interpolate::hex;

/// Most records that are told apart, of all partitions together; more are taken again.
const RECORDS_MAX: usize = 10_000;
/// Partitions of which something is known while a read goes on, be it only how many of their records are forgotten.
const PARTITIONS_MAX: usize = 25_000;
/// Bytes of a digest that are kept.
const DIGEST_BYTES: usize = 16;
/// Begins the entry that holds a partition's newest value, before the entries of its digests.
const NEWEST: &str = "newest ";
const OF: &str = " of ";

/// The newest value of a partition, and the digests of the records there.
struct Edge {
    at: Moment,
    digests: BTreeSet<String>,
    /// Whether this read gave records there, not an earlier one.
    is_read: bool,
    /// Records there beyond those that can be remembered.
    forgotten: usize,
}

/// What of a partition decides whose records are forgotten first, the least before the others: a partition that gave
/// none at its cursor now may be gone, and one with an old cursor changes seldom.
type Worth = (bool, Moment, String);

impl Edge {
    fn worth(&self, partition: &str) -> Worth {
        (self.is_read, self.at, partition.to_owned())
    }
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
    /// Of the partitions that have digests.
    worths: BTreeSet<Worth>,
    /// Digests of all partitions.
    records: usize,
    /// Of partitions of which nothing else is known any more.
    forgotten: usize,
}

impl Kept {
    /// An older record that comes late does not take the place of what is kept.
    fn take(&mut self, partition: &str, mut edge: Edge) {
        if let Some(known) = self.remove(partition) {
            match known.at.cmp(&edge.at) {
                Ordering::Less => {}
                Ordering::Equal => {
                    // What an earlier read left is among what came now.
                    if known.is_read {
                        edge.forgotten += known.forgotten;
                    }
                    edge.digests.extend(known.digests);
                }
                Ordering::Greater => edge = known,
            }
        }
        self.put(partition.to_owned(), edge);
        // A read that is cut off here must know its unread partitions still when it goes on.
        self.shrink(2 * RECORDS_MAX, |(is_read, _, _)| *is_read);
    }

    /// Forgets records of partitions that `may_go` until no more than so many are left.
    fn shrink(&mut self, records_max: usize, may_go: impl Fn(&Worth) -> bool) {
        while self.records > records_max {
            let Some(least) = self.worths.iter().find(|worth| may_go(worth)).cloned() else {
                return;
            };
            self.forget(least, self.records - records_max);
        }
    }

    fn put(&mut self, partition: String, edge: Edge) {
        self.records += edge.digests.len();
        if !edge.digests.is_empty() {
            self.worths.insert(edge.worth(&partition));
        }
        self.partitions.insert(partition, edge);
    }

    fn remove(&mut self, partition: &str) -> Option<Edge> {
        let edge = self.partitions.remove(partition)?;
        self.records -= edge.digests.len();
        self.worths.remove(&edge.worth(partition));
        Some(edge)
    }

    /// Forgets up to so many records of a partition.
    fn forget(&mut self, (_, _, partition): Worth, surplus: usize) {
        let Some(mut edge) = self.remove(&partition) else {
            return;
        };
        let left = edge.digests.len().saturating_sub(surplus);
        while edge.digests.len() > left {
            // Of records that are alike the first one stays: without it the others are not known either.
            edge.digests.pop_last();
            edge.forgotten += 1;
        }
        if edge.digests.is_empty() && self.partitions.len() >= PARTITIONS_MAX {
            self.forgotten += edge.forgotten;
        } else {
            self.put(partition, edge);
        }
    }

    fn forgotten(&self) -> usize {
        let known = self.partitions.values().map(|edge| edge.forgotten);
        self.forgotten + known.sum::<usize>()
    }
}

impl Edges {
    /// From what [`Self::stored`] gave.
    pub(crate) fn new(stored: &[String]) -> Self {
        let mut begun: Vec<(&str, Edge)> = Vec::new();
        for entry in stored {
            if let Some((partition, at)) = beginning(entry) {
                let edge = Edge {
                    at,
                    digests: BTreeSet::new(),
                    is_read: false,
                    forgotten: 0,
                };
                begun.push((partition, edge));
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
        let kept = self.lock();
        let told = kept
            .partitions
            .iter()
            .filter(|(_, edge)| !edge.digests.is_empty());
        for (partition, edge) in told {
            stored.push(format!("{NEWEST}{}{OF}{partition}", edge.at.micros));
            stored.extend(edge.digests.iter().cloned());
        }
        stored
    }

    /// At the end of a read: forgets what is more than the next one may go on from.
    pub(crate) fn settle(&self) {
        self.lock().shrink(RECORDS_MAX, |_| true);
    }

    /// What a person is told at the end of a read that had more records than can be remembered.
    pub(crate) fn notice(&self) -> Option<Notice> {
        self.settle();
        let forgotten = self.lock().forgotten();
        (forgotten > 0).then(|| Notice {
            message: format!(
                "of the records without a key at the cursors of the stream's partitions, {forgotten} are more than the \
                 {RECORDS_MAX} that can be remembered"
            ),
            hint: Some(
                "the next read may land them again: name what tells them apart as the stream's primary_key in the connection"
                    .to_owned(),
            ),
        })
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
                } else {
                    newest.forgotten += 1;
                }
            }
            newest => {
                self.copies = Copies::default();
                *newest = Some(Edge {
                    at,
                    digests: [self.copies.next(digest)].into(),
                    is_read: true,
                    forgotten: 0,
                });
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

    /// Whether each of so many records at a cursor was known to the edges.
    fn give(edges: &Arc<Edges>, partition: &str, at: i64, count: usize) -> Vec<bool> {
        let mut edge = edges.begin(&Slice::new(json!({ "of": partition }), json!({}), json!({})));
        let known = (0..count).map(|number| edge.knows(Moment::utc(at), number.to_string().as_bytes()));
        let known = known.collect();
        edge.close();
        known
    }

    #[test]
    fn no_more_records_are_kept_than_may_be_and_it_is_told_how_many_are_not() {
        let edges = Arc::new(Edges::new(&[]));
        give(&edges, "x", 1, RECORDS_MAX);
        assert_eq!(edges.notice(), None);
        give(&edges, "x", 1, RECORDS_MAX + 5);
        let told = edges.notice().unwrap();
        insta::assert_snapshot!(told.message, @"of the records without a key at the cursors of the stream's partitions, 5 are more than the 10000 that can be remembered");
        let stored = edges.stored();
        assert_eq!(stored.len(), RECORDS_MAX + 1);
        assert_eq!(read(&stored, "x", &[("a", 2)]).1.len(), 2);
    }

    #[test]
    fn what_did_not_come_again_is_forgotten_first_and_then_what_is_oldest() {
        let half = RECORDS_MAX / 2;
        let edges = Arc::new(Edges::new(&[]));
        give(&edges, "newest", 9, half);
        give(&edges, "old", 5, half);
        let edges = Arc::new(Edges::new(&edges.stored()));
        assert_eq!(edges.notice(), None);
        // Those of the older cursor come again; the newer ones do not, and make room.
        assert!(give(&edges, "old", 5, half).iter().all(|known| *known));
        give(&edges, "oldest", 1, half);
        let told = edges.notice().unwrap();
        assert!(told.message.contains(" 5000 are more"), "{told:?}");
        assert!(edges.stored().iter().all(|entry| !entry.contains("newest\"}")));
        // Of what came, the oldest cursor goes first, in part.
        give(&edges, "new", 7, 10);
        edges.settle();
        let again = Arc::new(Edges::new(&edges.stored()));
        let known = |partition: &str, at, count| {
            let known = give(&again, partition, at, count);
            known.into_iter().filter(|known| *known).count()
        };
        assert_eq!(known("new", 7, 10), 10);
        assert_eq!(known("old", 5, half), half);
        assert_eq!(known("oldest", 1, half), half - 10);
        assert_eq!(known("newest", 9, half), 0);
    }

    #[test]
    fn a_read_that_is_cut_off_knows_its_unread_partitions_still() {
        let edges = Arc::new(Edges::new(&[]));
        give(&edges, "a", 1, RECORDS_MAX);
        let edges = Arc::new(Edges::new(&edges.stored()));
        give(&edges, "b", 2, RECORDS_MAX);
        give(&edges, "c", 3, 100);
        let again = Arc::new(Edges::new(&edges.stored()));
        assert!(give(&again, "a", 1, RECORDS_MAX).iter().all(|known| *known));
        assert!(again.notice().is_some());
        assert_eq!(
            again
                .stored()
                .iter()
                .filter(|entry| !entry.starts_with(NEWEST))
                .count(),
            RECORDS_MAX
        );
    }

    #[test]
    fn a_partition_that_is_read_late_is_not_counted_as_forgotten() {
        let half = RECORDS_MAX / 2;
        let edges = Arc::new(Edges::new(&[]));
        give(&edges, "a", 1, half);
        give(&edges, "b", 1, half);
        let edges = Arc::new(Edges::new(&edges.stored()));
        give(&edges, "c", 2, 100);
        assert!(edges.notice().is_some());
        // What made room comes after all, and another partition makes room in its place, which has gone on by then.
        assert!(give(&edges, "a", 1, half - 100).iter().all(|known| *known));
        give(&edges, "b", 3, 7);
        assert_eq!(edges.notice(), None);
    }
}
