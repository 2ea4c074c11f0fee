//! A connector set up for one account: `connections/<name>.yaml` of a project.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::name;
use crate::schedule::ScheduleSpec;
use crate::spec::{Contract, Pii, Reliability};
use crate::sync_mode::SyncMode;
use crate::units::Span;
use crate::yaml;

/// A connection as it stands in a file. `${NAME}` in any text is replaced by the environment
/// variable of that name before the file is parsed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSpec {
    /// Default: the file's name.
    #[serde(default)]
    pub connection: String,
    /// Key of the connector.
    pub connector: String,
    /// The source part of table names. Default: the connector's key; set it where several
    /// connections use the same connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Settings, as the connector's `config` schema asks for.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// `method` and its secrets, as the connector's `auth` asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// Chosen streams with what differs from the connector. Empty: all of them, unchanged.
    #[serde(default)]
    pub streams: BTreeMap<String, StreamChoice>,
    /// When it is synced by itself, by `weir serve`. Absent: only when somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
    /// How old the credential's value may grow before `weir serve` has the vendor make another; for connectors with a
    /// `rotation`. Absent: only when somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every: Option<Span>,
    /// How many workers may read the slices of one of its streams at once, the one that has the run
    /// included. Absent: that one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<NonZeroU16>,
    /// What differs from the connector in how its messages are told of.
    #[serde(default, skip_serializing_if = "HookChoice::is_empty")]
    pub hook: HookChoice,
    /// Allows requests to private and loopback addresses, and plain HTTP to them.
    #[serde(default)]
    pub allow_private_hosts: bool,
    /// Whom to trust besides the machine's own certificate authorities.
    #[serde(default, skip_serializing_if = "Tls::is_empty")]
    pub tls: Tls,
    /// Overrides of the connector's reliability, whole parts at a time.
    #[serde(default)]
    pub reliability: Reliability,
    /// Values of the environment that the file names: what is shown of the connection leaves them out.
    #[serde(skip)]
    pub variables: Vec<crate::Secret>,
    /// Of them, what `secret:` references stood for: blotted out of every text about the connection.
    #[serde(skip)]
    pub secrets: Vec<crate::Secret>,
}

/// What a connection says of the messages that it receives; only where its connector has a `hook`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HookChoice {
    /// The event `hook.received` has the message's body (up to 64 KiB): whoever may read events, and every webhook
    /// that asks for them, sees it then. Absent: as the connector says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tells_body: Option<bool>,
}

impl HookChoice {
    pub fn is_empty(&self) -> bool {
        self.tells_body.is_none()
    }
}

/// How the other side of an encrypted connection is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// File of further root certificates, in PEM form; a relative path begins at the project's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl Tls {
    pub fn is_empty(&self) -> bool {
        self.ca_file.is_none()
    }
}

/// The secrets of one auth method. Its values never leave by `Debug` or serialisation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Credential {
    /// Which of the connector's auth methods. May be left out where there is but one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub values: BTreeMap<String, crate::Secret>,
}

/// Reads each value as the text that stands in the file: a token of digits is no number.
impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CredentialVisitor)
    }
}

struct CredentialVisitor;

impl<'de> Visitor<'de> for CredentialVisitor {
    type Value = Credential;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a method and its secrets, each a text")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Credential, A::Error> {
        let mut credential = Credential {
            method: None,
            values: BTreeMap::new(),
        };
        while let Some(key) = map.next_key::<String>()? {
            if key == "method" {
                credential.method = Some(map.next_value()?);
            } else {
                credential.values.insert(key, map.next_value()?);
            }
        }
        Ok(credential)
    }
}

/// What a connection changes about one stream.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamChoice {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<SyncMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pii: Option<BTreeMap<String, Pii>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explode: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<Vec<String>>,
    /// Path of the field by which the stream is read on, where the source leaves the choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// JSON Schema of a record that replaces the connector's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl StreamChoice {
    /// Refuses another cursor where the source's own is the only one.
    pub fn keeps_cursor(&self, own: Option<&str>) -> Result<()> {
        match &self.cursor {
            Some(cursor) if Some(cursor.as_str()) != own => Err(Error::spec(match own {
                Some(own) => format!("the cursor of this stream is '{own}', which the connector decides"),
                None => "this stream has no cursor that could be chosen".to_owned(),
            })
            .with("cursor", cursor)
            .hint("remove cursor: from the stream")),
            _ => Ok(()),
        }
    }
}

impl ConnectionSpec {
    /// Parses and validates text in which variables are already replaced. The name defaults to the file's.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let mut spec: Self = yaml::parse(file, text)?;
        if spec.connection.is_empty() {
            let stem = file.file_stem().and_then(|stem| stem.to_str());
            spec.connection = stem.unwrap_or_default().to_owned();
        }
        name::check("connection", &spec.connection)
            .and_then(|()| name::check("source", spec.source()))
            .map_err(|error: Error| error.with("file", file.display()))?;
        Ok(spec)
    }

    /// The source part of table names.
    pub fn source(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.connector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_digits_is_the_text_that_stands_there() {
        let text = "connector: x\ncredential:\n  method: bearer\n  token: 0012300\n  other: 1e5\n";
        let spec = ConnectionSpec::parse(Path::new("x.yaml"), text).unwrap();
        let credential = spec.credential.unwrap();
        assert_eq!(credential.method.as_deref(), Some("bearer"));
        assert_eq!(credential.values["token"].expose(), "0012300");
        assert_eq!(credential.values["other"].expose(), "1e5");
    }
}
