//! What a rebuild would lose, which must be said and accepted before it may.
//!
//! Rows alone do not tell it: a record that lands after all may keep an older version out of the
//! table. The lines that the table was made of are counted; as long as Bronze gives them all, and all
//! of them land that had landed, nothing is lost, however many rows it comes to.

use std::collections::{BTreeMap, HashSet};

use futures::{FutureExt, TryStreamExt};
use weir_protocol::{Error, ErrorKind, Result, WriteMode};

use super::scratch::Scratch;
use crate::table::columns::{CURSOR, EMITTED_AT};
use crate::table::{DataFile, Table, scan};
use crate::upsert::{Keys, keys};
use crate::writer::shape::Shape;
use crate::writer::state::StateRecord;

const REASONS_MAX: usize = 3;
const HASH_BYTES: u64 = 8;

/// Counts while Bronze is read.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Lines that were read and belong to the table.
    pub(super) lines: u64,
    /// Reasons of records that had landed and no longer fit.
    unfit: BTreeMap<String, u64>,
    /// Bronze lacks the first lines that the table was made of.
    pub(super) is_cut: bool,
    /// Mode or key are not those that the table was written by.
    changed: bool,
}

impl Guard {
    pub(super) fn new(changed: bool) -> Self {
        Self {
            changed,
            ..Self::default()
        }
    }

    /// A record had landed and does not fit any more.
    pub(super) fn note_unfit(&mut self, reason: &str) {
        *self.unfit.entry(reason.to_owned()).or_default() += 1;
    }

    /// Why the rebuild must not go on unless the loss is accepted; none where nothing is lost.
    pub(super) async fn refusal(
        &self,
        main: Option<&Table>,
        record: &StateRecord,
        scratch: &Scratch,
    ) -> Result<Option<Error>> {
        let shape = &scratch.shape;
        if !self.unfit.is_empty() {
            return Ok(Some(self.unfit(shape)));
        }
        let Some(main) = main else {
            // Nothing is there that could be lost.
            return Ok(None);
        };
        let rows = |files: &[DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
        let (now, rebuilt) = (rows(&main.files()?), rows(&scratch.files()?));
        let Some(expected) = record.lines else {
            // Written before lines were counted: the rows must do.
            let is_whole = if self.changed {
                !self.is_cut
            } else {
                rebuilt >= now
            };
            return Ok((!is_whole).then(|| gone(shape, "all the records", now, rebuilt)));
        };
        let missing = expected.saturating_sub(self.lines);
        if missing == 0 {
            return Ok(None);
        }
        let lost = if self.changed {
            None
        } else {
            lost_versions(main, scratch).boxed().await?
        };
        if lost == Some(0) {
            return Ok(None);
        }
        let what = format!("{missing} of the {expected} records");
        let error = gone(shape, &what, now, rebuilt);
        Ok(Some(match lost {
            Some(lost) => error.with("rows lost", lost),
            None => error,
        }))
    }

    fn unfit(&self, shape: &Shape) -> Error {
        let count: u64 = self.unfit.values().sum();
        let mut reasons: Vec<_> = self.unfit.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reasons: Vec<String> = reasons
            .into_iter()
            .take(REASONS_MAX)
            .map(|(reason, count)| format!("{reason} ({count})"))
            .collect();
        Error::new(
            ErrorKind::Gate,
            format!(
                "{count} records that landed in table '{}' do not fit the stream's schema of today",
                shape.name
            ),
        )
        .with("reasons", reasons.join("; "))
        .hint("nothing was changed. Mend the stream's schema or contract, or say --accept-loss: they would then wait in quarantine")
    }
}

fn gone(shape: &Shape, what: &str, now: u64, rebuilt: u64) -> Error {
    Error::new(
        ErrorKind::Gate,
        format!("Bronze no longer holds {what} that table '{}' was made of", shape.name),
    )
    .with("rows now", now)
    .with("rows rebuilt", rebuilt)
    .hint("nothing was changed. Put archived Bronze objects back, or say --accept-loss if the table may lack what came from them")
}

/// Rows of the table of which the rebuilt one has no version of the same cursor; none where rows
/// cannot be told apart.
async fn lost_versions(main: &Table, scratch: &Scratch) -> Result<Option<u64>> {
    let shape = &scratch.shape;
    if shape.primary_key.is_empty() {
        return Ok(None);
    }
    let mut key = shape.primary_key.clone();
    let versions = shape.cursor.is_some() || shape.mode.write() == WriteMode::Merge;
    key.push(if versions { CURSOR } else { EMITTED_AT }.to_owned());
    let by = Keys::new(key, None);
    let files = main.files()?;
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let passes = (rows * HASH_BYTES).div_ceil(scratch.memory_bytes()).max(1);
    let mut lost = 0;
    for pass in 0..passes {
        let mut ours = HashSet::new();
        if let Some(table) = scratch.table() {
            for hash in hashes(table, &by, passes, pass).await? {
                ours.insert(hash);
            }
        }
        let theirs = hashes(main, &by, passes, pass).await?;
        lost += theirs.iter().filter(|hash| !ours.contains(hash)).count() as u64;
    }
    Ok(Some(lost))
}

/// The hashes of one pass.
async fn hashes(table: &Table, by: &Keys, passes: u64, pass: u64) -> Result<Vec<u64>> {
    let slim = keys::project(table.schema(), &by.key_roots(table.schema()));
    let mut found = Vec::new();
    let mut batches = scan::read_all(table.store(), table.files()?, slim);
    while let Some(batch) = batches.try_next().await? {
        let hashes = by.hashes(&batch)?;
        found.extend(hashes.into_iter().filter(|hash| hash % passes == pass));
    }
    Ok(found)
}
