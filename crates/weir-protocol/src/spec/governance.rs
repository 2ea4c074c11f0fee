//! Who may do what with a connector's data, and how long it is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Governance {
    /// How sensitive the data is; streams, fields and actions may be stricter.
    pub classification: Classification,
    /// Default class of actions.
    pub approval: Approval,
    /// What leaves an audit record.
    pub audit: Vec<AuditEvent>,
    pub retention: Retention,
}

impl Default for Governance {
    fn default() -> Self {
        Self {
            classification: Classification::Internal,
            approval: Approval::Required,
            audit: vec![AuditEvent::Sync, AuditEvent::Action, AuditEvent::Credential],
            retention: Retention::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Classification {
    Public,
    Internal,
    Confidential,
    Restricted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    Auto,
    Required,
    Forbidden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditEvent {
    Sync,
    Action,
    Credential,
}

/// How long each layer is kept before it is archived or deleted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    pub bronze: Span,
    pub silver: Span,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY_S: u64 = 24 * 60 * 60;
        Self {
            bronze: Span::from_secs(30 * DAY_S),
            silver: Span::from_secs(365 * DAY_S),
        }
    }
}
