//! Quarantine: records that broke their stream's contract wait here with the reason and their bytes,
//! until somebody releases them into Silver or discards them.
//!
//! `quarantine/<source>_<stream>/<sequence>-<run>-<part>.jsonl.zst` hold the records, written before the
//! checkpoint that they belong to; `_journal/<id>.json` say what was decided about which of them.

mod entry;
mod journal;
mod ledger;
mod list;
mod writer;

pub use entry::Entry;
pub use journal::{Decision, Verb};
pub use list::{Choice, Listing, Reason};

pub(crate) use entry::Origin;
pub(crate) use journal::{application, begin, finish, settle};
pub(crate) use ledger::{Digest, Ledger, digest};
pub(crate) use list::{chosen, list};
pub(crate) use writer::QuarantineWriter;

use object_store::path::Path;

/// Where a stream's held records lie.
pub(crate) fn folder(source: &str, stream: &str) -> Path {
    Path::from("quarantine").join(format!("{source}_{stream}"))
}

#[cfg(test)]
use journal::pending;

#[cfg(test)]
mod tests;
