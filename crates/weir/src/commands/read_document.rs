//! `weir read-document`: takes one document apart, for the process that started it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use weir_documents::{Limits, examine};
use weir_protocol::{Error, Result};

use crate::process_limits;
use crate::tesseract::Tesseract;

/// Read one document and print what stands in it as JSON (weir calls this itself, in a process with limits)
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir read-document contract.pdf")]
pub(crate) struct ReadDocumentArgs {
    /// The document: PDF, DOCX, PNG, JPEG, TIFF or text
    file: PathBuf,
}

/// Prints one line: the document, or why it cannot be read.
pub(crate) fn run(args: &ReadDocumentArgs) -> Result<()> {
    process_limits::bound().map_err(|error| {
        Error::internal("the limits of the process cannot be set")
            .caused_by(error)
            .hint("look at the limits that weir runs under (ulimit -a)")
    })?;
    let limits = Limits::default();
    let answer = match read(args, &limits) {
        Ok(document) => json!({ "document": document }),
        Err(error) => json!({ "error": shown(&error) }),
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .map_err(|error| {
            Error::unavailable("nobody takes what was read")
                .caused_by(error)
                .hint("look why the reader of this process ended")
        })
}

fn read(args: &ReadDocumentArgs, limits: &Limits) -> Result<weir_documents::Document> {
    let missing = |error: std::io::Error| {
        Error::not_found(format!("{} cannot be read", args.file.display()))
            .caused_by(error)
            .hint("check the path")
    };
    let size = std::fs::metadata(&args.file).map_err(missing)?.len();
    if size > limits.bytes_max as u64 {
        return Err(Error::limit("the document is too large")
            .with("bytes", size)
            .with("limit", limits.bytes_max)
            .hint("split the document, or give only the part that matters"));
    }
    let bytes = std::fs::read(&args.file).map_err(missing)?;
    let folder = args.file.parent().unwrap_or(Path::new("."));
    examine(&bytes, &Tesseract::found(folder), limits)
}

fn shown(error: &Error) -> serde_json::Value {
    let context: Vec<String> = error
        .context()
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    json!({
        "kind": error.kind().as_str(),
        "message": error.message(),
        "context": context.join(", "),
        "hint": error.next_step(),
    })
}
