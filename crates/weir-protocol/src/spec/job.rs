//! Work that a vendor does before there is something to read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Template;
use super::reading::Request;
use crate::units::Span;

/// A job that is started for each slice and asked for until it is done; then the stream's own request reads what it
/// came to. Templates of that request, and of `poll`, see `job.<field>`. A read that was broken off starts a new one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Starts it. Templates may name `slice` and `cursor`.
    pub create: Request,
    /// Field of `job` to path in the answer to `create`; each must be there.
    pub output: BTreeMap<String, String>,
    /// Asks how far it is.
    pub poll: Request,
    /// True over `response` of `poll` where there is something to read.
    pub done_when: Template,
    /// True over `response` of `poll` where there never will be.
    pub failed_when: Template,
    /// What the vendor says of the failure, over `response`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Template>,
    /// Between two questions; it doubles with each, up to eight times this.
    #[serde(default = "every")]
    pub every: Span,
    /// The job is given up after this.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Removes it at the vendor after its last page was read. Whether that succeeds changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<Request>,
}

fn every() -> Span {
    Span::from_secs(2)
}

fn timeout() -> Span {
    Span::from_secs(60 * 60)
}
