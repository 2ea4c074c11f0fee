//! Changes to records between the page and the lake. A stream without any is never re-serialised.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One step: exactly one field.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Path to template (or plain value) over `record`, `slice`, `config`, `now`.
    Add(BTreeMap<String, Value>),
    /// Paths; `*` stands for every element or member.
    Remove(Vec<String>),
    /// Old path to new path.
    Rename(BTreeMap<String, String>),
    /// Lifts the members of nested objects to the top, joined by `separator`. Fields that come to one name are kept as by
    /// `keys`; the one at the top keeps it.
    Flatten(Flatten),
    /// Path to type. A record with a value that cannot be cast waits in quarantine.
    Cast(BTreeMap<String, CastType>),
    /// All keys to `lower`, or `snake` case. Of several that become the same the one that was so before keeps the name, else
    /// the first in alphabetical order; the others get the suffix `_2`, `_3` … (`userId` beside `user_id` is `user_id_2`).
    Keys(KeyCase),
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flatten {
    /// Only these objects; empty: all.
    #[serde(default)]
    pub paths: Vec<String>,
    #[serde(default = "underscore")]
    pub separator: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CastType {
    String,
    Integer,
    Number,
    Boolean,
    /// RFC 3339, a date, RFC 2822, or a number of seconds, milli- or microseconds since 1970, to RFC 3339 in UTC.
    Timestamp,
    /// Text holding JSON, to that JSON. Any other text is a JSON string as it stands, and stays so:
    /// this cast cannot fail.
    Json,
}

impl CastType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
            Self::Json => "json",
        }
    }
}

/// What a record's value at a path was cast to. `*` stands for every element or member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cast {
    pub path: Vec<String>,
    pub to: CastType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyCase {
    Lower,
    Snake,
}

fn underscore() -> String {
    "_".to_owned()
}
