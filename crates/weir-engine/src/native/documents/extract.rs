//! The action that says what stands in one document.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weir_protocol::action::{Call, Shown};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result};

use super::{Reader, place};
use crate::EngineSettings;
use crate::action::Local;

/// Bytes of an output, which is kept with its call.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// Reads one document: one that the input holds, or one of the connection's folder.
pub(crate) struct Extract {
    reader: Reader,
    folder: Option<place::Folder>,
}

impl Extract {
    pub(crate) fn new(connection: &ConnectionSpec, engine: &EngineSettings) -> Result<Self> {
        Ok(Self {
            reader: Reader::new(connection, engine)?,
            folder: place::folder(connection)?,
        })
    }

    async fn content(&self, call: &Call) -> Result<Vec<u8>> {
        match named(call)? {
            Named::Path(path) => place::read(self.folder.as_ref(), path).await,
            Named::File(base64) => STANDARD.decode(base64).map_err(|error| {
                Error::usage("input.file.base64 is not base64")
                    .caused_by(error)
                    .hint("encode the file's bytes with the standard alphabet and padding")
            }),
        }
    }
}

enum Named<'a> {
    Path(&'a str),
    File(&'a str),
}

fn named(call: &Call) -> Result<Named<'_>> {
    let path = call.input.get("path").and_then(Value::as_str);
    let file = call.input.get("file").and_then(|file| file["base64"].as_str());
    match (path, file) {
        (Some(path), None) => Ok(Named::Path(path)),
        (None, Some(file)) => Ok(Named::File(file)),
        _ => {
            Err(Error::usage("the input names no document, or two").hint("give exactly one of file and path"))
        }
    }
}

#[async_trait]
impl Local for Extract {
    fn show(&self, call: &Call) -> Result<Shown> {
        let body = match named(call)? {
            Named::Path(path) => json!({ "path": path }),
            Named::File(base64) => json!({ "base64_chars": base64.len() }),
        };
        Ok(Shown {
            method: "READ".to_owned(),
            url: "weir:read-document".to_owned(),
            headers: Vec::new(),
            body: Some(body),
        })
    }

    async fn perform(&self, call: &Call) -> Result<Value> {
        let content = self.content(call).await?;
        let mut document = self.reader.read(&content).await?;
        if call.input.get("elements") == Some(&Value::Bool(false))
            && let Value::Object(fields) = &mut document
        {
            fields.remove("elements");
        }
        let bytes = serde_json::to_vec(&document).map_or(usize::MAX, |text| text.len());
        if bytes > OUTPUT_BYTES_MAX {
            return Err(Error::limit("what was read is larger than an output may be")
                .with("bytes", bytes)
                .with("limit", OUTPUT_BYTES_MAX)
                .hint("ask with elements: false for the findings alone"));
        }
        Ok(document)
    }
}
