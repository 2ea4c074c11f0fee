//! The streams that a program offers, and how one of them is asked for.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, ReadMode, Result};

use super::super::process::Declared;
use super::messages::Descriptor;

pub(super) struct Catalog {
    pub(super) streams: Vec<Stream>,
}

/// A stream with its declaration as it was told, which is handed back when it is read.
pub(super) struct Stream {
    pub(super) descriptor: Descriptor,
    known: Known,
    whole: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Known {
    json_schema: Option<Value>,
    supported_sync_modes: Option<Vec<String>>,
    source_defined_cursor: Option<bool>,
    default_cursor_field: Option<Vec<String>>,
    source_defined_primary_key: Option<Vec<Vec<String>>>,
    is_resumable: Option<bool>,
}

impl Catalog {
    pub(super) fn parse(catalog: Value) -> Result<Self> {
        let streams = match catalog {
            Value::Object(mut members) => members.remove("streams"),
            _ => None,
        };
        let Some(Value::Array(streams)) = streams else {
            return Err(broken("it has no list of streams"));
        };
        let streams: Result<Vec<Stream>> = streams.into_iter().map(Stream::parse).collect();
        Ok(Self { streams: streams? })
    }

    pub(super) fn stream(&self, name: &str) -> Result<&Stream> {
        let found = self.streams.iter().find(|stream| stream.name() == name);
        found.ok_or_else(|| {
            let names: Vec<String> = self.streams.iter().map(Stream::name).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let error = Error::not_found(format!("the program has no stream '{name}'"));
            match closest(name, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("its streams are {}", names.join(", "))),
            }
        })
    }
}

fn broken(why: &str) -> Error {
    Error::decode(format!(
        "the program's catalog is not as the protocol has it: {why}"
    ))
    .hint("look at the program's version; it may speak another protocol")
}

impl Stream {
    fn parse(stream: Value) -> Result<Self> {
        let descriptor = Descriptor::deserialize(&stream).map_err(|_| broken("a stream has no name"))?;
        let known = Known::deserialize(&stream).map_err(|error| {
            broken("a stream's fields are of other types")
                .with("stream", &descriptor.name)
                .caused_by(error)
        })?;
        let Value::Object(whole) = stream else {
            return Err(broken("a stream is no object"));
        };
        Ok(Self {
            descriptor,
            known,
            whole,
        })
    }

    /// The stream's name in weir: with its namespace where it has one.
    pub(super) fn name(&self) -> String {
        match self.descriptor.namespace.as_deref() {
            Some(namespace) if !namespace.is_empty() => format!("{namespace}.{}", self.descriptor.name),
            _ => self.descriptor.name.clone(),
        }
    }

    fn reads_on(&self) -> bool {
        let modes = self.known.supported_sync_modes.as_deref().unwrap_or_default();
        modes.iter().any(|mode| mode == "incremental")
    }

    pub(super) fn declared(&self) -> Declared {
        let modes = self.known.supported_sync_modes.as_deref().unwrap_or_default();
        let cursor = self.known.default_cursor_field.as_deref().unwrap_or_default();
        let keys = self
            .known
            .source_defined_primary_key
            .as_deref()
            .unwrap_or_default();
        Declared {
            name: self.name(),
            schema: self.known.json_schema.clone(),
            primary_key: keys.iter().map(|path| path.join(".")).collect(),
            cursor: (!cursor.is_empty()).then(|| cursor.join(".")),
            has_own_cursor: self.known.source_defined_cursor.unwrap_or_default(),
            reads_fully: modes.is_empty() || modes.iter().any(|mode| mode == "full_refresh"),
            reads_on: self.reads_on(),
        }
    }

    /// Whether a full read that broke off can be gone on with.
    pub(super) fn is_resumable(&self) -> bool {
        self.known.is_resumable.unwrap_or_default()
    }

    /// The catalog by which this stream alone is read.
    pub(super) fn configured(&self, mode: ReadMode, cursor: Option<&str>, keys: &[String]) -> Value {
        let path = |path: &str| -> Vec<String> { path.split('.').map(str::to_owned).collect() };
        let keys: Vec<Vec<String>> = keys.iter().map(|key| path(key)).collect();
        let (sync_mode, destination) = match mode {
            ReadMode::FullRefresh => ("full_refresh", "overwrite"),
            ReadMode::Incremental if keys.is_empty() => ("incremental", "append"),
            ReadMode::Incremental => ("incremental", "append_dedup"),
        };
        let mut configured = json!({
            "stream": self.whole,
            "sync_mode": sync_mode,
            "destination_sync_mode": destination,
            "primary_key": keys,
        });
        if let Some(cursor) = cursor {
            configured["cursor_field"] = json!(path(cursor));
        }
        json!({ "streams": [configured] })
    }
}
