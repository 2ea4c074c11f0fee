//! Rules that are finer than roles: Cedar files under `policies/`. They take away from what roles give,
//! and never add to it.

mod cases;
mod engine;
mod in_force;
mod resource;
mod schema;
mod sql;
#[cfg(test)]
mod tests;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cases::{Case, CaseFile, Expectation, Someone, Tried, try_case};
pub use engine::Policies;
pub use in_force::{InForce, Standing, Version, history};
pub use resource::{Resource, ResourceKind, Surroundings, Target};
pub use schema::text as schema_text;

/// One file of policies, by its path in the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFile {
    pub path: String,
    pub text: String,
}

/// Why something was decided as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Neither roles nor scopes give the permission.
    LacksPermission,
    /// The roles give it, and no policy takes it away.
    Roles,
    /// A permit that names principal and action holds.
    Permitted,
    /// Permits name principal and action, and none of them holds.
    NotPermitted,
    /// A forbid holds.
    Forbidden,
    /// A policy could not be evaluated.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    pub is_allowed: bool,
    pub reason: Reason,
    /// Names of the policies that decided; `roles` stands for the roles.
    pub by: Vec<String>,
}

impl Decision {
    fn new(is_allowed: bool, reason: Reason, by: Vec<String>) -> Self {
        Self {
            is_allowed,
            reason,
            by,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by.join(", ");
        match self.reason {
            Reason::LacksPermission => {
                f.write_str("it is denied: roles and scopes do not give the permission")
            }
            Reason::Roles => f.write_str("it is allowed by roles and scopes"),
            Reason::Permitted => write!(f, "it is allowed by {by}"),
            Reason::NotPermitted => {
                f.write_str("it is denied: permits name this principal and action, and none of them holds")
            }
            Reason::Forbidden => write!(f, "it is denied by {by}"),
            Reason::Failed => write!(f, "it is denied: a policy failed: {by}"),
        }
    }
}
