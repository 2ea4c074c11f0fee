//! The connector spec: what `connectors/<key>/connector.yaml` may say. These types are the schema,
//! the parser and the reference; nothing describes the spec a second time.

mod action;
mod auth;
mod governance;
mod hook;
mod job;
mod reading;
mod reliability;
mod rotation;
mod slicing;
mod stream;
mod transform;

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use action::{ActionSpec, Answers, Compensation, Effect, Idempotency, Lookup, Preparation};
pub use auth::{AuthSpec, JwtAlgorithm, Oauth2Grant, Placement, SessionLogin};
pub use governance::{Approval, AuditEvent, Classification, Governance, Retention};
pub use hook::{HmacEncoding, HookField, HookSpec, SignatureSpec};
pub use job::JobSpec;
pub use reading::{
    Decode, DecodeFormat, EmptyPage, Encoding, ErrorAction, ErrorRule, FailureKind, Graphql, PageSize,
    Paginate, Placed, Request, Select,
};
pub use reliability::{Backoff, Breaker, RateLimit, Reliability, Retry};
pub use rotation::RotationSpec;
pub use slicing::{SliceSpec, Step};
pub use stream::{
    Contract, CursorFormats, CursorOrder, CursorRequest, CursorSpec, Pii, StreamPolicy, StreamSpec,
};
pub use transform::{Cast, CastType, Flatten, KeyCase, Transform};

use crate::error::{Error, Result};
use crate::name;
use crate::yaml;

/// Text with `{{ … }}` and `{% … %}` in it. What may be named inside: `config`, `credential`,
/// `slice`, `cursor` (`start`, `end`), `page` (`token`, `number`, `offset`, `size`), `response`,
/// `headers`, `record`, `now`, and for actions `input`, `output`, `idempotency_key` and `prepared`; for streams `job`. `omit` leaves a
/// member, parameter or field out.
pub type Template = String;

/// The recipe for one outside system.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectorSpec {
    /// Version of this language. Always 1.
    pub spec: u32,
    /// Key of the connector; the same as its folder's name.
    pub connector: String,
    /// Semantic version of the recipe. A breaking change to a schema or key is a major one.
    pub version: String,
    /// Name by language (`en`, `ar`).
    pub name: BTreeMap<String, String>,
    /// The vendor's official API documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// The only hosts that requests may reach: `api.example.com`, `*.example.com`, or a template over `config`.
    #[serde(default)]
    pub hosts: Vec<Template>,
    #[serde(default)]
    pub governance: Governance,
    #[serde(default)]
    pub reliability: Reliability,
    /// JSON Schema of a connection's settings: validates them and draws the form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// Ways to sign requests; the connection's credential picks one by `method`. Empty: none needed.
    #[serde(default)]
    pub auth: Vec<AuthSpec>,
    /// The cheap request that proves a connection works. Without it, the first stream's first page does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Request>,
    /// What all requests have in common.
    #[serde(default)]
    pub http: HttpSpec,
    #[serde(default)]
    pub streams: Vec<StreamSpec>,
    #[serde(default)]
    pub actions: Vec<ActionSpec>,
    /// What the system sends by itself to `/hooks/<connection>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookSpec>,
    /// How the vendor itself exchanges a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationSpec>,
    /// Linking points of the identity graph.
    #[serde(default)]
    pub links: Vec<LinkSpec>,
    /// The connector is read by code of this name instead of by `streams`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
}

/// What all requests of a connector have in common.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// Prefix of every `path`.
    #[serde(default)]
    pub base_url: Template,
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// Tells the vendor which trace a request is of (W3C Trace Context), where traces are on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub traceparent: bool,
    /// What answers mean, whatever was asked for. The rules of a stream or action come before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorRule>,
}

/// A field that names a real-world thing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    pub stream: String,
    /// Path of the field, as in `user.login`.
    pub field: String,
    pub entity: String,
    #[serde(rename = "as")]
    pub external_id: String,
    pub cardinality: Cardinality,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cardinality {
    OneToOne,
    OneToMany,
}

impl ConnectorSpec {
    /// Parses and validates. `file` is only for messages.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let spec: Self = yaml::parse(file, text)?;
        spec.validate()
            .map_err(|error| error.with("file", file.display()))?;
        Ok(spec)
    }

    pub fn action(&self, name: &str) -> Result<&ActionSpec> {
        let found = self.actions.iter().find(|action| action.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.actions.iter().map(|action| action.name.as_str()).collect();
            let error = Error::not_found(format!("connector '{}' has no action '{name}'", self.connector));
            match yaml::closest(name, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None if names.is_empty() => error.hint("it has streams only; see `weir connector show`"),
                None => error.hint(format!("its actions are {}", names.join(", "))),
            }
        })
    }

    pub fn stream(&self, name: &str) -> Result<&StreamSpec> {
        self.streams
            .iter()
            .find(|stream| stream.name == name)
            .ok_or_else(|| {
                let names: Vec<&str> = self.streams.iter().map(|stream| stream.name.as_str()).collect();
                let error =
                    Error::not_found(format!("connector '{}' has no stream '{name}'", self.connector));
                match yaml::closest(name, &names) {
                    Some(near) => error.hint(format!("did you mean '{near}'?")),
                    None => error.hint(format!("its streams are {}", names.join(", "))),
                }
            })
    }

    /// The rules that types alone cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.spec != 1 {
            return Err(Error::spec(format!("spec: {} is unknown", self.spec))
                .hint("write 'spec: 1'; this weir knows no other"));
        }
        name::check("connector", &self.connector)?;
        if self
            .version
            .split('.')
            .filter(|part| part.parse::<u32>().is_ok())
            .count()
            != 3
        {
            return Err(Error::spec(format!("version '{}' is not semantic", self.version))
                .hint("write three numbers, as in 1.0.0"));
        }
        if self.native.is_none()
            && self.hosts.is_empty()
            && !(self.streams.is_empty() && self.actions.is_empty())
        {
            return Err(Error::spec("hosts is empty, so no request could be sent")
                .hint("list the API's hosts, as in hosts: [api.example.com]"));
        }
        for (index, stream) in self.streams.iter().enumerate() {
            stream
                .validate()
                .map_err(|error| error.with("stream", &stream.name))?;
            if self.streams[..index]
                .iter()
                .any(|other| other.name == stream.name)
            {
                return Err(Error::spec(format!("stream '{}' is declared twice", stream.name))
                    .hint("rename or delete one of them"));
            }
        }
        self.validate_parents()?;
        self.validate_actions()?;
        self.validate_hook()?;
        if let Some(rotation) = &self.rotation {
            rotation.validate()?;
        }
        for link in &self.links {
            self.stream(&link.stream)?;
        }
        Ok(())
    }

    fn validate_hook(&self) -> Result<()> {
        let Some(hook) = &self.hook else {
            return Ok(());
        };
        name::check("stream", &hook.stream)?;
        if self.native.is_some() || self.streams.iter().any(|stream| stream.name == hook.stream) {
            return Err(
                Error::spec(format!("hook.stream '{}' is a stream that is read", hook.stream))
                    .hint("give what is received a stream of its own, as in stream: events"),
            );
        }
        let is_signed = |name: &str| {
            matches!(hook.signature, SignatureSpec::StandardWebhooks { .. })
                && name.eq_ignore_ascii_case("webhook-id")
        };
        if let Some(HookField::Header(name)) = &hook.id
            && !is_signed(name)
        {
            return Err(Error::spec(format!(
                "hook.id: the header '{name}' is not signed, so anybody could change it"
            ))
            .hint("name a path in the body, or leave id out: equal messages are one then"));
        }
        let is_empty = |field: &HookField| matches!(field, HookField::Paths(paths) if paths.is_empty());
        if hook.id.iter().chain(&hook.kind).any(is_empty) {
            return Err(Error::spec("hook: paths is empty").hint("name one path at least, or leave it out"));
        }
        if hook.signature.secret().trim().is_empty() {
            return Err(
                Error::spec("hook.signature.secret is empty, so anybody could send messages")
                    .hint("name a value of the credential, as in \"{{ credential.webhook_secret }}\""),
            );
        }
        Ok(())
    }

    fn validate_actions(&self) -> Result<()> {
        for (index, action) in self.actions.iter().enumerate() {
            let named = |error: Error| error.with("action", &action.name);
            action.validate().map_err(named)?;
            if self.actions[..index]
                .iter()
                .any(|other| other.name == action.name)
            {
                return Err(Error::spec(format!("action '{}' is declared twice", action.name))
                    .hint("rename or delete one of them"));
            }
            if let Some(compensation) = &action.compensate {
                self.action(&compensation.action).map_err(|error| {
                    Error::spec(format!("the compensation: {}", error.message()))
                        .with("action", &action.name)
                        .hint(error.next_step().unwrap_or_default().to_owned())
                })?;
            }
        }
        Ok(())
    }

    fn validate_parents(&self) -> Result<()> {
        for stream in &self.streams {
            let mut path = vec![stream.name.as_str()];
            self.walk_parents(stream, &mut path)?;
        }
        Ok(())
    }

    fn walk_parents<'a>(&'a self, stream: &'a StreamSpec, path: &mut Vec<&'a str>) -> Result<()> {
        for parent in stream.parents() {
            if path.contains(&parent) {
                return Err(Error::spec(format!(
                    "streams are parents of each other: {} -> {parent}",
                    path.join(" -> ")
                ))
                .hint("break the circle: a stream cannot be sliced by itself"));
            }
            path.push(parent);
            let parent = self.stream(parent).map_err(|error| {
                let hint = error.next_step().unwrap_or_default().to_owned();
                Error::spec(error.message())
                    .with("sliced by it", &stream.name)
                    .hint(hint)
            })?;
            self.walk_parents(parent, path)?;
            path.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
