//! One stream of a connector.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Template;
use super::governance::Classification;
use super::job::JobSpec;
use super::reading::{Decode, ErrorRule, Graphql, Paginate, Request, Select};
use super::slicing::SliceSpec;
use super::transform::{Cast, Transform};
use crate::error::{Error, Result};
use crate::name;
use crate::sync_mode::SyncMode;
use crate::units::Span;

/// Its request's fields and its policy's fields stand directly in it (not by `flatten`), so that an
/// unknown field is found and named with its line.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    pub name: String,
    /// The entity part of the Silver table's name; default: the stream's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Joined to `http.base_url`; an absolute URL replaces it.
    #[serde(default)]
    pub path: Template,
    /// Default GET, or POST where there is a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Query parameters. A list repeats the parameter; null and an empty template leave it out.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// JSON body; templates in it may stand for whole values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// URL-encoded form body. A list repeats the field, null leaves it out; an object gives `name[member]`, a list of
    /// objects `name[0][member]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<BTreeMap<String, Value>>,
    /// Body as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphql: Option<Graphql>,
    /// What the vendor works out before there are pages to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
    #[serde(default)]
    pub decode: Decode,
    #[serde(default)]
    pub select: Select,
    /// Template over `record`, `slice`, `config`: only records for which it is true are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Template>,
    #[serde(default)]
    pub paginate: Paginate,
    #[serde(default)]
    pub slices: Vec<SliceSpec>,
    /// Paths of the fields that tell records apart.
    #[serde(default)]
    pub primary_key: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<CursorSpec>,
    #[serde(default)]
    pub transform: Vec<Transform>,
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    /// Send If-None-Match with the ETag of the slice's last first page; 304 means nothing changed.
    #[serde(default)]
    pub etag: bool,
    /// JSON Schema of a record; a file `schemas/<stream>.json` does the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<SyncMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// What a new or changed field does. Default: `evolve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
    /// Path to what happens to that field before anything is stored in Silver.
    #[serde(default)]
    pub pii: BTreeMap<String, Pii>,
    /// Columns by which the Silver table's files are partitioned; a timestamp or date column may
    /// be written `month(created_at)`, `day(…)` or `year(…)`.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// Array fields that become a child table `<source>_<entity>_<field>` each.
    #[serde(default)]
    pub explode: Vec<String>,
    /// Field that is set (or true) on records that are deleted at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_field: Option<String>,
    /// Mark changed rows in deletion vectors instead of rewriting their files.
    #[serde(default)]
    pub deletion_vectors: bool,
}

/// How a stream is typed and written, collected from connector and connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamPolicy {
    pub contract: Contract,
    pub pii: BTreeMap<String, Pii>,
    pub partition_by: Vec<String>,
    pub explode: Vec<String>,
    pub deleted_field: Option<String>,
    pub deletion_vectors: bool,
    /// What the transforms promise of values; the records of which that is not true are kept out.
    pub casts: Vec<Cast>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Contract {
    /// New columns are added, types widened safely; what cannot be widened goes to quarantine.
    #[default]
    Evolve,
    /// Records with new fields or other types wait in quarantine.
    Quarantine,
    /// The stream stops.
    Freeze,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pii {
    /// SHA-256 of the value with the project's key: equal values stay equal.
    Hash,
    Drop,
}

/// The value by which a stream is read on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CursorSpec {
    /// Path of the field in a record.
    pub field: String,
    /// How the value is written in records: `rfc3339` (default), `date`, `epoch_s`, `epoch_ms`,
    /// `epoch_us`, `integer`, `string`, or a strftime pattern. Several are tried in order.
    #[serde(default)]
    pub format: CursorFormats,
    /// How lower and upper bound are sent. Without it, records are filtered on our side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<CursorRequest>,
    /// Read again from this much before the stored cursor (late arrivals): a duration, or a number for `integer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback: Option<String>,
    /// Where the first read begins, inclusive. Empty: at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Template>,
    /// Where each read ends. Default: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Template>,
    /// Order in which the source returns records. Only `ascending` lets the cursor advance within
    /// a slice; otherwise it advances when the slice is read to its end.
    #[serde(default)]
    pub order: CursorOrder,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CursorFormats {
    One(String),
    Any(Vec<String>),
}

impl Default for CursorFormats {
    fn default() -> Self {
        Self::One("rfc3339".to_owned())
    }
}

impl CursorFormats {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let formats = match self {
            Self::One(format) => std::slice::from_ref(format),
            Self::Any(formats) => formats.as_slice(),
        };
        formats.iter().map(String::as_str)
    }
}

/// How the cursor's bounds travel in a request. Templates may use `cursor.start` and `cursor.end` instead.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CursorRequest {
    /// Query parameter of the lower bound (inclusive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Path into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Query parameter of the upper bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_param: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_body: Option<String>,
    /// How both are written; default: as in records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CursorOrder {
    Ascending,
    Descending,
    #[default]
    Unknown,
}

impl StreamSpec {
    pub fn entity(&self) -> &str {
        self.entity.as_deref().unwrap_or(&self.name)
    }

    pub fn request(&self) -> Request {
        Request {
            path: self.path.clone(),
            method: self.method.clone(),
            params: self.params.clone(),
            headers: self.headers.clone(),
            json: self.json.clone(),
            form: self.form.clone(),
            text: self.text.clone(),
            graphql: self.graphql.clone(),
            multipart: None,
        }
    }

    pub fn policy(&self) -> StreamPolicy {
        StreamPolicy {
            contract: self.contract.unwrap_or_default(),
            pii: self.pii.clone(),
            partition_by: self.partition_by.clone(),
            explode: self.explode.clone(),
            deleted_field: self.deleted_field.clone(),
            deletion_vectors: self.deletion_vectors,
            casts: Vec::new(),
        }
    }

    /// The streams whose records this one is sliced by.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.slices.iter().filter_map(|slice| match slice {
            SliceSpec::Parent { stream, .. } => Some(stream.as_str()),
            SliceSpec::List { .. } | SliceSpec::DateWindow { .. } => None,
        })
    }

    pub fn default_mode(&self) -> SyncMode {
        self.mode
            .unwrap_or_else(|| SyncMode::default_for(!self.primary_key.is_empty(), self.cursor.is_some()))
    }

    pub(super) fn validate(&self) -> Result<()> {
        name::check("stream", &self.name)?;
        name::check("entity", self.entity())?;
        let windows = self
            .slices
            .iter()
            .filter(|slice| matches!(slice, SliceSpec::DateWindow { .. }))
            .count();
        if windows > 0 && self.cursor.is_none() {
            return Err(Error::spec("slices by date_window need a cursor")
                .hint("add cursor: { field: …, format: … }"));
        }
        if windows > 1 {
            return Err(Error::spec("slices has more than one date_window").hint("keep one"));
        }
        if let Some(mode) = self.mode {
            if mode.needs_primary_key() && self.primary_key.is_empty() {
                return Err(Error::spec(format!("mode {mode} needs a primary_key"))
                    .hint("add primary_key: [id], or choose an append or replace mode"));
            }
            if mode.read() == crate::ReadMode::Incremental && self.cursor.is_none() {
                return Err(Error::spec(format!("mode {mode} needs a cursor"))
                    .hint("add cursor: { field: … }, or choose a full_refresh mode"));
            }
        }
        let lookback = self.cursor.as_ref().and_then(|cursor| cursor.lookback.as_deref());
        match lookback {
            Some(text) if text.parse::<Span>().is_err() && text.parse::<i64>().is_err() => Err(Error::spec(
                format!("lookback '{text}' is neither a duration nor a number"),
            )
            .hint("write 10m, 1d, or a plain number for an integer cursor")),
            _ => Ok(()),
        }
    }
}
