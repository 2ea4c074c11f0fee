//! Is the lake complete? Compares the keys that the source has with those that the lake holds, in
//! bounded memory whatever their number.

mod digest;
mod spill;
#[cfg(test)]
mod tests;

use std::path::Path;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, pin_mut, stream};
use serde::Serialize;
use weir_protocol::{Error, ReadEvent, ReadRequest, Result, Source, StreamDescriptor};

pub use digest::{Digest, Entry, Version, key_digest, version};
use spill::Spill;

/// What a comparison found. Counts of keys, not of rows, where it does not say otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records that the source gave.
    pub source_records: u64,
    /// Those of them that have no key: quarantine holds them, and no row can stand for them.
    pub keyless: u64,
    /// Rows that the lake holds.
    pub lake_rows: u64,
    /// Different keys on both sides together.
    pub checked: u64,
    /// At the source, not in the lake.
    pub missing: u64,
    /// In the lake, not at the source (any more).
    pub extra: u64,
    /// In the lake more than once.
    pub doubled: u64,
    /// On both sides, but no row has the cursor that the record has at the source: an edit was missed.
    pub stale: u64,
}

impl Report {
    pub fn is_complete(&self) -> bool {
        self.missing == 0 && self.extra == 0 && self.doubled == 0 && self.keyless == 0 && self.stale == 0
    }
}

/// Compares two streams of key digests; a source's record without a key is none. What does not fit into memory waits in unnamed files in
/// `scratch`, which vanish with the process.
pub async fn compare(
    source: impl Stream<Item = Result<Option<Entry>>>,
    lake: impl Stream<Item = Result<Entry>>,
    scratch: &Path,
) -> Result<Report> {
    let (source, keyless) = collect(source, scratch).await?;
    let (lake, _) = collect(lake.map_ok(Some), scratch).await?;
    let compared = tokio::task::spawn_blocking(move || spill::compare(source, lake)).await;
    let compared = compared.map_err(|error| {
        Error::internal("the comparison broke off")
            .caused_by(error)
            .hint("report it")
    })?;
    compared.map(|report| Report {
        source_records: report.source_records + keyless,
        keyless,
        ..report
    })
}

/// The keys, and how many records have none.
async fn collect(keys: impl Stream<Item = Result<Option<Entry>>>, scratch: &Path) -> Result<(Spill, u64)> {
    let mut spill = Spill::in_folder(scratch)?;
    let mut keyless = 0;
    pin_mut!(keys);
    while let Some(key) = keys.try_next().await? {
        match key {
            Some(key) => spill.add(key)?,
            None => keyless += 1,
        }
    }
    Ok((spill, keyless))
}

/// Key and version of all records that a stream has at its source, by reading it in full; none for a
/// record without a key, which a sync holds in quarantine. Without `versions` all are the same.
pub fn source_keys(
    source: &dyn Source,
    stream: &StreamDescriptor,
    versions: bool,
) -> Result<BoxStream<'static, Result<Option<Entry>>>> {
    if stream.primary_key.is_empty() {
        return Err(
            Error::usage("a stream without a primary key cannot be reconciled")
                .with("stream", &stream.name)
                .hint("set primary_key on the stream"),
        );
    }
    let key = stream.primary_key.clone();
    let events = source.read(ReadRequest::full(&stream.name));
    let digests = events.map(move |event| match event {
        Ok(ReadEvent::Batch(batch)) => batch
            .records
            .iter()
            .map(|record| {
                let cursor = batch.cursor(record).filter(|_| versions);
                let key = digest::record_digest(batch.json(record), &key);
                Ok(key.map(|key| Entry {
                    key,
                    version: version(cursor),
                }))
            })
            .collect(),
        Ok(_) => Vec::new(),
        Err(error) => vec![Err(error)],
    });
    Ok(digests.flat_map(stream::iter).boxed())
}
