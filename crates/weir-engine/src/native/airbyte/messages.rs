//! The protocol's messages, as far as a reader of a source needs them.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use weir_protocol::{Error, Result};

use super::super::process::Running;

/// A message whose parts are not parsed before they are needed.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) record: Option<RecordMessage<'a>>,
    #[serde(borrow, default)]
    pub(super) state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) log: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) trace: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) control: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) catalog: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "connectionStatus")]
    pub(super) status: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RecordMessage<'a> {
    #[serde(borrow)]
    pub(super) stream: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) data: &'a RawValue,
    #[serde(default)]
    pub(super) emitted_at: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Log {
    #[serde(default)]
    pub(super) level: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Descriptor {
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Trace {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) error: Option<TraceError>,
    pub(super) estimate: Option<Estimate>,
    pub(super) stream_status: Option<StreamStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TraceError {
    pub(super) message: String,
    pub(super) internal_message: Option<String>,
    pub(super) stack_trace: Option<String>,
    pub(super) failure_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Estimate {
    pub(super) row_estimate: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamStatus {
    pub(super) stream_descriptor: Descriptor,
    pub(super) status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Control {
    #[serde(default)]
    pub(super) connector_config: Option<ConnectorConfig>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConnectorConfig {
    pub(super) config: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) status: String,
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// Parses a part of a message.
pub(super) fn part<T: DeserializeOwned>(what: &'static str, raw: &RawValue) -> Result<T> {
    serde_json::from_str(raw.get()).map_err(|error| {
        // The parser's message may quote a value.
        Error::decode(format!("a {what} message is not as the protocol has it"))
            .with("column", error.column())
            .hint("look at the program's version; it may speak another protocol")
    })
}

/// A line as a message; none where it is something else, which anything that the program uses may
/// print. What begins as a message and breaks off is a loss.
pub(super) fn told<'a>(
    line: &'a [u8],
    is_cut: bool,
    show: impl Fn(&[u8]) -> String,
) -> Result<Option<Message<'a>>> {
    let error = match serde_json::from_slice::<Message<'a>>(line) {
        Ok(message) => return Ok(Some(message)),
        Err(error) => error,
    };
    let begins = line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    let holds = |word: &[u8]| memchr::memmem::find(line, word).is_some();
    if begins && is_cut && !is_json() {
        return Err(Error::decode("the output ends in the middle of a message")
            .with("line", show(line))
            .hint("the program was ended while it wrote; run again. What was committed stays"));
    }
    if begins && (holds(b"\"RECORD\"") || holds(b"\"STATE\"")) {
        return Err(Error::decode("a line of output is a broken message")
            .with("line", show(line))
            .with("column", error.column())
            .hint("the program writes what is no JSON (NaN, or two lines in one); nothing after the last checkpoint was taken"));
    }
    Ok(None)
}

/// Hands a program's log message on.
pub(super) fn log(running: &Running, raw: &RawValue) -> Result<()> {
    let log: Log = part("LOG", raw)?;
    let message = running.clean(&log.message);
    match log.level.as_str() {
        "FATAL" | "ERROR" => {
            tracing::error!(target: "weir::process", "{message}");
            running.note(log.message.as_bytes());
        }
        "WARN" => tracing::warn!(target: "weir::process", "{message}"),
        "INFO" => tracing::info!(target: "weir::process", "{message}"),
        _ => tracing::debug!(target: "weir::process", "{message}"),
    }
    Ok(())
}
