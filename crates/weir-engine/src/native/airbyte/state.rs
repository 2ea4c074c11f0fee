//! States as the protocol has them, and as a checkpoint keeps them: the message's own `state`, which
//! only the program understands.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use weir_protocol::state::WHOLE;
use weir_protocol::{Error, ForeignState, Result, SliceState, StreamState};

use super::messages::Descriptor;

/// A state message as far as weir looks into it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    #[serde(rename = "type")]
    kind: Option<String>,
    stream: Option<OfStream>,
    global: Option<Global>,
    #[serde(rename = "sourceStats")]
    stats: Option<Stats>,
}

#[derive(Debug, Deserialize)]
struct OfStream {
    stream_descriptor: Descriptor,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Global {
    shared_state: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stats {
    #[serde(rename = "recordCount")]
    records: Option<f64>,
}

impl Told {
    pub(super) fn parse(state: &Value) -> Result<Self> {
        Self::deserialize(state).map_err(|_| {
            Error::decode("a STATE message is not as the protocol has it")
                .hint("look at the program's version; it may speak another protocol")
        })
    }

    /// Records that the program gave since its last state, where it counts them.
    pub(super) fn records(&self) -> Option<u64> {
        let count = self.stats.as_ref()?.records?;
        // A count is a whole number, written as a real one.
        (count >= 0.0 && count.fract() == 0.0).then_some(count as u64)
    }

    /// Whether it is about that stream (a state for all of them is about each).
    pub(super) fn is_of(&self, stream: &Descriptor) -> bool {
        match &self.stream {
            Some(own) if self.kind.as_deref() == Some("STREAM") => {
                let no_empty = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
                own.stream_descriptor.name == stream.name
                    && no_empty(&own.stream_descriptor.namespace) == no_empty(&stream.namespace)
            }
            _ => true,
        }
    }

    /// Whether streams share a part of it, which processes of their own cannot keep in step.
    pub(super) fn is_shared(&self) -> bool {
        self.kind.as_deref() == Some("GLOBAL")
            && self
                .global
                .as_ref()
                .and_then(|global| global.shared_state.as_ref())
                .is_some_and(|shared| {
                    !shared.is_null() && shared.as_object().is_none_or(|shared| !shared.is_empty())
                })
    }
}

/// What is kept of a state message.
pub(super) fn kept(mut state: Value) -> Value {
    if let Value::Object(members) = &mut state {
        // Counts are about one read, and `data` doubles a state that has a type.
        members.shift_remove("sourceStats");
        members.shift_remove("destinationStats");
        if members.contains_key("type") && members.get("type") != Some(&json!("LEGACY")) {
            members.shift_remove("data");
        }
    }
    state
}

/// The file that the program is given.
pub(super) fn file(kept: &Value) -> Value {
    match kept.get("type").and_then(Value::as_str) {
        Some("STREAM" | "GLOBAL") => json!([kept]),
        // Programs of that age take the object that they wrote.
        _ => kept.get("data").cloned().unwrap_or_else(|| json!({})),
    }
}

/// A state of elsewhere as this source would have written it.
pub(super) fn taken(stream: &str, state: &ForeignState, is_alone: bool) -> Result<StreamState> {
    let mut descriptor = Map::new();
    descriptor.insert("name".to_owned(), state.name.clone().into());
    if let Some(namespace) = &state.namespace {
        descriptor.insert("namespace".to_owned(), namespace.clone().into());
    }
    let of_stream = json!({ "stream_descriptor": descriptor, "stream_state": state.state });
    let kept = match &state.shared {
        None => json!({ "type": "STREAM", "stream": of_stream }),
        Some(shared) if is_alone => {
            json!({ "type": "GLOBAL", "global": { "shared_state": shared, "stream_states": [of_stream] } })
        }
        Some(_) => return Err(shared_state(stream)),
    };
    let slice = SliceState {
        cursor: Some(kept),
        ..SliceState::default()
    };
    Ok(StreamState {
        slices: [(WHOLE.into(), slice)].into(),
        complete: true,
        ..StreamState::default()
    })
}

pub(super) fn shared_state(stream: &str) -> Error {
    Error::spec(
        "the program keeps one state for all its streams, but each stream is read by a process of its own",
    )
    .with("stream", stream)
    .hint("choose one stream under streams:, and give each further stream a connection with its own source:")
}
