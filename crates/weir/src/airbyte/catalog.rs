//! Streams as the protocol describes and chooses them.

use serde::Deserialize;
use serde_json::{Value, json};
use weir_protocol::{ReadMode, StreamDescriptor, StreamState};

/// A stream in a catalog.
pub(super) fn describe(stream: &StreamDescriptor) -> Value {
    let path = |path: &String| -> Vec<String> { path.split('.').map(ToOwned::to_owned).collect() };
    let keys: Vec<Vec<String>> = stream.primary_key.iter().map(path).collect();
    let cursor: Vec<String> = stream.cursor_field.as_ref().map(path).unwrap_or_default();
    let modes = if cursor.is_empty() {
        vec!["full_refresh"]
    } else {
        vec!["full_refresh", "incremental"]
    };
    json!({
        "name": stream.name,
        "json_schema": stream.schema.clone().unwrap_or_else(|| json!({ "type": "object", "additionalProperties": true })),
        "supported_sync_modes": modes,
        "source_defined_cursor": !cursor.is_empty(),
        "default_cursor_field": cursor,
        "source_defined_primary_key": keys,
        "is_resumable": true,
    })
}

/// What a reader wants.
#[derive(Debug, Deserialize)]
pub(super) struct Configured {
    pub(super) streams: Vec<ConfiguredStream>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConfiguredStream {
    pub(super) stream: Named,
    #[serde(default)]
    pub(super) sync_mode: Mode,
    #[serde(default)]
    pub(super) cursor_field: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
    #[serde(default)]
    pub(super) json_schema: Value,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    #[default]
    FullRefresh,
    Incremental,
}

impl From<Mode> for ReadMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::FullRefresh => Self::FullRefresh,
            Mode::Incremental => Self::Incremental,
        }
    }
}

/// One stream's state, as it was written before. The legacy form (one object for all) is not weir's.
#[derive(Debug, Deserialize)]
pub(super) struct Stated {
    pub(super) stream: StatedStream,
}

#[derive(Debug, Deserialize)]
pub(super) struct StatedStream {
    pub(super) stream_descriptor: Named,
    #[serde(default)]
    pub(super) stream_state: Option<StreamState>,
}
