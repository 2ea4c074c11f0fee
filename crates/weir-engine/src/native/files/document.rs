//! One document, which is one record: what stands in it, or why it cannot be read.

use std::io::Read as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use weir_protocol::{Error, Result};

use super::bytes;
use super::failure;
use super::format::Compression;
use super::place::{File, Place};
use super::sink::Sink;
use crate::native::documents::{FILE_BYTES_MAX, Reader};

pub(super) fn read(
    runtime: &Handle,
    place: &Place,
    file: &File,
    reader: Option<&Reader>,
    sink: &mut Sink,
) -> Result<()> {
    let mut record =
        json!({ "path": file.name, "bytes": file.size, "sha256": null, "document": null, "error": null });
    match content(runtime, place, file)? {
        None => {
            let error = Error::limit("the document is too large").with("limit", FILE_BYTES_MAX);
            record["error"] = shown(&error.hint("split it"));
        }
        Some(content) => {
            record["sha256"] = Value::String(hex(&Sha256::digest(&content)));
            let reader = reader
                .ok_or_else(|| Error::internal("documents are read without a reader").hint("report it"))?;
            match runtime.block_on(reader.read(&content)) {
                Ok(document) => record["document"] = document,
                // Nothing was wrong with the document: the run is tried again.
                Err(error) if error.kind().is_transient() => return Err(error.with("file", &file.name)),
                Err(error) => record["error"] = shown(&error),
            }
        }
    }
    let start = sink.body().len();
    serde_json::to_writer(sink.body(), &record).map_err(|error| {
        Error::internal("what was read cannot be written as JSON")
            .caused_by(error)
            .hint("report it")
    })?;
    sink.record(start, None)?;
    sink.finish()
}

/// None where it is too large.
fn content(runtime: &Handle, place: &Place, file: &File) -> Result<Option<Vec<u8>>> {
    if file.size > FILE_BYTES_MAX as u64 {
        return Ok(None);
    }
    let mut content = Vec::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    let opened = bytes::open(runtime, place, file, Compression::None, 0)?;
    opened
        .take(most)
        .read_to_end(&mut content)
        .map_err(|error| failure::reading(error, &file.name))?;
    Ok((content.len() <= FILE_BYTES_MAX).then_some(content))
}

fn shown(error: &Error) -> Value {
    json!({ "kind": error.kind().as_str(), "message": error.message(), "hint": error.next_step() })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
