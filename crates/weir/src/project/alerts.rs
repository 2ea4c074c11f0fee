//! What `weir.yaml` says of alerts and events.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_control::alerts::{Language, Route, Rule, RuleSetting, Settings, Severity};
use weir_control::deliveries;
use weir_protocol::units::Span;
use weir_protocol::{Error, Result, Secret, name};

const TELL_AGAIN_MIN: Duration = Duration::from_secs(60);
const KEEP_MIN: Duration = Duration::from_secs(25 * 60 * 60);

/// Who is told of what. Passwords and addresses that are secrets are `secret:` references.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AlertsFile {
    /// Of all texts.
    pub(crate) language: Language,
    /// What still stands is told again after so long: 4h where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tell_again: Option<Span>,
    pub(crate) channels: BTreeMap<String, ChannelFile>,
    /// What differs from a rule's own ways.
    pub(crate) rules: BTreeMap<Rule, RuleSetting>,
}

/// One channel: one of `email`, `slack` and `webhook`, and what it is told of.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ChannelFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<EmailFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slack: Option<SlackFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook: Option<WebhookFile>,
    /// Only what matters at least so much: `info`, `warning` (where it is left out) or `critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) severity: Option<Severity>,
    /// Only these rules; all where it is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Rule>,
}

/// How mail is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTls {
    /// After a plain greeting, required; port 587.
    #[default]
    Starttls,
    /// From the start; port 465.
    Tls,
    /// Not at all; only to a mail server on this machine. Port 25.
    None,
}

/// Mail over SMTP.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailFile {
    pub(crate) host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    #[serde(default)]
    pub(crate) tls: MailTls,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    /// `secret:NAME`, or `${NAME}` of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) password: Option<Secret>,
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// A further root certificate, PEM: a file, from the project's folder on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root_certificate: Option<PathBuf>,
}

/// What Slack calls an incoming webhook, and what others take too.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlackFile {
    /// Who knows it may post: `secret:NAME`, or `${NAME}` of the environment.
    #[schemars(with = "String")]
    pub(crate) url: Secret,
    /// Allows an address of a private network or of this machine.
    #[serde(default)]
    pub(crate) allow_private: bool,
}

/// A receiver of CloudEvents `weir.alert.raised` and `weir.alert.resolved` with a text, signed as
/// Standard Webhooks says.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookFile {
    #[schemars(with = "String")]
    pub(crate) url: Secret,
    /// `whsec_` and base64: `secret:NAME`, or `${NAME}` of the environment.
    #[schemars(with = "String")]
    pub(crate) secret: Secret,
    /// Allows an address of a private network or of this machine.
    #[serde(default)]
    pub(crate) allow_private: bool,
}

/// What is kept of events.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EventsFile {
    /// Events are kept for so long: 30d where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep: Option<Span>,
    /// A lake's disk counts as filling from this share of it on, in percent: 90 where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) disk_full_at: Option<u8>,
}

impl AlertsFile {
    pub(super) fn check(&self) -> Result<()> {
        for (name, channel) in &self.channels {
            name::check("channel", name)?;
            let kinds = [
                channel.email.is_some(),
                channel.slack.is_some(),
                channel.webhook.is_some(),
            ];
            if kinds.into_iter().filter(|is_there| *is_there).count() != 1 {
                return Err(
                    Error::spec(format!("channel '{name}' is not one of email, slack and webhook")).hint(
                        "write one of them below the channel's name; docs/guides/alerts.md has examples",
                    ),
                );
            }
            if channel.email.as_ref().is_some_and(|email| email.to.is_empty()) {
                return Err(Error::spec(format!("channel '{name}' has no recipient"))
                    .hint("write `to: [ops@example.com]`"));
            }
        }
        if self.tell_again.is_some_and(|span| span.get() < TELL_AGAIN_MIN) {
            return Err(
                Error::spec("alerts.tell_again is shorter than a minute").hint("write 1m or more, as in 4h")
            );
        }
        Ok(())
    }

    fn settings(&self) -> Settings {
        let usual = Settings::default();
        let routes = self.channels.iter().map(|(name, channel)| Route {
            channel: name.clone(),
            severity: channel.severity.unwrap_or(Severity::Warning),
            rules: channel.rules.clone(),
        });
        Settings {
            routes: routes.collect(),
            rules: self.rules.clone(),
            language: self.language,
            tell_again: self.tell_again.map_or(usual.tell_again, Span::get),
        }
    }
}

impl super::ProjectFile {
    /// What is sent to whom, and how long events are kept.
    pub(crate) fn deliveries(&self) -> deliveries::Settings {
        let usual = deliveries::Settings::default();
        deliveries::Settings {
            alerts: self.alerts.settings(),
            keep: self
                .events
                .keep
                .map_or(usual.keep, |span| span.get().max(KEEP_MIN)),
        }
    }
}
