//! A declared call at a vendor.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Template;
use super::governance::{Approval, Classification};
use super::reading::Request;

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionSpec {
    pub name: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Default: the connector's `governance.approval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// JSON Schema of the input.
    pub input: Value,
    pub request: Request,
    /// Output field to path in the answer.
    #[serde(default)]
    pub output: BTreeMap<String, String>,
    #[serde(default)]
    pub idempotency: Idempotency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensation>,
}

/// What keeps a repeated call from having a second effect.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    #[default]
    None,
    /// The vendor honours a key in this header.
    Header(String),
    /// A request that tells whether the effect is already there.
    Lookup(Box<Request>),
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compensation {
    pub action: String,
    #[serde(default)]
    pub with: BTreeMap<String, Template>,
}
