//! Reading a stream in parts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Template;
use crate::units::Span;

/// One dimension of slices; several make their product. A slice's fields are named in templates as `slice.<name>`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum SliceSpec {
    /// Fixed values, or a template that gives a list, as in `{{ config.repositories }}`.
    List {
        name: String,
        values: Value,
        /// Query parameter that carries the value, where the path does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        param: Option<String>,
    },
    /// Windows of the stream's cursor from its start to its end; templates see `cursor.start` and `cursor.end`.
    DateWindow {
        step: Step,
        /// The unit in which windows do not overlap: each but the last ends one unit before the next begins.
        /// Without it, a window ends where the next begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        granularity: Option<Span>,
    },
    /// A slice for each record of another stream, read once and streamed.
    Parent {
        stream: String,
        /// Slice field to the path in the parent's record, as in `{ number: number }`.
        fields: BTreeMap<String, String>,
        /// Read only parents that changed since the last sync (the parent's own cursor is kept in the state).
        #[serde(default)]
        incremental: bool,
        /// Only parents for which this template over `record` is true.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        when: Option<Template>,
    },
}

/// A calendar step: `P1D`, `P1M`, `PT1H` (ISO 8601), or a plain duration such as `7d`.
pub type Step = String;
