//! Digests parted by their first byte into files, so that one part at a time fits into memory.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::path::Path;

use weir_protocol::{Error, Result};

use super::{Entry, Report};

/// 64 parts hold 170,000,000 keys with 64 MiB in memory at a time, and 128 open files suffice.
const PARTS: usize = 64;
/// A key and its version.
const ENTRY_BYTES: usize = 24;
const BUFFER_BYTES: usize = 16 << 10;

pub(super) struct Spill {
    parts: Vec<BufWriter<File>>,
    count: u64,
}

fn failed(error: std::io::Error) -> Error {
    Error::internal("cannot keep keys in a scratch file")
        .caused_by(error)
        .hint("make sure that the folder for scratch files is writable and has space")
}

impl Spill {
    pub(super) fn in_folder(folder: &Path) -> Result<Self> {
        let part = |_| {
            let file = tempfile::tempfile_in(folder).map_err(failed)?;
            Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
        };
        Ok(Self {
            parts: (0..PARTS).map(part).collect::<Result<_>>()?,
            count: 0,
        })
    }

    pub(super) fn add(&mut self, entry: Entry) -> Result<()> {
        self.count += 1;
        let part = &mut self.parts[usize::from(entry.key[0]) % PARTS];
        part.write_all(&entry.key)
            .and_then(|()| part.write_all(&entry.version.to_le_bytes()))
            .map_err(failed)
    }
}

fn sorted(part: BufWriter<File>) -> Result<Vec<Entry>> {
    let mut file = part.into_inner().map_err(|error| failed(error.into_error()))?;
    file.rewind().map_err(failed)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
    let mut entries: Vec<Entry> = entries.iter().map(entry).collect();
    entries.sort_unstable();
    Ok(entries)
}

fn entry(bytes: &[u8; ENTRY_BYTES]) -> Entry {
    Entry {
        key: std::array::from_fn(|index| bytes[index]),
        version: u64::from_le_bytes(std::array::from_fn(|index| bytes[16 + index])),
    }
}

pub(super) fn compare(source: Spill, lake: Spill) -> Result<Report> {
    let mut report = Report {
        source_records: source.count,
        lake_rows: lake.count,
        ..Report::default()
    };
    for (source, lake) in source.parts.into_iter().zip(lake.parts) {
        merge(&sorted(source)?, &sorted(lake)?, &mut report);
    }
    Ok(report)
}

/// Walks two sorted lists side by side.
fn merge(source: &[Entry], lake: &[Entry], report: &mut Report) {
    let same_key = |a: &Entry, b: &Entry| a.key == b.key;
    let mut source = source.chunk_by(same_key).peekable();
    let mut lake = lake.chunk_by(same_key).peekable();
    loop {
        let (here, there) = (
            source.peek().map(|run| run[0].key),
            lake.peek().map(|run| run[0].key),
        );
        let Some(least) = here.into_iter().chain(there).min() else {
            return;
        };
        report.checked += 1;
        let given = source.next_if(|run| run[0].key == least);
        let held = lake.next_if(|run| run[0].key == least);
        match (given, held) {
            (Some(_), None) => report.missing += 1,
            (None, Some(_)) => report.extra += 1,
            (Some(given), Some(held)) => {
                // A source that gives a record twice may give its older version too.
                let known = |entry: &Entry| held.iter().any(|row| row.version == entry.version);
                report.stale += u64::from(!given.iter().any(known));
            }
            (None, None) => {}
        }
        report.doubled += u64::from(held.is_some_and(|run| run.len() > 1));
    }
}
