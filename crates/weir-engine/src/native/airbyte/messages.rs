//! The protocol's messages, as far as a reader of a source needs them.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use weir_protocol::{Error, Result};

use super::super::process::{Running, Stray, bare};

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
    #[serde(borrow, default)]
    emitted_at: Option<&'a RawValue>,
}

impl RecordMessage<'_> {
    /// Milliseconds since 1970, which some programs write as a real number; none where it is
    /// anything else, as it is only for people.
    pub(super) fn emitted_at(&self) -> Option<i64> {
        let text = self.emitted_at?.get();
        let real = || text.parse::<f64>().ok().map(|ms| ms as i64);
        text.parse().ok().or_else(real)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Descriptor {
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: Option<String>,
}

/// What a program tells about its work.
#[derive(Debug)]
pub(super) enum Trace {
    Error(TraceError),
    /// So many rows are expected.
    Estimate(u64),
    StreamStatus {
        stream: String,
        status: String,
    },
    Other,
}

#[derive(Debug)]
pub(super) struct TraceError {
    pub(super) message: String,
    pub(super) internal_message: String,
    pub(super) stack_trace: String,
    pub(super) failure_type: String,
}

impl Trace {
    /// Never fails: an odd member is as good as none.
    pub(super) fn of(raw: &RawValue) -> Self {
        let trace = loose("TRACE", raw);
        match trace["type"].as_str().unwrap_or_default() {
            "ERROR" => {
                let of = |name: &str| text(trace["error"].get(name));
                Self::Error(TraceError {
                    message: of("message"),
                    internal_message: of("internal_message"),
                    stack_trace: of("stack_trace"),
                    failure_type: of("failure_type"),
                })
            }
            "ESTIMATE" => {
                let rows = &trace["estimate"]["row_estimate"];
                // Some programs write whole numbers as real ones.
                let real = || rows.as_f64().filter(|rows| *rows >= 0.0).map(|rows| rows as u64);
                rows.as_u64().or_else(real).map_or(Self::Other, Self::Estimate)
            }
            "STREAM_STATUS" => {
                let told = &trace["stream_status"];
                Self::StreamStatus {
                    stream: text(told["stream_descriptor"].get("name")),
                    status: text(told.get("status")),
                }
            }
            _ => Self::Other,
        }
    }
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

/// Messages that must not be lost.
const KINDS: [&str; 2] = ["\"RECORD\"", "\"STATE\""];

/// A line as a message; none where it is something else, which anything that the program uses may
/// print. What begins as a message and breaks off is a loss.
pub(super) fn told<'a>(
    line: &'a [u8],
    is_cut: bool,
    show: impl Fn(&[u8]) -> String,
) -> Result<Option<Message<'a>>> {
    let line = bare(line);
    let error = match serde_json::from_slice::<Message<'a>>(line) {
        Ok(message) => return Ok(Some(message)),
        Err(error) => error,
    };
    let stray = Stray {
        line,
        is_cut,
        column: error.column(),
        kinds: &KINDS,
        allows_objects: true,
        program: "program",
    };
    stray.judge(show).map(|()| None)
}

/// Hands a program's log message on.
pub(super) fn log(running: &Running, raw: &RawValue) {
    let log = loose("LOG", raw);
    let said = match &log {
        Value::Object(members) => text(members.get("message")),
        other => text(Some(other)),
    };
    let message = running.clean(&said);
    match log["level"].as_str().unwrap_or_default() {
        "FATAL" | "ERROR" => {
            tracing::error!(target: "weir::process", "{message}");
            running.note(said.as_bytes());
        }
        "WARN" => tracing::warn!(target: "weir::process", "{message}"),
        "INFO" => tracing::info!(target: "weir::process", "{message}"),
        _ => tracing::debug!(target: "weir::process", "{message}"),
    }
}

/// A part that people read rather than we: whatever stands in it harms nothing.
fn loose(what: &'static str, raw: &RawValue) -> Value {
    match serde_json::from_str(raw.get()) {
        Ok(value) => value,
        Err(error) => {
            tracing::debug!(column = error.column(), "a {what} message cannot be read");
            Value::Null
        }
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
