//! Requests, pages, decoding and selection.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Template;
use crate::units::Span;

/// One HTTP request, rendered anew for each page. At most one of `json`, `form`, `text`, `graphql` and `multipart`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Joined to `http.base_url`; an absolute URL replaces it.
    pub path: Template,
    /// Default GET, or POST where there is a body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Query parameters. A list repeats the parameter; null and an empty template leave it out.
    pub params: BTreeMap<String, Value>,
    pub headers: BTreeMap<String, Template>,
    /// JSON body; templates in it may stand for whole values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// URL-encoded form body. A list repeats the field, null leaves it out; an object gives `name[member]`, a list of
    /// objects `name[0][member]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<BTreeMap<String, Value>>,
    /// Body as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Template>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphql: Option<Graphql>,
    /// Fields of a `multipart/form-data` body. An object with `base64` (the content) and `filename` is a file;
    /// it may have a `content_type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multipart: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Graphql {
    pub query: Template,
    #[serde(default)]
    pub variables: BTreeMap<String, Value>,
}

/// Where something is put into a request: exactly one of `param: name`, `header: name`, `body: path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Placed {
    Param(String),
    Header(String),
    /// Path into the JSON or form body, as in `page.cursor` (GraphQL: `variables.after`).
    Body(String),
}

/// How many records are asked for a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageSize {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    pub value: u64,
}

/// The rule that finds the next page. Loop detection and the page limit come on top of each.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Paginate {
    /// One page is all there is.
    #[default]
    None,
    /// 1, 2, 3 … until a page is short (or empty, where no size is set).
    PageNumber {
        request: Placed,
        #[serde(default = "one")]
        start: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<PageSize>,
        /// Path of the number of pages in the answer, where it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pages_path: Option<String>,
        /// When to stop.
        #[serde(default)]
        stop: EmptyPage,
    },
    /// Records to skip: 0, size, 2 × size … until a page is short.
    Offset {
        request: Placed,
        size: PageSize,
        /// Path of the number of records in the answer, where it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total_path: Option<String>,
        #[serde(default)]
        stop: EmptyPage,
    },
    /// A token in the answer's body (`path`), in a header, or made by a template over `response`,
    /// `headers`, `record` (the last one) and `page`.
    PageToken {
        request: Placed,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_header: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Template>,
        /// True when there is no next page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop_when: Option<Template>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<PageSize>,
        /// Token of the first request, where one is needed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<Template>,
    },
    /// The next page's URL at a path in the body.
    NextUrl {
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<PageSize>,
    },
    /// `Link: <…>; rel="next"` (RFC 8288).
    LinkHeader {
        #[serde(default = "next")]
        rel: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<PageSize>,
    },
}

/// What ends counting paginators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmptyPage {
    /// A page with fewer records than asked for is the last one.
    #[default]
    Short,
    /// Only a page without records ends it (vendors that cut pages short at will).
    Empty,
}

/// How an answer's bytes become records.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decode {
    pub format: DecodeFormat,
    /// On top of HTTP's own content encoding.
    pub compression: Encoding,
    /// CSV: field separator, one byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// CSV: what stands around values that hold a delimiter or a line end, one byte; `"` unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<char>,
    /// CSV: column names where the file has no header line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// CSV: a value without characters is null instead of an empty text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_as_null: bool,
    /// Character set of text that is not UTF-8, by its WHATWG name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecodeFormat {
    #[default]
    Json,
    Jsonl,
    Csv,
    /// Elements become objects: attributes `@name`, text `#text` (or the plain text where there is nothing else).
    Xml,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    #[default]
    None,
    Gzip,
    Zip,
    Zstd,
}

/// Which part of an answer the records are, and which of them count.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Select {
    /// The answer itself: an array of records, or one record.
    #[default]
    Root,
    /// Path: `data.items`; `*` stands for every element or member, as in `groups.*.users`.
    Path(String),
    /// A path, with what to do when it finds nothing.
    Detailed {
        path: String,
        /// Whether an answer without the path means "no records" instead of an error.
        #[serde(default)]
        optional: bool,
        /// Whether the path leads to an object whose members' values are the records; each gets
        /// its member's name in this field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_as: Option<String>,
    },
}

impl Select {
    pub fn path(&self) -> &str {
        match self {
            Self::Root => "",
            Self::Path(path) | Self::Detailed { path, .. } => path,
        }
    }

    /// Whether an answer without the path holds no records (instead of being an error).
    pub fn is_optional(&self) -> bool {
        matches!(self, Self::Detailed { optional: true, .. })
    }
}

/// What an answer means, decided before the default: 2xx is good, 401 and 403 are the credential,
/// 408, 425, 429 and 5xx are tried again, the rest fails.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// Statuses it applies to; empty: all.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Text that the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Template over `response` and `headers` that must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Template>,
    pub action: ErrorAction,
    /// What a failure is. Default: `auth` for 401 and 403, else `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FailureKind>,
    /// Wait before trying again, over `response` and `headers`: seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// What to tell the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The kinds of errors that a vendor's answer can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The credential is refused, or lacks a right.
    Auth,
    /// The vendor does not allow it, whoever asks: a closed account, a declined payment.
    Denied,
    /// What the request names does not exist.
    NotFound,
    /// The request is not one that the vendor understands.
    Usage,
    /// The vendor's quota is used up, and waiting a little does not help.
    RateLimited,
    /// Any other refusal.
    Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorAction {
    /// The slice ends here, without records.
    Ignore,
    Retry,
    RateLimited,
    Fail,
    /// The answer leaves open whether it was done, although its status does not say so: a call of an action is
    /// uncertain. What may be repeated is tried again.
    Open,
    /// The answer is good after all.
    Success,
}

fn one() -> u64 {
    1
}
fn next() -> String {
    "next".to_owned()
}
