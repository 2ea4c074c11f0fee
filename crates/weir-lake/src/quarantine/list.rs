//! What is held now.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use weir_protocol::{Error, Result};

use super::{Entry, entry, folder, journal};
use crate::bronze::{lines, objects};
use crate::storage::Storage;

/// Which held records are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    All,
    Ids(BTreeSet<String>),
    /// All with exactly this reason.
    Reason(String),
}

impl Choice {
    fn takes(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => ids.contains(&entry.id),
            Self::Reason(reason) => *reason == entry.reason,
        }
    }
}

/// What is held of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Held records in all.
    pub total: u64,
    /// Most frequent first.
    pub reasons: Vec<Reason>,
    /// The oldest ones, as many as were asked for.
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub reason: String,
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Counts what is held by reason, and gives up to `entries_max` of it.
pub(crate) async fn list(
    storage: &Storage,
    source: &str,
    stream: &str,
    entries_max: usize,
) -> Result<Listing> {
    let mut listing = Listing::default();
    let mut reasons: BTreeMap<String, Reason> = BTreeMap::new();
    each(storage, source, stream, |entry| {
        listing.total += 1;
        let reason = reasons.entry(entry.reason.clone()).or_insert_with(|| Reason {
            reason: entry.reason.clone(),
            count: 0,
            first: entry.emitted_at,
            last: entry.emitted_at,
        });
        reason.count += 1;
        reason.first = reason.first.min(entry.emitted_at);
        reason.last = reason.last.max(entry.emitted_at);
        if listing.entries.len() < entries_max {
            listing.entries.push(entry);
        }
    })
    .await?;
    listing.reasons = reasons.into_values().collect();
    listing
        .reasons
        .sort_by_key(|reason| std::cmp::Reverse(reason.count));
    Ok(listing)
}

/// The held records that are meant, oldest first. An id that is not held is an error.
pub(crate) async fn chosen(
    storage: &Storage,
    source: &str,
    stream: &str,
    choice: &Choice,
) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    each(storage, source, stream, |entry| {
        if choice.takes(&entry) {
            found.push(entry);
        }
    })
    .await?;
    if let Choice::Ids(ids) = choice {
        let missing: Vec<&str> = ids
            .iter()
            .filter(|id| !found.iter().any(|entry| entry.id == **id))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(
                Error::not_found(format!("not held in quarantine: {}", missing.join(", ")))
                    .with("stream", stream)
                    .hint("`weir quarantine list` shows the ids of what is held"),
            );
        }
    }
    Ok(found)
}

/// Calls `take` with every record that is still held.
async fn each(storage: &Storage, source: &str, stream: &str, mut take: impl FnMut(Entry)) -> Result<()> {
    let decided: BTreeSet<String> = journal::decisions(storage, source, stream)
        .await?
        .into_iter()
        .filter(|decision| decision.done)
        .flat_map(|decision| decision.ids)
        .collect();
    every(storage, source, stream, |entry| {
        if !decided.contains(&entry.id) {
            take(entry);
        }
    })
    .await
}

/// Calls `take` with every record that was ever held.
pub(super) async fn every(
    storage: &Storage,
    source: &str,
    stream: &str,
    mut take: impl FnMut(Entry),
) -> Result<()> {
    for (name, meta) in objects(storage, &folder(source, stream)).await? {
        let body = storage.get(&meta.location).await?;
        lines(&meta.location, body, |line| {
            take(entry::parse(line, name.sequence)?);
            Ok(())
        })?;
    }
    Ok(())
}
