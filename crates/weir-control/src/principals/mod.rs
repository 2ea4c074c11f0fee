//! Who acts, and what they may do.

mod refusals;
mod review;
mod rights;
mod rules;
mod sql;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result};

use crate::Acting;

pub use refusals::note_refusal;
pub use review::{Grant, review};
pub use rights::{Permission, Role};
pub(crate) use rules::{check_groups, granted};
pub use rules::{check_name, may};
pub use tokens::{
    EXPIRY_DEFAULT, EXPIRY_MAX, Issued, NewToken, Token, TokenStatus, authenticate, bootstrap, create, get,
    list, revoke, revoke_if,
};
pub(crate) use tokens::{holder, is_made_by};

/// Whoever has the machine, and with it the store.
pub(crate) const COMMAND_LINE: &str = "command-line";

/// What a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A person.
    User,
    /// A program that decides by itself what to call.
    Agent,
    /// A program that does what it was written to do.
    Token,
    /// weir itself.
    System,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::User, Self::Agent, Self::Token, Self::System];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::Token => "token",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        rights::named(Self::ALL, Self::as_str, "kind of principal", text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Principal {
    pub tenant: String,
    pub name: String,
    pub kind: Kind,
    pub created_at_ms: i64,
}

/// Who makes a request, for which tenant, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub tenant: String,
    pub principal: String,
    pub kind: Kind,
    /// Id of the token that was shown, where one was.
    pub token: Option<String>,
    pub permissions: BTreeSet<Permission>,
    /// What the permissions come from, for policies that name them.
    pub roles: BTreeSet<Role>,
    /// As whoever vouches for the principal says.
    pub groups: BTreeSet<String>,
}

impl Access {
    /// Whom audit records name: an id that is nobody's own, with the name kept apart.
    pub fn acting(&self, request: Option<&str>) -> Acting {
        let mut acting = Acting::new(match &self.token {
            Some(token) => format!("token:{token}"),
            None => self.kind.to_string(),
        });
        acting
            .personal
            .insert("principal".to_owned(), self.principal.as_str().into());
        acting.correlation_id = request.map(ToOwned::to_owned);
        acting
    }

    /// What the roles would give and the scopes of an access token do not: it could be asked for.
    pub fn withheld(&self) -> BTreeSet<Permission> {
        let of_roles = self.roles.iter().flat_map(|role| role.permissions());
        of_roles
            .filter(|permission| !self.permissions.contains(permission))
            .collect()
    }

    /// A person at the command line of this machine, who has the store itself.
    pub fn command_line(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            principal: COMMAND_LINE.to_owned(),
            kind: Kind::System,
            token: None,
            permissions: Permission::ALL.into_iter().collect(),
            roles: BTreeSet::from([Role::Admin]),
            groups: BTreeSet::new(),
        }
    }
}
