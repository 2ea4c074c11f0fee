//! A tap's catalog: what it offers, and how one stream of it is selected.

use serde_json::{Map, Value, json};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, ReadMode, Result};

use super::super::process::{Declared, bare};

pub(super) struct Catalog {
    whole: Map<String, Value>,
    pub(super) streams: Vec<Stream>,
}

/// An entry as the tap wrote it.
#[derive(Debug)]
pub(super) struct Stream(Map<String, Value>);

impl Catalog {
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        let broken = |why: &str| {
            Error::decode(format!("the tap's catalog is not as Singer has it: {why}")).hint(
                "run the tap with --discover by hand; a tap that cannot discover needs config.catalog_file",
            )
        };
        let whole: Value = serde_json::from_slice(bare(text)).map_err(|error| {
            broken("it is no JSON")
                .with("line", error.line())
                .with("column", error.column())
        })?;
        let Value::Object(mut whole) = whole else {
            return Err(broken("it is no object"));
        };
        let Some(Value::Array(entries)) = whole.shift_remove("streams") else {
            return Err(broken("it has no list of streams"));
        };
        let streams: Option<Vec<Stream>> = entries
            .into_iter()
            .map(|entry| match entry {
                Value::Object(entry) => Some(Stream(entry)),
                _ => None,
            })
            .collect();
        let streams = streams.ok_or_else(|| broken("a stream is no object"))?;
        if streams.iter().any(|stream| stream.name().is_empty()) {
            return Err(broken("a stream has no tap_stream_id"));
        }
        Ok(Self { whole, streams })
    }

    pub(super) fn stream(&self, name: &str) -> Result<&Stream> {
        let found = self.streams.iter().find(|stream| stream.name() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.streams.iter().map(Stream::name).collect();
            let error = Error::not_found(format!("the tap has no stream '{name}'"));
            match closest(name, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("its streams are {}", names.join(", "))),
            }
        })
    }

    /// The catalog in which this stream alone is selected.
    pub(super) fn selecting(
        &self,
        name: &str,
        mode: ReadMode,
        cursor: Option<&str>,
        keys: &[String],
    ) -> Value {
        let entries = self.streams.iter().map(|stream| {
            if stream.name() == name {
                stream.selected(mode, cursor, keys)
            } else {
                stream.left_out()
            }
        });
        let mut whole = self.whole.clone();
        whole.insert("streams".to_owned(), entries.collect());
        Value::Object(whole)
    }
}

/// What the metadata may say of a property whose values cannot be had.
const UNSUPPORTED: &str = "unsupported";

impl Stream {
    /// The stream's name in weir.
    pub(super) fn name(&self) -> &str {
        let text = |field: &str| self.0.get(field).and_then(Value::as_str);
        text("tap_stream_id")
            .or_else(|| text("stream"))
            .unwrap_or_default()
    }

    /// Its name in messages.
    pub(super) fn alias(&self) -> &str {
        self.0
            .get("stream")
            .and_then(Value::as_str)
            .unwrap_or_else(|| self.name())
    }

    pub(super) fn schema(&self) -> Option<&Value> {
        self.0.get("schema").filter(|schema| schema.is_object())
    }

    /// A field of the stream's own metadata, or of its entry under the older name.
    fn says(&self, field: &str, older: &str) -> Option<&Value> {
        let entries = self.0.get("metadata").and_then(Value::as_array);
        let own = entries.into_iter().flatten().find(|entry| is_root(entry));
        own.and_then(|entry| entry["metadata"].get(field))
            .or_else(|| self.0.get(older))
            .filter(|value| !value.is_null())
    }

    fn names(&self, field: &str, older: &str) -> Vec<String> {
        match self.says(field, older) {
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            Some(Value::String(name)) => vec![name.clone()],
            _ => Vec::new(),
        }
    }

    fn method(&self) -> Option<&str> {
        self.says("forced-replication-method", "replication_method")?
            .as_str()
    }

    /// Whether the tap reads it only from a database's log.
    pub(super) fn is_log_based(&self) -> bool {
        self.method() == Some("LOG_BASED")
    }

    pub(super) fn declared(&self) -> Declared {
        let mut keys = self.names("table-key-properties", "key_properties");
        if keys.is_empty() {
            keys = self.names("view-key-properties", "key_properties");
        }
        let valid = self.names("valid-replication-keys", "bookmark_properties");
        let own = self.names("replication-key", "replication_key");
        let method = self.method();
        Declared {
            name: self.name().to_owned(),
            schema: self.schema().cloned(),
            primary_key: keys,
            cursor: own.first().or_else(|| valid.first()).cloned(),
            has_own_cursor: method == Some("INCREMENTAL") && valid.len() <= 1,
            reads_fully: true,
            reads_on: method != Some("FULL_TABLE"),
        }
    }

    fn left_out(&self) -> Value {
        let mut entry = self.0.clone();
        set_root(&mut entry, &[("selected", Value::Bool(false))]);
        entry.insert("selected".to_owned(), Value::Bool(false));
        Value::Object(entry)
    }

    fn selected(&self, mode: ReadMode, cursor: Option<&str>, keys: &[String]) -> Value {
        let mut entry = self.0.clone();
        let method = match mode {
            ReadMode::FullRefresh => "FULL_TABLE",
            ReadMode::Incremental => "INCREMENTAL",
        };
        let mut root = vec![("selected", json!(true)), ("replication-method", json!(method))];
        entry.insert("selected".to_owned(), json!(true));
        entry.insert("replication_method".to_owned(), json!(method));
        match cursor.filter(|_| mode == ReadMode::Incremental) {
            Some(cursor) => {
                root.push(("replication-key", json!(cursor)));
                entry.insert("replication_key".to_owned(), json!(cursor));
            }
            None => {
                entry.shift_remove("replication_key");
            }
        }
        if !keys.is_empty() && self.names("table-key-properties", "key_properties").is_empty() {
            // A view has no key of its own; the connection names it.
            root.push(("view-key-properties", json!(keys)));
        }
        set_root(&mut entry, &root);
        select_properties(&mut entry);
        Value::Object(entry)
    }
}

fn is_root(entry: &Value) -> bool {
    entry["breadcrumb"].as_array().is_some_and(Vec::is_empty)
}

/// Changes the list of metadata, which older taps do not have.
fn change_metadata(entry: &mut Map<String, Value>, change: impl FnOnce(&mut Vec<Value>)) {
    let mut entries = match entry.shift_remove("metadata") {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    change(&mut entries);
    entry.insert("metadata".to_owned(), Value::Array(entries));
}

fn set_root(entry: &mut Map<String, Value>, fields: &[(&str, Value)]) {
    change_metadata(entry, |entries| {
        let at = entries.iter().position(is_root).unwrap_or_else(|| {
            entries.push(json!({ "breadcrumb": [], "metadata": {} }));
            entries.len() - 1
        });
        if let Some(root) = entries.get_mut(at) {
            for (name, value) in fields {
                root["metadata"][*name] = value.clone();
            }
        }
    });
}

/// Selects every property that the catalog does not leave out by itself.
fn select_properties(entry: &mut Map<String, Value>) {
    let properties = entry
        .get("schema")
        .and_then(|schema| schema["properties"].as_object());
    let names: Vec<String> = properties
        .map(|members| members.keys().cloned().collect())
        .unwrap_or_default();
    change_metadata(entry, |entries| {
        for found in entries.iter_mut().filter(|found| !is_root(found)) {
            let Some(said) = found.get_mut("metadata").and_then(Value::as_object_mut) else {
                continue;
            };
            let says = |field: &str, word: Value| said.get(field) == Some(&word);
            if !says("inclusion", UNSUPPORTED.into()) && !says("selected", false.into()) {
                said.insert("selected".to_owned(), true.into());
            }
        }
        for name in names {
            let breadcrumb = json!(["properties", name]);
            if !entries.iter().any(|found| found["breadcrumb"] == breadcrumb) {
                entries.push(json!({ "breadcrumb": breadcrumb, "metadata": { "selected": true } }));
            }
        }
    });
}
