//! Permissions, and the roles that name sets of them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

/// Writes each permission down once: its name in Rust, and its word everywhere else.
macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// One thing that a principal may do. The words are the scopes of tokens.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Permission {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Permission {
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$name),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

permissions! {
    ConnectorsRead = "connectors:read",
    ConnectorsWrite = "connectors:write",
    ConnectionsRead = "connections:read",
    ConnectionsWrite = "connections:write",
    RunsRead = "runs:read",
    RunsWrite = "runs:write",
    SchedulesRead = "schedules:read",
    SchedulesWrite = "schedules:write",
    StatesRead = "states:read",
    StatesWrite = "states:write",
    SchemasRead = "schemas:read",
    /// Ask the lake in SQL, and look at records of a source.
    DataRead = "data:read",
    AlertsRead = "alerts:read",
    AlertsWrite = "alerts:write",
    EventsRead = "events:read",
    EventsWrite = "events:write",
    ActionsRead = "actions:read",
    ActionsWrite = "actions:write",
    ApprovalsWrite = "approvals:write",
    SecretsRead = "secrets:read",
    SecretsWrite = "secrets:write",
    AuditRead = "audit:read",
    AccessRead = "access:read",
    TokensRead = "tokens:read",
    TokensWrite = "tokens:write",
    /// Claim runs and carry them out.
    WorkersWrite = "workers:write",
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named(Self::ALL, Self::as_str, "scope", text)
    }
}

/// A named set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Keeps things running: runs, schedules, connections, alerts.
    Operator,
    /// Decides on actions, and looks at who did what.
    Approver,
    /// Looks at data and how it came.
    Analyst,
    /// Calls actions and starts runs.
    Agent,
    /// Carries runs out that others asked for, and does nothing else.
    Worker,
}

const LOOK: [Permission; 7] = [
    Permission::ConnectorsRead,
    Permission::ConnectionsRead,
    Permission::RunsRead,
    Permission::SchedulesRead,
    Permission::StatesRead,
    Permission::SchemasRead,
    Permission::ActionsRead,
];

impl Role {
    pub const ALL: [Self; 6] = [
        Self::Admin,
        Self::Operator,
        Self::Approver,
        Self::Analyst,
        Self::Agent,
        Self::Worker,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Analyst => "analyst",
            Self::Agent => "agent",
            Self::Worker => "worker",
        }
    }

    pub fn permissions(self) -> BTreeSet<Permission> {
        use Permission as P;
        let more: &[Permission] = match self {
            Self::Admin => &P::ALL,
            Self::Operator => &[
                P::ConnectorsWrite,
                P::ConnectionsWrite,
                P::RunsWrite,
                P::SchedulesWrite,
                P::StatesWrite,
                P::DataRead,
                P::AlertsRead,
                P::AlertsWrite,
                P::EventsRead,
                P::EventsWrite,
                P::SecretsRead,
            ],
            Self::Approver => &[P::ApprovalsWrite, P::AuditRead, P::AccessRead, P::AlertsRead],
            Self::Analyst => &[P::DataRead, P::AlertsRead, P::EventsRead],
            Self::Agent => &[P::RunsWrite, P::DataRead, P::ActionsWrite],
            // What it has to know, its calls are answered with.
            Self::Worker => return BTreeSet::from([P::WorkersWrite]),
        };
        LOOK.iter().chain(more).copied().collect()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named(Self::ALL, Self::as_str, "role", text)
    }
}

/// Finds a value by its word, or says which there are.
pub(super) fn named<T: Copy, const N: usize>(
    all: [T; N],
    word: fn(T) -> &'static str,
    what: &str,
    text: &str,
) -> Result<T> {
    if let Some(found) = all.into_iter().find(|value| word(*value) == text) {
        return Ok(found);
    }
    let words = all.map(word);
    let error = Error::usage(format!("there is no {what} '{text}'"));
    Err(match closest(text, &words) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint(format!("use one of {}", words.join(", "))),
    })
}
