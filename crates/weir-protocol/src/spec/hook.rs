//! What an outside system sends by itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Template;

/// Messages that the outside system sends to `/hooks/<connection>`, and the stream that they land in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// The stream that they land in.
    #[serde(default = "events")]
    pub stream: String,
    /// How the sender proves that it is the sender.
    pub signature: SignatureSpec,
    /// Where a message names itself: the same one sent again is taken once. Without it, equal messages are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<HookField>,
    /// Where it says what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<HookField>,
    /// The event that tells of a message has its body too. Whoever sees events sees it then, whatever is said of
    /// the stream's personal fields.
    #[serde(default)]
    pub tells_body: bool,
    /// The body is a list, each item of it a message.
    #[serde(default)]
    pub is_list: bool,
}

fn events() -> String {
    "events".to_owned()
}

/// A value of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HookField {
    /// Name of a header of the request. For ids only one that is signed: `webhook-id` of Standard Webhooks.
    Header(String),
    /// Path in the body, with dots between the names.
    Path(String),
    /// Paths in the body: the first that has a value. For senders whose messages are of several kinds.
    Paths(Vec<String>),
}

/// A scheme of signatures, and the secret that both sides know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "scheme", rename_all = "snake_case", deny_unknown_fields)]
pub enum SignatureSpec {
    /// `Stripe-Signature`: time and HMAC-SHA256 of time and body.
    Stripe { secret: Template },
    /// `X-Hub-Signature-256`: HMAC-SHA256 of the body.
    Github { secret: Template },
    /// `X-Hub-Signature-256` by the app's secret; the address is confirmed by `verify_token`.
    Meta {
        secret: Template,
        verify_token: Template,
    },
    /// `X-Slack-Signature`: HMAC-SHA256 of version, time and body.
    Slack { secret: Template },
    /// `X-Twilio-Signature`: HMAC-SHA1 of the address and the form's fields by the auth token.
    Twilio { secret: Template },
    /// `X-HubSpot-Signature-v3`: HMAC-SHA256 of method, address, body and time by the app's secret.
    Hubspot { secret: Template },
    /// `X-Notion-Signature`: HMAC-SHA256 of the body by the verification token.
    Notion { secret: Template },
    /// `webhook-signature` as <https://www.standardwebhooks.com> has it.
    StandardWebhooks { secret: Template },
    /// HMAC of the body in a header, for whoever does no more than that.
    Hmac {
        secret: Template,
        /// Name of the header.
        header: String,
        /// What stands before the digits.
        #[serde(default)]
        prefix: String,
        #[serde(default)]
        encoding: HmacEncoding,
    },
}

impl SignatureSpec {
    pub fn secret(&self) -> &Template {
        match self {
            Self::Stripe { secret }
            | Self::Github { secret }
            | Self::Meta { secret, .. }
            | Self::Slack { secret }
            | Self::Twilio { secret }
            | Self::Hubspot { secret }
            | Self::Notion { secret }
            | Self::StandardWebhooks { secret }
            | Self::Hmac { secret, .. } => secret,
        }
    }

    /// As files write it.
    pub fn scheme(&self) -> String {
        let written = serde_json::to_value(self).unwrap_or_default();
        let scheme = written.get("scheme").and_then(serde_json::Value::as_str);
        scheme.unwrap_or_default().to_owned()
    }
}

/// How a SHA-256 HMAC is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HmacEncoding {
    #[default]
    Hex,
    Base64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_called_as_files_write_it() {
        let written = serde_json::json!({ "scheme": "standard_webhooks", "secret": "s" });
        let signature: SignatureSpec = serde_json::from_value(written).unwrap();
        assert_eq!(signature.scheme(), "standard_webhooks");
    }
}
