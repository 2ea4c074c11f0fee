//! The process that takes a document apart: weir itself, called with `read-document FILE`.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread::available_parallelism;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, ErrorKind, Result};

use super::super::process::{Argument, Line, ProcessSettings, Program};
use crate::EngineSettings;

/// Bytes of a document. One that is sent with a call is bounded by the input's size before.
pub(in crate::native) const FILE_BYTES_MAX: usize = 16 << 20;
/// The process is ended when it says nothing for so long. It stops recognising pages by itself long before.
const SILENCE: &str = "10m";
/// The name of the document in the process' private folder.
const FILE: &str = "document";

/// As many documents are taken apart at once as there are processors: each may take memory up to its bound.
static AT_ONCE: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, NonZero::get)));

/// Reads documents in processes of their own.
pub(in crate::native) struct Reader {
    program: Option<Program>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(connection: &ConnectionSpec, engine: &EngineSettings) -> Result<Self> {
        let program = engine.document_reader.as_ref().map(|program| {
            let given =
                json!({ "command": [program.to_string_lossy(), "read-document"], "silence": SILENCE });
            let given: ProcessSettings = serde_json::from_value(given).map_err(|error| {
                Error::internal("the reader of documents cannot be set up")
                    .caused_by(error)
                    .hint("report it")
            })?;
            Program::new(&given, connection, engine)
        });
        Ok(Self {
            program: program.transpose()?,
        })
    }

    /// The document as the process found it, by the schema of `weir_documents::Document`.
    pub(in crate::native) async fn read(&self, bytes: &[u8]) -> Result<Value> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(super::place::too_large(bytes.len() as u64));
        }
        let Some(program) = &self.program else {
            return Err(Error::spec("nothing here reads documents").hint("call it through weir itself"));
        };
        // Never closed.
        let _turn = AT_ONCE.acquire().await;
        let folder = program.folder()?;
        folder.write_bytes(FILE, bytes)?;
        let mut running = program.start(folder, &[Argument::File(FILE)])?;
        let mut answer = None;
        loop {
            match running.next_line().await {
                Ok(Some(Line::Whole(text))) => answer = serde_json::from_slice::<Value>(text).ok(),
                Ok(Some(_)) => {}
                Ok(None) => break,
                // The document is at fault: who tried it again would never come to those behind it.
                Err(error) if error.kind() == ErrorKind::Timeout => return Err(gone(Err(error))),
                Err(error) => return Err(error),
            }
        }
        let ended = running.end().await;
        match answer {
            Some(mut answer) if !answer["document"].is_null() => Ok(answer["document"].take()),
            Some(answer) if !answer["error"].is_null() => Err(told(&answer["error"])),
            _ => Err(gone(ended)),
        }
    }
}

/// What the process said of why it cannot be read.
fn told(error: &Value) -> Error {
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    let kind = match error["kind"].as_str() {
        Some("limit") => ErrorKind::Limit,
        Some("usage") => ErrorKind::Usage,
        Some("timeout") => ErrorKind::Timeout,
        Some("unavailable") => ErrorKind::Unavailable,
        _ => ErrorKind::Decode,
    };
    let told = Error::new(kind, text("message")).hint(text("hint"));
    match error["context"].as_str() {
        Some(context) if !context.is_empty() => told.with("details", context),
        _ => told,
    }
}

/// It ended without a word: the document made it use more time or memory than it may.
fn gone(ended: Result<()>) -> Error {
    let error = Error::limit("the document took more time or memory than a document may")
        .hint("split the document, or print it to a new PDF");
    match ended {
        Ok(()) => error,
        Err(why) => error.caused_by(why),
    }
}
