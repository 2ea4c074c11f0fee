//! What the project says of alerts: which rules, how much they matter, and which channel is told.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::Error;

use super::Rule;
use crate::store::stored_badly;

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Info, Self::Warning, Self::Critical]
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .ok_or_else(|| stored_badly("severity", text, "unknown word"))
    }
}

/// In which language texts are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    #[default]
    En,
    Ar,
}

/// What differs from a rule's own ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSetting {
    /// Nothing is raised.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

/// Which alerts a channel is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub channel: String,
    /// Only what matters at least so much.
    pub severity: Severity,
    /// Only these rules; all where it is empty.
    pub rules: Vec<Rule>,
}

impl Route {
    pub(super) fn takes(&self, rule: Rule, severity: Severity) -> bool {
        severity >= self.severity && (self.rules.is_empty() || self.rules.contains(&rule))
    }
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub routes: Vec<Route>,
    pub rules: BTreeMap<Rule, RuleSetting>,
    pub language: Language,
    /// What still stands is told again after so long.
    pub tell_again: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            rules: BTreeMap::new(),
            language: Language::default(),
            tell_again: Duration::from_secs(4 * 60 * 60),
        }
    }
}

impl Settings {
    /// How much an alert of the rule matters; none where the rule is off.
    pub(super) fn severity(&self, rule: Rule) -> Option<Severity> {
        let setting = self.rules.get(&rule).copied().unwrap_or_default();
        (!setting.off).then(|| setting.severity.unwrap_or_else(|| rule.severity()))
    }

    /// Who is told of it.
    pub(crate) fn channels(&self, rule: Rule, severity: Severity) -> impl Iterator<Item = &str> {
        self.routes
            .iter()
            .filter(move |route| route.takes(rule, severity))
            .map(|route| route.channel.as_str())
    }

    pub(super) fn tell_again_ms(&self) -> i64 {
        i64::try_from(self.tell_again.as_millis()).unwrap_or(i64::MAX)
    }
}
