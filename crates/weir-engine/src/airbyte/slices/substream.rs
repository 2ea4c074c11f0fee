//! Partitions out of a parent stream's records.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use weir_protocol::Result;

use super::super::env::Env;
use super::super::node::Node;
use super::super::records::path;
use super::super::stream::{Stream, StreamRead};
use super::super::template::{Text, py_text};
use super::router::Routing;
use super::{CHILD_RESPONSE, CHILD_TEXT, NO_CURSOR, Slice};
use crate::extract::Exact;

/// A parent of a stream.
pub(crate) struct Parent {
    stream: Arc<Stream>,
    key: Vec<String>,
    field: String,
    extra: Vec<Vec<String>>,
    lazy: Option<Vec<Text>>,
    is_incremental: bool,
}

impl Parent {
    pub(crate) fn new(env: &Arc<Env>, node: &Node<'_>, child_state: &Value) -> Result<Self> {
        if node.kind() != "ParentStreamConfig" {
            return Err(node.unknown("a parent stream"));
        }
        let scope = env.scope();
        let text = |field: &str| node.need_text(field)?.eval_text(&scope);
        let extra = node.list("extra_fields").into_iter().map(|steps| {
            let steps = steps
                .items()
                .into_iter()
                .map(|step| step.as_text(node.parameters())?.eval_text(&scope));
            steps.collect::<Result<Vec<_>>>()
        });
        let is_incremental = node.flag("incremental_dependency");
        let stream = node.need("stream")?;
        let state = if is_incremental {
            parent_state(&stream, child_state)
        } else {
            Value::Null
        };
        let lazy = node
            .get("lazy_read_pointer")
            .filter(|pointer| !pointer.items().is_empty());
        Ok(Self {
            key: path::split(&text("parent_key")?),
            field: text("partition_field")?,
            extra: extra.collect::<Result<_>>()?,
            lazy: lazy.map(|_| node.texts("lazy_read_pointer")).transpose()?,
            is_incremental,
            stream: Arc::new(Stream::new(env, &stream, &state, true)?),
        })
    }

    pub(super) fn is_lazy(&self) -> bool {
        self.lazy.is_some()
    }
}

/// The parent's own state within that of its child.
fn parent_state(stream: &Node<'_>, child: &Value) -> Value {
    let Some(members) = child.as_object().filter(|members| !members.is_empty()) else {
        return Value::Null;
    };
    let name = stream
        .get("name")
        .map(|name| py_text(name.value))
        .unwrap_or_default();
    if let Some(state) = members.get("parent_state").and_then(|parents| parents.get(&name)) {
        return state.clone();
    }
    if let Some(all) = members.get("state") {
        return all.clone();
    }
    // A state from before the stream had partitions: the parent takes its value.
    let mut own = members.iter().filter(|(name, _)| *name != NO_CURSOR);
    match (own.next(), own.next()) {
        (Some((_, value)), None) if value.is_string() || value.is_number() => {
            let cursor = stream
                .get("incremental_sync")
                .and_then(|cursor| cursor.str("cursor_field"));
            cursor.map_or(Value::Null, |field| json!({ field: value }))
        }
        _ => Value::Null,
    }
}

/// The parents' records, one parent after the other.
pub(super) struct Substream {
    parents: Vec<(Arc<Parent>, StreamRead)>,
    at: usize,
    slice: Option<(Arc<Slice>, super::super::retriever::Pages)>,
    records: std::vec::IntoIter<(Value, Exact)>,
}

impl Substream {
    pub(super) fn new(parents: &[Arc<Parent>]) -> Result<Self> {
        let begun = parents.iter().map(|parent| {
            let read = StreamRead::new(parent.stream.clone())?;
            Ok((parent.clone(), read))
        });
        Ok(Self {
            parents: begun.collect::<Result<_>>()?,
            at: 0,
            slice: None,
            records: Vec::new().into_iter(),
        })
    }

    /// Goes on to a page that has records; false at the end of all parents.
    async fn more(&mut self) -> Result<bool> {
        while let Some((_, read)) = self.parents.get_mut(self.at) {
            if let Some((slice, pages)) = &mut self.slice {
                match Box::pin(pages.next()).await? {
                    Some(page) => {
                        read.tracking().observe(slice, &page, None)?;
                        self.records = page.values()?.into_iter();
                        return Ok(true);
                    }
                    None => {
                        read.tracking().close(slice);
                        self.slice = None;
                    }
                }
            }
            match Box::pin(read.next_slice()).await? {
                Some(slice) => {
                    let pages = read.tracking().pages(&slice).await?;
                    self.slice = Some((slice, pages));
                }
                None => {
                    read.finish();
                    self.at += 1;
                }
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Routing for Substream {
    async fn next(&mut self) -> Result<Option<Slice>> {
        loop {
            let Some((record, exact)) = self.records.next() else {
                if self.more().await? {
                    continue;
                }
                return Ok(None);
            };
            let (Some((parent, read)), Some((slice, _))) = (self.parents.get(self.at), &self.slice) else {
                continue;
            };
            let Some(key) = path::get(&record, &parent.key).filter(|key| !key.is_null()) else {
                tracing::debug!(
                    parent = parent.stream.name(),
                    "a parent record without key was left out"
                );
                continue;
            };
            let mut extra = Map::new();
            if let Some(pointer) = &parent.lazy {
                let scope = read.env().scope();
                let steps = pointer.iter().map(|step| step.eval_text(&scope));
                let steps: Vec<String> = steps.collect::<Result<_>>()?;
                let response = path::get(&record, &steps).cloned().unwrap_or_else(|| json!([]));
                // Records are written from it: where it does not hold their numbers its text goes along.
                if !exact.is_empty() {
                    extra.insert(CHILD_TEXT.to_owned(), Value::from(exact.text(&response)?));
                }
                extra.insert(CHILD_RESPONSE.to_owned(), response);
            }
            for steps in &parent.extra {
                let value = path::get(&record, steps).cloned().unwrap_or(Value::Null);
                extra.insert(steps.join("."), value);
            }
            // As all numbers of templates that are larger than JSON's values.
            let key = exact.digits(key).map_or_else(|| key.clone(), Value::from);
            let partition = json!({ &parent.field: key, "parent_slice": slice.view.partition });
            return Ok(Some(Slice::new(partition, json!({}), Value::Object(extra))));
        }
    }

    fn state(&self) -> Option<Value> {
        let incremental = self.parents.iter().filter(|(parent, _)| parent.is_incremental);
        let states =
            incremental.map(|(parent, read)| (parent.stream.name().to_owned(), read.tracking().state()));
        Some(Value::Object(states.collect()))
    }
}
