//! The columns by which a row is traced back: `_emitted_at, _source, _stream, _cursor, _run`, and
//! `_deleted_at`.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields};
use simd_json::{Node, StaticNode};
use weir_protocol::WritePlan;
use weir_protocol::spec::Pii;

use super::kind::timestamp_type;
use super::pii::{Hasher, PiiRules, split_path};
use super::tape::Parsed;
use super::time;

/// The lineage columns, in the order in which they follow the data columns.
pub fn lineage_fields() -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    vec![
        Field::new("_emitted_at", timestamp_type(), true),
        text("_source"),
        text("_stream"),
        text("_cursor"),
        text("_run"),
        Field::new("_deleted_at", timestamp_type(), true),
    ]
    .into()
}

/// Gathers the lineage of a batch's rows.
pub(crate) struct Lineage {
    source: String,
    stream: String,
    run: String,
    cursor_rule: Option<Pii>,
    hasher: Hasher,
    deleted_path: Option<Vec<String>>,
    cursors: StringBuilder,
    deleted: Vec<Option<i64>>,
}

impl Lineage {
    pub(crate) fn new(plan: &WritePlan, pii: &PiiRules, hasher: Hasher) -> Self {
        let cursor_path = plan.stream.cursor_field.as_deref().map(split_path);
        Self {
            source: plan.source.clone(),
            stream: plan.stream.name.clone(),
            run: plan.run.clone(),
            cursor_rule: cursor_path.and_then(|path| pii.action_at(&path)),
            hasher,
            deleted_path: plan.stream.policy.deleted_field.as_deref().map(split_path),
            cursors: StringBuilder::new(),
            deleted: Vec::new(),
        }
    }

    /// Notes one accepted row.
    pub(crate) fn push(&mut self, cursor: Option<&[u8]>, deleted_at: Option<i64>) {
        self.deleted.push(deleted_at);
        let text = cursor
            .and_then(|raw| std::str::from_utf8(raw).ok())
            .filter(|text| *text != "null" && self.cursor_rule != Some(Pii::Drop));
        let Some(raw) = text else {
            self.cursors.append_null();
            return;
        };
        let unquoted = unquote(raw);
        if self.cursor_rule == Some(Pii::Hash) {
            let mut digest = Vec::new();
            self.hasher.hash(unquoted.as_bytes(), &mut digest);
            self.cursors.append_option(String::from_utf8(digest).ok());
        } else {
            self.cursors.append_value(unquoted);
        }
    }

    /// When the record says that it was deleted: the time it names, else the time it was read.
    pub(crate) fn deleted_at(&self, record: &mut Parsed<'_>, emitted_us: i64) -> Option<i64> {
        let at = record.find(self.deleted_path.as_ref()?)?;
        match record.nodes.get(at)? {
            Node::Static(StaticNode::Bool(true)) => Some(emitted_us),
            Node::String(text) => match time::moment(text) {
                Some(moment) => Some(moment.micros),
                None => (!matches!(*text, "" | "false" | "0")).then_some(emitted_us),
            },
            Node::Static(StaticNode::Null | StaticNode::Bool(false)) => None,
            Node::Static(_) => (record.text(at) != "0").then_some(emitted_us),
            Node::Object { .. } | Node::Array { .. } => (!record.is_hollow(at)).then_some(emitted_us),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.cursors = StringBuilder::new();
        self.deleted.clear();
    }

    pub(crate) fn rows(&self) -> usize {
        self.deleted.len()
    }

    pub(crate) fn finish(&mut self, emitted_us: i64) -> Vec<ArrayRef> {
        let rows = self.deleted.len();
        let time = |values: TimestampMicrosecondArray| -> ArrayRef { Arc::new(values.with_timezone("UTC")) };
        let repeat = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(vec![text; rows])) };
        let deleted = std::mem::take(&mut self.deleted);
        vec![
            time(TimestampMicrosecondArray::from_value(emitted_us, rows)),
            repeat(&self.source),
            repeat(&self.stream),
            Arc::new(self.cursors.finish()),
            repeat(&self.run),
            time(TimestampMicrosecondArray::from(deleted)),
        ]
    }
}

/// A JSON string's characters; any other value as it is written.
fn unquote(raw: &str) -> std::borrow::Cow<'_, str> {
    if !raw.starts_with('"') {
        return raw.into();
    }
    match serde_json::from_str::<String>(raw) {
        Ok(text) => text.into(),
        Err(_) => raw.into(),
    }
}
