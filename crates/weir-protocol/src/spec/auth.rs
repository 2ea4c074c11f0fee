//! How requests are signed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Template;
use super::reading::Request;
use crate::units::Span;

/// One way to sign requests. Values are templates over `config` and `credential`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuthSpec {
    None {},
    Basic {
        username: Template,
        #[serde(default)]
        password: Template,
    },
    /// `Authorization: Bearer <token>`, or with another word in `scheme`.
    Bearer {
        token: Template,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scheme: Option<String>,
    },
    ApiKey {
        #[serde(rename = "in")]
        placement: Placement,
        /// Header, parameter or cookie name.
        name: String,
        value: Template,
    },
    Oauth2 {
        grant: Oauth2Grant,
        token_url: Template,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authorize_url: Option<Template>,
        /// Further parameters of the page where a person consents, as `access_type: offline`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        authorize_params: BTreeMap<String, Template>,
        /// Where a device asks for a code (RFC 8628).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device_url: Option<Template>,
        /// Where a token is given up (RFC 7009).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revoke_url: Option<Template>,
        /// What the provider calls itself: an answer whose `iss` is another, or that has none, is refused
        /// (RFC 9207).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<Template>,
        #[serde(default = "credential_client_id")]
        client_id: Template,
        #[serde(default = "credential_client_secret")]
        client_secret: Template,
        #[serde(default = "credential_refresh_token")]
        refresh_token: Template,
        #[serde(default)]
        scopes: Vec<String>,
        /// Further fields of the token request.
        #[serde(default)]
        extra: BTreeMap<String, Template>,
        /// Client id and secret as HTTP basic auth instead of in the body.
        #[serde(default)]
        basic_client: bool,
        /// Path of the access token in the answer.
        #[serde(default = "access_token")]
        token_path: String,
        /// Path of the life time in seconds.
        #[serde(default = "expires_in")]
        expires_path: String,
    },
    /// Logs in with a request of its own; the token it answers signs all others.
    Session {
        login: SessionLogin,
        #[serde(rename = "in", default = "header")]
        placement: Placement,
        #[serde(default = "authorization")]
        name: String,
        /// What is sent, over `session.token`. Default: the token itself.
        #[serde(default = "session_token")]
        value: Template,
    },
    /// Signs a token with a private key. With `token_url` it is exchanged for an access token
    /// (Google service account, Salesforce JWT bearer); without it, it is sent itself.
    Jwt {
        algorithm: JwtAlgorithm,
        /// PEM for RS and ES, text for HS.
        key: Template,
        /// Claims; `iat` and `exp` are added.
        claims: BTreeMap<String, Value>,
        #[serde(default)]
        headers: BTreeMap<String, Value>,
        #[serde(default = "hour")]
        lifetime: Span,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_url: Option<Template>,
    },
    /// Signs each message as <https://www.standardwebhooks.com> has it: headers `webhook-id`, `webhook-timestamp` and
    /// `webhook-signature` over id, time and body. A request that has a `webhook-id` keeps it.
    StandardWebhooks {
        /// `whsec_` and 24 to 64 bytes in base64.
        #[serde(default = "credential_secret")]
        secret: Template,
    },
}

impl AuthSpec {
    /// The word by which a connection's credential picks this method.
    pub fn method(&self) -> &'static str {
        match self {
            Self::None {} => "none",
            Self::Basic { .. } => "basic",
            Self::Bearer { .. } => "bearer",
            Self::ApiKey { .. } => "api_key",
            Self::Oauth2 { .. } => "oauth2",
            Self::Session { .. } => "session",
            Self::Jwt { .. } => "jwt",
            Self::StandardWebhooks { .. } => "standard_webhooks",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    Header,
    Query,
    Cookie,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Oauth2Grant {
    /// A person consents in a browser once; refreshed from then on.
    AuthorizationCode,
    /// A person consents on another device once, by a code that they type there.
    Device,
    ClientCredentials,
    RefreshToken,
    /// `username` and `password` in `extra`.
    Password,
}

impl Oauth2Grant {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::Device => "device",
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::Password => "password",
        }
    }

    /// Whether there is a refresh token to keep: what it gives is the connection's, not a process's.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::Device | Self::RefreshToken)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionLogin {
    pub request: Request,
    /// Path of the token in the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_path: Option<String>,
    /// Or the header it comes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_header: Option<String>,
    /// How long a token is used before a new login; a 401 causes one at any time.
    #[serde(default = "hour")]
    pub lifetime: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
}

fn credential_secret() -> String {
    "{{ credential.secret }}".to_owned()
}
fn credential_client_id() -> Template {
    "{{ credential.client_id }}".to_owned()
}
fn credential_client_secret() -> Template {
    "{{ credential.client_secret }}".to_owned()
}
fn credential_refresh_token() -> Template {
    "{{ credential.refresh_token }}".to_owned()
}
fn access_token() -> String {
    "access_token".to_owned()
}
fn expires_in() -> String {
    "expires_in".to_owned()
}
fn header() -> Placement {
    Placement::Header
}
fn authorization() -> String {
    "Authorization".to_owned()
}
fn session_token() -> Template {
    "{{ session.token }}".to_owned()
}
fn hour() -> Span {
    Span::from_secs(3600)
}
