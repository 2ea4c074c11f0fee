//! Which events raise an alert, and which end it. No I/O.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use super::Severity;
use crate::events::{Family, StoredEvent};

/// Writes each rule down once: its word, what raises it, what ends it, and how much it matters.
macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $raised:ident, [$($ended:ident),*], $severity:ident;)*) => {
        /// A case that somebody should look at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$name),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// The family of events that raises it.
            pub fn raised_by(self) -> Family {
                match self {
                    $(Self::$name => Family::$raised,)*
                }
            }

            /// The families that end it. Without one it ends when nothing more is heard of it.
            pub fn ended_by(self) -> &'static [Family] {
                match self {
                    $(Self::$name => &[$(Family::$ended),*],)*
                }
            }

            /// How much it matters where the project says nothing.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }
        }
    };
}

rules! {
    /// A run failed and no attempt is left.
    RunFailed = "run_failed", RunFailed, [RunSucceeded], Critical;
    /// A run's process died or hung.
    RunStale = "run_stale", RunStale, [RunSucceeded], Warning;
    /// A scheduled moment had no successful run in time.
    SlaMissed = "sla_missed", SlaMissed, [RunSucceeded], Critical;
    SchemaChanged = "schema_changed", SchemaChanged, [], Warning;
    QuarantineGrowing = "quarantine_growing", QuarantineGrown, [], Warning;
    BreakerOpen = "breaker_open", BreakerOpened, [BreakerClosed], Warning;
    CredentialExpiring = "credential_expiring", CredentialExpiring, [CredentialRotated], Warning;
    CredentialExpired = "credential_expired", CredentialExpired, [CredentialRotated], Critical;
    GateFailed = "gate_failed", GateFailed, [], Critical;
    DestinationFilling = "destination_filling", DestinationFilling, [DestinationEased], Critical;
    /// Ended by hand alone.
    AuditBroken = "audit_broken", AuditBroken, [], Critical;
    /// A call waits for people.
    ApprovalWaiting = "approval_waiting", ApprovalRequested, [ApprovalDecided], Warning;
    /// Whether a call happened has to be found out by a person.
    CallUncertain = "call_uncertain", CallUncertain, [CallEnded], Critical;
    /// A run of a bundle waits until a person does something.
    BundleParked = "bundle_parked", BundleParked, [BundleEnded], Critical;
    /// The server behind a connection has other tools than those that were accepted.
    ToolsChanged = "tools_changed", ToolsChanged, [ToolsAccepted], Warning;
    /// A webhook or another channel takes nothing.
    DeliveryFailed = "delivery_failed", DeliveryFailed, [], Warning;
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(found) = Self::ALL.into_iter().find(|rule| rule.as_str() == text) {
            return Ok(found);
        }
        let words = Self::ALL.map(Self::as_str);
        let error = Error::usage(format!("there is no rule '{text}'"));
        Err(match closest(text, &words) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!("use one of {}", words.join(", "))),
        })
    }
}

impl Rule {
    /// The rule that an event raises an alert by.
    pub(super) fn of(event: &StoredEvent) -> Option<Self> {
        let rule = Self::ALL
            .into_iter()
            .find(|rule| rule.raised_by().as_str() == event.family)?;
        // What is tried again by itself is nobody's work yet.
        let is_tried_again = event.data.get("will_retry") == Some(&Value::Bool(true));
        (!is_tried_again).then_some(rule)
    }

    /// Whether it stands until something ends it, and is told again meanwhile.
    pub(super) fn stands(self) -> bool {
        !self.ended_by().is_empty() || self == Self::AuditBroken
    }

    /// Whether it is about one credential of what it is about.
    pub(super) fn is_of_credential(self) -> bool {
        matches!(self, Self::CredentialExpiring | Self::CredentialExpired)
    }

    /// What has to be the same for two events to be about the same.
    pub(super) fn fingerprint(self, event: &StoredEvent) -> String {
        let text = |key: &str| event.data.get(key).and_then(Value::as_str).unwrap_or_default();
        let detail = match self {
            Self::SchemaChanged | Self::QuarantineGrowing => text("stream"),
            _ if self.is_of_credential() => text("credential"),
            _ => "",
        };
        let whole = format!("{self}\n{}\n{detail}", event.subject);
        Sha256::digest(whole.as_bytes())
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Data of the newest event, with what has to be remembered of those before it: the columns that
    /// one run changed.
    pub(super) fn facts(
        self,
        event: &StoredEvent,
        before: Option<&Map<String, Value>>,
    ) -> Map<String, Value> {
        let mut facts = event.data.clone();
        if self != Self::SchemaChanged {
            return facts;
        }
        let text = |key: &str| facts.get(key).and_then(Value::as_str).unwrap_or_default();
        let line = format!("{} {}", text("column"), text("change"));
        let of_same_run = before.filter(|before| before.get("run") == facts.get("run"));
        let mut columns = of_same_run
            .and_then(|before| before.get("columns")?.as_array().cloned())
            .unwrap_or_default();
        if columns.len() < COLUMNS_MAX {
            columns.push(json!(line));
        }
        facts.insert("columns".to_owned(), Value::Array(columns));
        facts
    }
}

/// An alert names so many changed columns; the schema's history has all.
const COLUMNS_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(family: &str, data: Value) -> StoredEvent {
        StoredEvent {
            id: "1".to_owned(),
            tenant: "default".to_owned(),
            family: family.to_owned(),
            version: 1,
            subject: "connection:shop".to_owned(),
            happened_at_ms: 1,
            correlation_id: None,
            data: data.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn a_failure_that_is_tried_again_raises_nothing() {
        assert_eq!(
            Rule::of(&event("run.failed", json!({ "will_retry": true }))),
            None
        );
        assert_eq!(
            Rule::of(&event("run.failed", json!({ "will_retry": false }))),
            Some(Rule::RunFailed)
        );
        assert_eq!(Rule::of(&event("run.started", json!({}))), None);
    }

    #[test]
    fn the_same_case_has_the_same_fingerprint() {
        let of = |rule: Rule, stream: &str| {
            rule.fingerprint(&event("x", json!({ "stream": stream, "run": stream })))
        };
        assert_eq!(of(Rule::RunFailed, "a"), of(Rule::RunFailed, "b"));
        assert_ne!(of(Rule::RunFailed, "a"), of(Rule::RunStale, "a"));
        assert_ne!(of(Rule::SchemaChanged, "a"), of(Rule::SchemaChanged, "b"));
    }

    #[test]
    fn columns_of_one_run_are_told_together() {
        let change = |run: &str, column: &str| {
            event(
                "schema.changed",
                json!({ "run": run, "column": column, "change": "added" }),
            )
        };
        let first = Rule::SchemaChanged.facts(&change("r1", "a"), None);
        let second = Rule::SchemaChanged.facts(&change("r1", "b"), Some(&first));
        assert_eq!(second["columns"], json!(["a added", "b added"]));
        let third = Rule::SchemaChanged.facts(&change("r2", "c"), Some(&second));
        assert_eq!(third["columns"], json!(["c added"]));
    }

    #[test]
    fn every_rule_has_its_word_once() {
        for rule in Rule::ALL {
            assert_eq!(rule.as_str().parse::<Rule>().unwrap(), rule);
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
        }
    }
}
