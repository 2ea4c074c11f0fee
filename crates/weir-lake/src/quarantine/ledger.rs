//! Which lines of Bronze are held, were released or discarded: what a replay of Bronze goes by.
//!
//! A line and an entry belong together where checkpoint, run, time of arrival and bytes are equal.
//! Several equal lines are interchangeable; only their number counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use weir_protocol::Result;

use super::entry::Origin;
use super::journal::{self, Verb};
use super::list::every;
use crate::storage::Storage;

const DIGEST_BYTES: usize = 16;

/// What a line and its entry share.
pub(crate) type Digest = [u8; DIGEST_BYTES];

/// The digest of a record as it stands in Bronze and in quarantine.
pub(crate) fn digest(origin: Origin<'_>, emitted_at: Timestamp, record: &[u8]) -> Digest {
    let place = format!("{}\n{}\n{emitted_at}\n", origin.sequence, origin.run);
    let whole = Sha256::new().chain_update(place).chain_update(record).finalize();
    let mut digest = Digest::default();
    digest.copy_from_slice(&whole[..DIGEST_BYTES]);
    digest
}

/// The entries of one stream. Its memory follows the number of records ever held.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    lines: HashMap<Digest, Lines>,
    sequences: BTreeSet<u64>,
    /// Entries of which a later full refresh replaced what they would have landed in.
    replaced: BTreeSet<String>,
}

/// Equal lines.
#[derive(Debug, Default)]
struct Lines {
    /// Ids of entries that may be released.
    open: Vec<String>,
    /// Entries that stay out whatever the schema says: discarded, or held and not admitted.
    out: u64,
    /// Lines that fit.
    landed: usize,
}

impl Ledger {
    /// `admitted` are the ids that may be released; none: all that are held. `is_replaced` tells of a
    /// checkpoint whether a later full refresh replaced its rows.
    pub(crate) async fn read(
        storage: &Storage,
        source: &str,
        stream: &str,
        admitted: Option<&BTreeSet<String>>,
        is_replaced: impl Fn(u64) -> bool,
    ) -> Result<Self> {
        let mut verbs: BTreeMap<String, Verb> = BTreeMap::new();
        for decision in journal::decisions(storage, source, stream).await? {
            if decision.done {
                verbs.extend(decision.ids.into_iter().map(|id| (id, decision.verb)));
            }
        }
        let mut ledger = Self::default();
        every(storage, source, stream, |entry| {
            let origin = Origin {
                sequence: entry.sequence,
                run: &entry.run,
            };
            let lines = ledger
                .lines
                .entry(digest(origin, entry.emitted_at, &entry.record))
                .or_default();
            match verbs.get(&entry.id) {
                Some(Verb::Released) => return,
                Some(Verb::Discarded) => lines.out += 1,
                None if admitted.is_some_and(|admitted| !admitted.contains(&entry.id)) => lines.out += 1,
                None if is_replaced(entry.sequence) => {
                    ledger.replaced.insert(entry.id);
                }
                None => lines.open.push(entry.id),
            }
            ledger.sequences.insert(entry.sequence);
        })
        .await?;
        Ok(ledger)
    }

    /// Whether a line of this checkpoint may have an entry that matters.
    pub(crate) fn knows(&self, sequence: u64) -> bool {
        self.sequences.contains(&sequence)
    }

    /// Whether the line stays out without being typed.
    pub(crate) fn keeps_out(&mut self, digest: Digest) -> bool {
        let Some(lines) = self.lines.get_mut(&digest).filter(|lines| lines.out > 0) else {
            return false;
        };
        lines.out -= 1;
        true
    }

    /// Whether an entry holds the line that does not fit already; if not, it must be held now.
    pub(crate) fn stays(&mut self, digest: Digest) -> bool {
        let lines = self.lines.get_mut(&digest);
        lines.is_some_and(|lines| lines.open.pop().is_some())
    }

    pub(crate) fn landed(&mut self, digest: Digest) {
        if let Some(lines) = self.lines.get_mut(&digest) {
            lines.landed += 1;
        }
    }

    /// Ids of entries whose lines landed, or would have landed in what was replaced since. An entry
    /// whose line Bronze no longer has is not among them.
    pub(crate) fn released(self) -> BTreeSet<String> {
        let landed = |lines: Lines| lines.open.into_iter().take(lines.landed);
        let mut ids = self.replaced;
        ids.extend(self.lines.into_values().flat_map(landed));
        ids
    }
}
