//! What a connection says of the server behind it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::{AuthSpec, ConnectorSpec, Effect, HttpSpec};
use weir_protocol::{Error, Result};

/// The connection's `config`, as the connector's schema has judged it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    /// For the program alone.
    #[serde(default, rename = "env")]
    _env: BTreeMap<String, String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    auth: Option<OneOrMore>,
    /// Tool to effect. A tool that is not here is not offered.
    pub(super) effects: BTreeMap<String, Effect>,
    #[serde(default)]
    pub(super) repeatable: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    More(Vec<AuthSpec>),
    One(Box<AuthSpec>),
}

/// Where the server is.
#[derive(Debug)]
pub(super) enum Place {
    Http(Url),
    /// A program; what it is run with stands in the connection.
    Program,
}

impl Settings {
    pub(super) fn of(config: &Map<String, Value>) -> Result<Self> {
        let read: Self = serde_json::from_value(Value::Object(config.clone())).map_err(|error| {
            Error::spec("config is not as a server's should be")
                .caused_by(error)
                .hint("`weir connector show` prints what config may hold")
        })?;
        if let Some(tool) = read
            .repeatable
            .iter()
            .find(|tool| !read.effects.contains_key(*tool))
        {
            return Err(
                Error::spec(format!("config.repeatable names '{tool}', which has no effect"))
                    .hint("say what it does under config.effects"),
            );
        }
        Ok(read)
    }

    pub(super) fn place(&self) -> Result<Place> {
        match (&self.url, &self.command[..]) {
            (Some(url), []) => {
                let url = Url::parse(url).map_err(|error| {
                    Error::spec(format!("config.url '{url}' is not a URL"))
                        .caused_by(error)
                        .hint("write it whole, as in https://mcp.example.com/mcp")
                })?;
                if matches!(url.scheme(), "http" | "https") && url.host_str().is_some() {
                    return Ok(Place::Http(url));
                }
                Err(Error::spec(format!("config.url '{url}' is not an HTTP address"))
                    .hint("begin with https:// (or http:// for a server of your own)"))
            }
            (None, [_, ..]) => Ok(Place::Program),
            (None, []) => Err(Error::spec("config names no server")
                .hint("write url: https://mcp.example.com/mcp, or command: [program, argument]")),
            (Some(_), [_, ..]) => {
                Err(Error::spec("config has both url and command").hint("keep one of them"))
            }
        }
    }
}

/// The spec that the client of a server's address is made from: the catalog's, with what the connection says.
pub(super) fn spec_of(connector: &ConnectorSpec, connection: &ConnectionSpec) -> Result<ConnectorSpec> {
    let settings = Settings::of(&connection.config)?;
    let Place::Http(url) = settings.place()? else {
        return Ok(connector.clone());
    };
    let host = url.host_str().unwrap_or_default();
    let own = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let mut hosts = vec![own];
    hosts.extend(settings.hosts);
    Ok(ConnectorSpec {
        native: None,
        hosts,
        auth: match settings.auth {
            None => Vec::new(),
            Some(OneOrMore::One(auth)) => vec![*auth],
            Some(OneOrMore::More(auths)) => auths,
        },
        http: HttpSpec {
            base_url: url.as_str().trim_end_matches('/').to_owned(),
            headers: settings.headers,
            ..connector.http.clone()
        },
        ..connector.clone()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(config: Value) -> Result<Settings> {
        Settings::of(config.as_object().unwrap())
    }

    #[test]
    fn a_server_has_one_place() {
        let place = |config: Value| settings(config).and_then(|read| read.place());
        assert!(matches!(
            place(json!({ "url": "https://a.example.com/mcp", "effects": {} })),
            Ok(Place::Http(_))
        ));
        assert!(matches!(
            place(json!({ "command": ["node"], "effects": {} })),
            Ok(Place::Program)
        ));
        for wrong in [
            json!({ "effects": {} }),
            json!({ "url": "https://a.example.com", "command": ["node"], "effects": {} }),
            json!({ "url": "file:///etc/passwd", "effects": {} }),
            json!({ "url": "here", "effects": {} }),
        ] {
            assert!(place(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_effect_is_one_of_those_there_are() {
        settings(json!({ "url": "https://a.example.com", "effects": { "x": "harmless" } })).unwrap_err();
        settings(json!({ "url": "https://a.example.com", "effects": {}, "repeatable": ["x"] })).unwrap_err();
    }
}
