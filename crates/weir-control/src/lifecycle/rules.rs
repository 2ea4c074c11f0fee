//! The stages of a connector's version.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, ErrorKind, Result};

use crate::store::stored_badly;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// May still change.
    Draft,
    /// Somebody looked at it; it changes no more.
    Approved,
    /// May be synced beside production, into tables of its own.
    Staging,
    /// What connections of the connector are read with.
    Production,
    /// Another version took its place.
    Retired,
}

impl Stage {
    pub const ALL: [Self; 5] = [
        Self::Draft,
        Self::Approved,
        Self::Staging,
        Self::Production,
        Self::Retired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Approved => "approved",
            Self::Staging => "staging",
            Self::Production => "production",
            Self::Retired => "retired",
        }
    }

    /// The state machine, as drawn in `docs/guides/connector-lifecycle.md`.
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Draft, Self::Approved)
                | (Self::Approved, Self::Staging)
                | (Self::Staging | Self::Retired, Self::Production)
                | (Self::Production, Self::Retired)
        )
    }

    /// Where a promotion leads.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Draft => Some(Self::Approved),
            Self::Approved => Some(Self::Staging),
            Self::Staging => Some(Self::Production),
            Self::Production | Self::Retired => None,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Stage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| stored_badly("stage", text, "unknown word"))
    }
}

/// Refuses a step that the drawing does not have.
pub(super) fn step(connector: &str, version: &str, from: Stage, to: Stage) -> Result<()> {
    if from.may_become(to) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("version {version} of connector '{connector}' is {from} and cannot become {to}"),
    )
    .hint("`weir connector show KEY` tells where its versions stand"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The drawing and the rule are the same thing.
    #[test]
    fn the_guide_draws_every_step() {
        let drawn = include_str!("../../../../docs/guides/connector-lifecycle.md");
        let mut steps: Vec<String> = drawn
            .lines()
            .map(str::trim)
            .filter(|line| line.contains("-->") && !line.contains("[*]"))
            .map(|line| line.split(':').next().unwrap_or_default().trim().to_owned())
            .collect();
        let mut allowed: Vec<String> = Stage::ALL
            .into_iter()
            .flat_map(|from| Stage::ALL.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .map(|(from, to)| format!("{from} --> {to}"))
            .collect();
        steps.sort();
        allowed.sort();
        assert_eq!(steps, allowed);
    }
}
