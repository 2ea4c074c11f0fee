//! What `weir.yaml` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_control::Role;
use weir_control::approvals::{self, Rule};
use weir_control::calls;
use weir_protocol::units::Span;
use weir_protocol::{Error, Result, name, yaml};

use super::alerts::{AlertsFile, EventsFile};

/// `weir.yaml`. `${NAME}` in any text is replaced by the environment variable of that name.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectFile {
    /// Name of the project.
    pub(crate) project: String,
    /// First part of the names of packaged connectors.
    #[serde(default = "prefix")]
    pub(crate) prefix: String,
    /// What the project is for, as policies see it: `production`, `staging`, `test`.
    #[serde(default = "environment")]
    pub(crate) environment: String,
    #[serde(default)]
    pub(crate) lake: LakeFile,
    /// The control store: a SQLite file, from the project's folder on.
    #[serde(default = "store")]
    pub(crate) store: PathBuf,
    /// Key of hashed personal fields. Made where there is none; keep it, or hashes change.
    #[serde(default = "pii_key")]
    pub(crate) pii_key: PathBuf,
    /// What people may do who log in with a browser.
    #[serde(default)]
    pub(crate) login: LoginFile,
    /// Which calls of actions wait for people, and which are never made. Where no rule fits, the connector decides.
    #[serde(default)]
    pub(crate) approvals: Vec<Rule>,
    #[serde(default)]
    pub(crate) alerts: AlertsFile,
    #[serde(default)]
    pub(crate) events: EventsFile,
    #[serde(default)]
    pub(crate) calls: CallsFile,
}

/// What is kept of calls of actions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CallsFile {
    /// Inputs and outputs, and the keys of callers, are kept for so long after a call ended: 90d where it is left
    /// out, 2d at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep: Option<Span>,
}

impl CallsFile {
    fn check(&self) -> Result<()> {
        match self.keep {
            Some(keep) if keep.get() < calls::KEPT_MIN => Err(Error::spec(
                "calls.keep is too short: callers count on their keys for a day",
            )
            .hint("use 2d or more")),
            _ => Ok(()),
        }
    }

    /// How long inputs and outputs are kept.
    pub(crate) fn kept(&self) -> Duration {
        self.keep.map_or(calls::KEPT_DEFAULT, Span::get)
    }
}

/// How the claims of an identity provider are read.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LoginFile {
    /// The claim that says what somebody may do, as `groups` or `realm_access.roles`.
    pub(crate) role_claim: String,
    /// Its values, and the role that each stands for.
    pub(crate) roles: BTreeMap<String, Role>,
    /// The claim that names people, instead of their verified email address.
    pub(crate) principal_claim: Option<String>,
    /// The claim whose values are the groups of people, as rules under `approvals` and policies name them.
    pub(crate) group_claim: String,
    /// What is asked for besides `openid`.
    pub(crate) scopes: Vec<String>,
    /// Whether programs may show access tokens of the identity provider, at `/mcp` and the API.
    pub(crate) access_tokens: bool,
    /// What those tokens have to be made for: the address of `/mcp` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,
}

impl LoginFile {
    fn check(&self) -> Result<()> {
        if !self.access_tokens {
            return match self.audience {
                Some(_) => Err(
                    Error::spec("login.audience is about access tokens, and none are taken")
                        .hint("set login.access_tokens: true, or leave it out"),
                ),
                None => Ok(()),
            };
        }
        // Where a name could come from an email address that one kind of token has and the other has not, somebody
        // would be two people, and could decide about their own calls.
        if self.principal_claim.is_none() {
            return Err(Error::spec(
                "login.access_tokens needs login.principal_claim: a person has one name, whichever way they come",
            )
            .hint("name a claim that ID tokens and access tokens have and people cannot set themselves, as sub"));
        }
        if self.audience.as_deref().is_some_and(str::is_empty) {
            return Err(
                Error::spec("login.audience is empty").hint("leave it out, or say what tokens are made for")
            );
        }
        Ok(())
    }
}

impl Default for LoginFile {
    fn default() -> Self {
        Self {
            role_claim: "groups".to_owned(),
            roles: BTreeMap::new(),
            principal_claim: None,
            group_claim: "groups".to_owned(),
            scopes: vec!["profile".to_owned(), "email".to_owned()],
            access_tokens: false,
            audience: None,
        }
    }
}

/// Where the lake lies.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LakeFile {
    /// A folder, or `s3://bucket/prefix` (`gs://` and `az://` in builds with the feature `cloud`).
    pub(crate) location: String,
    /// Settings of the object store, as `endpoint`, `region`, `access_key_id`, `secret_access_key`, `allow_http`.
    pub(crate) options: BTreeMap<String, String>,
}

impl Default for LakeFile {
    fn default() -> Self {
        Self {
            location: "./lake".to_owned(),
            options: BTreeMap::new(),
        }
    }
}

impl ProjectFile {
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self> {
        let found: Self = yaml::parse(file, text)?;
        name::check("project", &found.project)
            .and_then(|()| name::check("prefix", &found.prefix))
            .and_then(|()| name::check("environment", &found.environment))
            .and_then(|()| found.login.check())
            .and_then(|()| found.alerts.check())
            .and_then(|()| found.calls.check())
            .and_then(|()| approvals::check(&found.approvals))
            .map_err(|error| error.with("file", file.display()))?;
        Ok(found)
    }
}

fn prefix() -> String {
    "weir".to_owned()
}
fn environment() -> String {
    "production".to_owned()
}
fn store() -> PathBuf {
    PathBuf::from(".weir/weir.db")
}
fn pii_key() -> PathBuf {
    PathBuf::from(".weir/pii.key")
}
