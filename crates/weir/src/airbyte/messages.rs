//! Messages on standard output.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use weir_engine::airbyte::OnSettings;
use weir_protocol::{Error, ErrorKind, Result};

use crate::output::refused;

/// Bytes of records that wait to be written.
const WAITING_BYTES_MAX: usize = 1 << 16;

/// Characters of something unexpected that a message shows.
const SHOWN_CHARS: usize = 60;

/// Writes messages, one a line. Only whole lines are handed on, so that what is logged in between
/// stands between messages, never inside one.
pub(crate) struct Messages {
    waiting: Vec<u8>,
    out: Box<dyn Write + Send>,
}

impl Drop for Messages {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::error!(%error, "the last messages could not be written");
        }
    }
}

impl Messages {
    pub(crate) fn stdout() -> Self {
        Self::to(Box::new(std::io::stdout()))
    }

    pub(super) fn to(out: Box<dyn Write + Send>) -> Self {
        Self {
            waiting: Vec::new(),
            out,
        }
    }

    /// Tells at once that the source's settings changed, beside what waits to be written: a token
    /// that can be used only once must not be lost with it.
    pub(crate) fn on_settings() -> OnSettings {
        Arc::new(|settings| {
            let message = json!({
                "type": "CONTROL",
                "control": {
                    "type": "CONNECTOR_CONFIG",
                    "emitted_at": Timestamp::now().as_millisecond(),
                    "connectorConfig": { "config": settings },
                }
            });
            if let Err(error) = Self::stdout().write(&message) {
                tracing::error!(%error, "the changed settings could not be written");
            }
        })
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.out.write_all(&self.waiting).and_then(|()| self.out.flush());
        self.waiting.clear();
        written.map_err(|error| refused("standard output", error))
    }

    fn push(&mut self, line: &str) {
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.push(b'\n');
    }

    /// Writes and flushes: whoever reads on waits for these.
    pub(crate) fn write(&mut self, message: &Value) -> Result<()> {
        self.push(&message.to_string());
        self.flush()
    }

    /// A record as it was received. What is no JSON cannot be a record; it is logged instead.
    pub(super) fn record(&mut self, stream: &str, data: &[u8], emitted_at: Timestamp) -> Result<bool> {
        if !data.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<&RawValue>(data).is_ok() {
            let shown: String = String::from_utf8_lossy(data).chars().take(SHOWN_CHARS).collect();
            return Err(
                Error::decode(format!("a record of the stream '{stream}' is {shown}, no object"))
                    .with("stream", stream)
                    .hint("look at what the source answers, and at the path that leads to its records"),
            );
        }
        let Ok(data) = serde_json::from_slice::<&RawValue>(data) else {
            self.log(
                "WARN",
                &format!("{stream}: a record that is not JSON was left out"),
            )?;
            return Ok(false);
        };
        let data = one_line(data.get())?;
        let name = Value::from(stream);
        let ms = emitted_at.as_millisecond();
        self.push(&format!(
            r#"{{"type":"RECORD","record":{{"stream":{name},"data":{data},"emitted_at":{ms}}}}}"#
        ));
        if self.waiting.len() >= WAITING_BYTES_MAX {
            self.flush()?;
        }
        Ok(true)
    }

    pub(super) fn log(&mut self, level: &str, message: &str) -> Result<()> {
        self.write(&json!({ "type": "LOG", "log": { "level": level, "message": message } }))
    }

    pub(super) fn status(&mut self, stream: &str, status: &str) -> Result<()> {
        self.write(&json!({
            "type": "TRACE",
            "trace": {
                "type": "STREAM_STATUS",
                "emitted_at": Timestamp::now().as_millisecond(),
                "stream_status": { "stream_descriptor": { "name": stream }, "status": status },
            }
        }))
    }

    pub(crate) fn failed(&mut self, error: &Error, stream: Option<&str>) -> Result<()> {
        let mut told = error.context().iter();
        let stream = stream.or_else(|| {
            let found = told.find(|(key, _)| *key == "stream");
            found.map(|(_, name)| name.as_str())
        });
        let kind = match error.kind() {
            ErrorKind::Auth
            | ErrorKind::Spec
            | ErrorKind::Template
            | ErrorKind::Usage
            | ErrorKind::Denied
            | ErrorKind::NotFound => "config_error",
            kind if kind.is_transient() => "transient_error",
            _ => "system_error",
        };
        let next = error
            .next_step()
            .map(|step| format!(". Next: {step}"))
            .unwrap_or_default();
        self.write(&json!({
            "type": "TRACE",
            "trace": {
                "type": "ERROR",
                "emitted_at": Timestamp::now().as_millisecond(),
                "error": {
                    "message": format!("{}{next}", error.message()),
                    "internal_message": error.to_string(),
                    "failure_type": kind,
                    "stream_descriptor": stream.map(|name| json!({ "name": name })),
                },
            }
        }))
    }
}

/// JSON without line breaks: inside texts they are escaped already, between tokens they are dropped.
fn one_line(json: &str) -> Result<Cow<'_, str>> {
    if !json.contains(['\n', '\r']) {
        return Ok(Cow::Borrowed(json));
    }
    let value: Value = serde_json::from_str(json).map_err(|error| {
        Error::internal("JSON is JSON no more")
            .caused_by(error)
            .hint("report it")
    })?;
    Ok(Cow::Owned(value.to_string()))
}
