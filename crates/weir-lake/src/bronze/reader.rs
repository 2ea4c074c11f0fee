//! Reads Bronze back as batches, in the order in which the records were written.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde_json::value::RawValue;
use weir_protocol::state::WHOLE;
use weir_protocol::{Batch, Error, Record, Result};

use super::ObjectName;
use super::line::Line;
use crate::storage::Storage;

/// Bytes of records in a batch that is read back.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// One line holds one record, and no record is larger than an answer may be.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// The objects in a folder, in the order of their checkpoints. Names that are not ours are left out.
pub(crate) async fn objects(storage: &Storage, folder: &Path) -> Result<Vec<(ObjectName, ObjectMeta)>> {
    let mut found: Vec<_> = storage
        .list(folder)
        .await?
        .into_iter()
        .filter_map(|meta| {
            let name = ObjectName::parse(meta.location.filename()?)?;
            Some((name, meta))
        })
        .collect();
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(found)
}

/// The lines of an object, one at a time: `read` gets each without its line end.
pub(crate) fn lines(path: &Path, body: Bytes, mut read: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut lines = Lines::open(path, body)?;
    while lines.advance()? {
        read(&lines.line)?;
    }
    Ok(())
}

/// The records of an object, in batches of bounded size.
pub(crate) fn batches(path: Path, body: Bytes) -> Result<impl Iterator<Item = Result<Batch>>> {
    let mut lines = Lines::open(&path, body)?;
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        match next_batch(&mut lines) {
            Ok(Some(batch)) => Some(Ok(batch)),
            Ok(None) => {
                ended = true;
                None
            }
            Err(error) => {
                ended = true;
                Some(Err(error.with("object", &path)))
            }
        }
    }))
}

struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    number: u64,
    /// The line was taken already, or not at all yet.
    taken: bool,
    path: Path,
}

impl Lines {
    fn open(path: &Path, body: Bytes) -> Result<Self> {
        let decoder = zstd::stream::read::Decoder::new(std::io::Cursor::new(body))
            .map_err(|error| broken(path, error))?;
        Ok(Self {
            reader: BufReader::with_capacity(1 << 16, Box::new(decoder)),
            line: Vec::new(),
            number: 0,
            taken: true,
            path: path.clone(),
        })
    }

    /// Makes the next line current; false at the end. A line that was not taken stays current.
    fn advance(&mut self) -> Result<bool> {
        self.line.clear();
        let read = (&mut self.reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| broken(&self.path, error))?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        self.number += 1;
        Ok(read > 0)
    }

    fn current(&mut self) -> Result<bool> {
        if self.taken {
            let more = self.advance()?;
            self.taken = !more;
            return Ok(more);
        }
        Ok(true)
    }
}

fn next_batch(lines: &mut Lines) -> Result<Option<Batch>> {
    let mut body = Vec::new();
    let mut records = Vec::new();
    let mut emitted_at: Option<Timestamp> = None;
    while body.len() < BATCH_BYTES_MAX && lines.current()? {
        let line: Line<'_> = serde_json::from_slice(&lines.line).map_err(|error| {
            Error::destination("a line of Bronze is not what weir writes")
                .with("line", lines.number)
                .caused_by(error)
                .hint("the object was changed by hand: restore it from a copy")
        })?;
        // One batch has one time of arrival: it is part of every row.
        if emitted_at.is_some_and(|at| at != line.emitted_at) {
            break;
        }
        emitted_at = Some(line.emitted_at);
        records.push(append_record(&mut body, line)?);
        lines.taken = true;
    }
    let Some(emitted_at) = emitted_at else {
        return Ok(None);
    };
    Ok(Some(Batch {
        slice: Arc::from(WHOLE),
        body: Bytes::from(body),
        records,
        filtered: 0,
        deduplicated: 0,
        emitted_at,
    }))
}

fn append_record(body: &mut Vec<u8>, line: Line<'_>) -> Result<Record> {
    let cursor = line.cursor;
    let (cursor_start, cursor_len) = match cursor.map(RawValue::get) {
        None | Some("null") => (0, 0),
        Some(cursor) => (append(body, cursor.as_bytes())?, offset(cursor.len())?),
    };
    let held = line.held();
    let bytes = held.bytes()?;
    let start = append(body, &bytes)?;
    Ok(Record {
        start,
        len: offset(bytes.len())?,
        cursor_start,
        cursor_len,
    })
}

fn append(body: &mut Vec<u8>, bytes: &[u8]) -> Result<u32> {
    let start = offset(body.len())?;
    body.extend_from_slice(bytes);
    Ok(start)
}

fn offset(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(|error| Error::limit("a batch of Bronze exceeds 4 GiB").caused_by(error))
}

fn broken(path: &Path, error: std::io::Error) -> Error {
    Error::destination("a Bronze object cannot be read")
        .with("object", path)
        .caused_by(error)
        .hint("the object is damaged: restore it from a copy, or read the source again")
}
