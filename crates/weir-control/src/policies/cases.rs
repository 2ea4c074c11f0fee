//! Cases that policies have to decide as expected: `policies/*.test.yaml`.

use std::collections::BTreeSet;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Result, yaml};

use super::{Decision, Policies, Resource};
use crate::DEFAULT_TENANT;
use crate::principals::{Access, Kind, Permission, Role, granted};

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    pub cases: Vec<Case>,
}

/// One request, and what is to become of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub principal: Someone,
    pub action: Permission,
    pub resource: Resource,
    pub expect: Expectation,
    /// Name of the policy that decides; `roles` where no policy does.
    #[serde(default)]
    pub by: Option<String>,
    /// How it is asked: `api` if left out.
    #[serde(default = "api")]
    pub via: String,
}

fn api() -> String {
    "api".to_owned()
}

/// Who asks in a case.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Someone {
    pub name: String,
    #[serde(default = "token")]
    pub kind: Kind,
    #[serde(default)]
    pub roles: BTreeSet<Role>,
    #[serde(default)]
    pub scopes: BTreeSet<Permission>,
    #[serde(default)]
    pub groups: BTreeSet<String>,
    #[serde(default = "tenant")]
    pub tenant: String,
}

fn token() -> Kind {
    Kind::Token
}

fn tenant() -> String {
    DEFAULT_TENANT.to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    Allow,
    Deny,
}

impl Someone {
    pub fn access(&self) -> Access {
        Access {
            tenant: self.tenant.clone(),
            principal: self.name.clone(),
            kind: self.kind,
            token: None,
            permissions: granted(&self.roles, &self.scopes),
            roles: self.roles.clone(),
            groups: self.groups.clone(),
        }
    }
}

/// What became of a case.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Tried {
    pub name: String,
    pub decision: Decision,
    /// Why it is not as expected.
    pub mistake: Option<String>,
}

impl CaseFile {
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        yaml::parse(file, text)
    }
}

/// Decides a case and compares.
pub fn try_case(policies: &Policies, case: &Case) -> Tried {
    let decision = policies.decide(&case.principal.access(), case.action, &case.resource, &case.via);
    let is_allowed = case.expect == Expectation::Allow;
    let mistake = if decision.is_allowed != is_allowed {
        let word = if is_allowed { "allow" } else { "deny" };
        Some(format!("expected {word}, but {decision}"))
    } else {
        let other = case.by.as_ref().filter(|by| !decision.by.contains(by));
        other.map(|by| format!("expected '{by}' to decide, but {decision}"))
    };
    Tried {
        name: case.name.clone(),
        decision,
        mistake,
    }
}
