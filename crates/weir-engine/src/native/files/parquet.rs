//! Parquet: read by row group, a page at a time; rows become JSON objects.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use object_store::ObjectStoreExt;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use parquet::record::reader::RowIter;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use weir_protocol::Result;

use super::failure;
use super::jsonl::find;
use super::parquet_kind::{Kind, whole_int96};
use super::place::{File, Place};
use super::sink::Sink;

/// What is fetched at once, and how many of these are kept: 64 MiB in all.
const WINDOW_BYTES: u64 = 512 << 10;
const WINDOWS_MAX: usize = 128;

/// A file in a store, read in windows that are remembered. Only for threads that may block.
#[derive(Clone)]
struct Windows(Arc<Inner>);

struct Inner {
    runtime: Handle,
    place: Place,
    file: File,
    /// Number and bytes of the windows fetched last, newest at the end.
    kept: Mutex<Vec<(u64, Bytes)>>,
}

impl Windows {
    fn window(&self, number: u64) -> ParquetResult<Bytes> {
        let lost = || ParquetError::General("a reading thread failed".to_owned());
        let mut kept = self.0.kept.lock().map_err(|_| lost())?;
        if let Some(index) = kept.iter().position(|(kept, _)| *kept == number) {
            let found = kept.remove(index);
            kept.push(found.clone());
            return Ok(found.1);
        }
        drop(kept);
        let start = number * WINDOW_BYTES;
        let range = start..(start + WINDOW_BYTES).min(self.0.file.size);
        let store = &self.0.place.store;
        let fetch = store.get_range(&self.0.file.location, range);
        let bytes = self
            .0
            .runtime
            .block_on(fetch)
            .map_err(|error| ParquetError::External(Box::new(error)))?;
        let mut kept = self.0.kept.lock().map_err(|_| lost())?;
        if kept.len() >= WINDOWS_MAX {
            kept.remove(0);
        }
        kept.push((number, bytes.clone()));
        Ok(bytes)
    }

    /// What the window around `position` holds from there on; empty at the end of the file.
    fn from(&self, position: u64) -> ParquetResult<Bytes> {
        if position >= self.0.file.size {
            return Ok(Bytes::new());
        }
        let window = self.window(position / WINDOW_BYTES)?;
        let skip = usize::try_from(position % WINDOW_BYTES).unwrap_or(usize::MAX);
        Ok(window.slice(skip.min(window.len())..))
    }
}

impl Length for Windows {
    fn len(&self) -> u64 {
        self.0.file.size
    }
}

impl ChunkReader for Windows {
    type T = WindowReader;

    fn get_read(&self, start: u64) -> ParquetResult<WindowReader> {
        Ok(WindowReader {
            windows: self.clone(),
            position: start,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut out = BytesMut::with_capacity(length);
        while out.len() < length {
            let piece = self.from(start + out.len() as u64)?;
            if piece.is_empty() {
                return Err(ParquetError::EOF(format!(
                    "the file ends {} bytes early",
                    length - out.len()
                )));
            }
            let wanted = piece.len().min(length - out.len());
            out.extend_from_slice(&piece[..wanted]);
        }
        Ok(out.freeze())
    }
}

struct WindowReader {
    windows: Windows,
    position: u64,
}

impl Read for WindowReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let piece = self.windows.from(self.position).map_err(io::Error::other)?;
        let count = piece.len().min(out.len());
        out[..count].copy_from_slice(&piece[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

/// A file, and what its rows are made of.
fn open(runtime: &Handle, place: &Place, file: &File) -> Result<(SerializedFileReader<Windows>, Kind)> {
    let broken = |error| failure::parquet(error, &file.name);
    let windows = Windows(Arc::new(Inner {
        runtime: runtime.clone(),
        place: place.clone(),
        file: file.clone(),
        kept: Mutex::new(Vec::new()),
    }));
    let reader = SerializedFileReader::new(windows.clone()).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let kind = Kind::of_root(schema.root_schema()).map_err(|error| error.with("file", &file.name))?;
    let Some(schema) = whole_int96(&schema) else {
        return Ok((reader, kind));
    };
    let options = ReadOptionsBuilder::new().with_parquet_schema(schema).build();
    let reader = SerializedFileReader::new_with_options(windows, options).map_err(broken)?;
    Ok((reader, kind))
}

/// JSON Schema of a file's rows.
pub(super) fn schema(runtime: &Handle, place: &Place, file: &File) -> Result<Value> {
    let (_, kind) = open(runtime, place, file)?;
    Ok(json!({ "type": "object", "properties": kind.schema()["properties"] }))
}

/// Where in a file a read goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position {
    pub(super) row_group: usize,
    /// Rows of that group that were already read.
    pub(super) row: usize,
}

pub(super) fn read(
    runtime: &Handle,
    place: &Place,
    file: &File,
    from: Position,
    cursor: Option<&str>,
    sink: &mut Sink,
) -> Result<()> {
    let broken = |error| failure::parquet(error, &file.name);
    let (reader, kind) = open(runtime, place, file)?;
    for number in from.row_group..reader.num_row_groups() {
        let group = reader.get_row_group(number).map_err(broken)?;
        let skip = if number == from.row_group { from.row } else { 0 };
        let rows = RowIter::from_row_group(None, group.as_ref()).map_err(broken)?;
        for (index, row) in rows.enumerate().skip(skip) {
            let row = row.map_err(broken)?;
            let start = sink.body().len();
            kind.write_row(&row, sink.body());
            let found = cursor
                .and_then(|field| find(&sink.body()[start..], field))
                .map(|found| found.start + start..found.end + start);
            sink.record(start, found)?;
            if sink.is_full() {
                sink.flush(json!({ "row_group": number, "row": index + 1 }))?;
            }
        }
        sink.flush(json!({ "row_group": number + 1, "row": 0 }))?;
    }
    sink.finish()
}
