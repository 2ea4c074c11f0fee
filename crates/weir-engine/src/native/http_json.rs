//! Any JSON API by a connection alone: the connection's settings are turned into a connector spec,
//! which the declarative engine reads like any other.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use url::Url;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::{AuthSpec, ConnectorSpec, HttpSpec, Request, StreamSpec};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result, name};

/// Name of the one stream where nothing says another.
pub(super) const ONE_STREAM: &str = "records";

/// Settings besides those of streams.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    base_url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    params: BTreeMap<String, Value>,
    #[serde(default)]
    auth: Option<OneOrMore>,
    /// Further hosts, where pages or tokens come from another one.
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    check: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    More(Vec<Value>),
    One(Value),
}

pub(super) const SETTINGS: [&str; 6] = ["base_url", "headers", "params", "auth", "hosts", "check"];

/// The spec that a connection of `http_json` describes. `connector` is the spec that the catalog
/// holds under this name: its identity, governance and limits are kept.
pub fn spec_of(connector: &ConnectorSpec, connection: &ConnectionSpec) -> Result<ConnectorSpec> {
    build(connector, connection).map_err(|error| error.with("connection", &connection.connection))
}

fn build(connector: &ConnectorSpec, connection: &ConnectionSpec) -> Result<ConnectorSpec> {
    let (settings, rest): (Map<_, _>, Map<_, _>) = connection
        .config
        .clone()
        .into_iter()
        .partition(|(field, _)| SETTINGS.contains(&field.as_str()));
    let settings: Settings = part("config", Value::Object(settings))?;
    let base = base_url(&settings.base_url)?;
    let mut hosts = vec![host(&base)?];
    hosts.extend(settings.hosts);
    let auth = match settings.auth {
        None => Vec::new(),
        Some(OneOrMore::One(auth)) => vec![part::<AuthSpec>("config.auth", auth)?],
        Some(OneOrMore::More(auths)) => parts("config.auth", auths)?,
    };
    let spec = ConnectorSpec {
        native: None,
        config: None,
        hosts,
        auth,
        check: settings
            .check
            .map(|check| part::<Request>("config.check", check))
            .transpose()?,
        http: HttpSpec {
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
            headers: settings.headers,
            params: settings.params,
            traceparent: connector.http.traceparent,
            errors: Vec::new(),
        },
        streams: streams(rest, &base)?,
        ..connector.clone()
    };
    spec.validate()?;
    Ok(spec)
}

/// The declared streams, or the one whose fields stand directly in the settings.
fn streams(mut rest: Map<String, Value>, base: &Url) -> Result<Vec<StreamSpec>> {
    let Some(declared) = rest.remove("streams") else {
        if !rest.contains_key("name") {
            rest.insert("name".to_owned(), Value::String(only_name(&rest, base)));
        }
        return Ok(vec![part("config", Value::Object(rest))?]);
    };
    if let Some(field) = rest.keys().next() {
        return Err(Error::spec(format!("config has both streams and {field}"))
            .hint(format!("move {field} into the stream")));
    }
    let Value::Array(declared) = declared else {
        return Err(Error::spec("config.streams is not a list").hint("write streams: [{ name: …, path: … }]"));
    };
    if declared.is_empty() {
        return Err(
            Error::spec("config.streams is empty").hint("add a stream: { name: items, path: /items }")
        );
    }
    parts("config.streams", declared)
}

/// The last step of the path, as in `/v1/customers`.
fn only_name(stream: &Map<String, Value>, base: &Url) -> String {
    let path = stream.get("path").and_then(Value::as_str).unwrap_or_default();
    let path = if path.is_empty() { base.path() } else { path };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = last.split('.').next().unwrap_or_default();
    match name::sanitize(stem) {
        found if found.is_empty() || stem.contains('{') => ONE_STREAM.to_owned(),
        found => found,
    }
}

fn base_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|error| {
        Error::spec(format!("config.base_url '{text}' is not a URL"))
            .caused_by(error)
            .hint("write it whole, as in https://api.example.com/v1")
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(
            Error::spec(format!("config.base_url '{text}' is not an HTTP address"))
                .hint("begin with https:// (or http:// for a server of your own)"),
        );
    }
    Ok(url)
}

fn host(url: &Url) -> Result<String> {
    let host = url.host_str().ok_or_else(|| {
        Error::spec(format!("config.base_url '{url}' has no host"))
            .hint("write it whole, as in https://api.example.com/v1")
    })?;
    Ok(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

fn parts<T: DeserializeOwned>(place: &str, values: Vec<Value>) -> Result<Vec<T>> {
    let named = |index: usize, value: &Value| match value["name"].as_str() {
        Some(name) => format!("{place}[{name}]"),
        None => format!("{place}[{index}]"),
    };
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| part(&named(index, &value), value))
        .collect()
}

/// Reads one part of the settings; an error names the part and the nearest spelling.
fn part<T: DeserializeOwned>(place: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| {
        let message = error.to_string();
        let found = Error::spec(format!("{place}: {message}"));
        match nearest(&message) {
            Some(near) => found.hint(format!("did you mean '{near}'?")),
            None => found.hint("`weir connector show http_json` prints what config may hold"),
        }
    })
}

/// The spelling that was probably meant, from "unknown field `x`, expected one of `a`, `b`".
fn nearest(message: &str) -> Option<String> {
    let (problem, allowed) = message.split_once(", expected ")?;
    let wrong = problem.strip_prefix("unknown ")?.split('`').nth(1)?;
    let allowed: Vec<&str> = allowed.split('`').skip(1).step_by(2).collect();
    closest(wrong, &allowed).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(config: Value) -> Result<ConnectorSpec> {
        let catalog = crate::catalog::Catalog::embedded();
        let connection = json!({ "connection": "shop", "connector": "http_json", "config": config });
        let connection: ConnectionSpec = serde_json::from_value(connection).unwrap();
        spec_of(&catalog.get("http_json")?.spec, &connection)
    }

    fn refusal(config: Value) -> String {
        format!("{:?}", spec(config).unwrap_err())
    }

    #[test]
    fn one_stream_stands_in_the_settings() {
        let spec = spec(json!({
            "base_url": "http://localhost:8080/api/",
            "path": "/v1/open-orders?state=open",
            "select": "data",
            "primary_key": ["id"],
        }))
        .unwrap();
        assert_eq!(spec.hosts, ["localhost:8080"]);
        assert_eq!(spec.http.base_url, "http://localhost:8080/api");
        assert_eq!(spec.streams[0].name, "open_orders");
        assert!(spec.native.is_none());
    }

    #[test]
    fn several_streams_and_auth() {
        let spec = spec(json!({
            "base_url": "https://api.acme.example",
            "hosts": ["files.acme.example"],
            "auth": { "method": "bearer", "token": "{{ credential.token }}" },
            "streams": [{ "name": "a", "path": "/a" }, { "name": "b", "path": "/b" }],
        }))
        .unwrap();
        assert_eq!(spec.hosts, ["api.acme.example", "files.acme.example"]);
        assert_eq!(spec.auth[0].method(), "bearer");
        assert_eq!(spec.streams.len(), 2);
    }

    #[test]
    fn the_name_comes_from_the_path() {
        let name = |config| spec(config).unwrap().streams[0].name.clone();
        assert_eq!(
            name(json!({ "base_url": "https://a.example/v1/Users.json" })),
            "users"
        );
        assert_eq!(name(json!({ "base_url": "https://a.example" })), "records");
        assert_eq!(
            name(json!({ "base_url": "https://a.example", "path": "/x/{{ config.id }}" })),
            "records"
        );
    }

    #[test]
    fn faults_are_named_with_their_place() {
        let base = "https://api.acme.example";
        insta::assert_snapshot!(refusal(json!({ "base_url": base, "streams": [{ "name": "a", "primary_keys": ["id"] }] })), @"[spec] config.streams[a]: unknown field `primary_keys`, expected one of `name`, `entity`, `description`, `path`, `method`, `params`, `headers`, `json`, `form`, `text`, `graphql`, `job`, `decode`, `select`, `filter`, `paginate`, `slices`, `primary_key`, `cursor`, `transform`, `errors`, `etag`, `schema`, `mode`, `classification`, `contract`, `pii`, `partition_by`, `explode`, `deleted_field`, `deletion_vectors` (connection: shop) -> did you mean 'primary_key'?");
        insta::assert_snapshot!(refusal(json!({ "base_url": base, "selects": "data" })), @"[spec] config: unknown field `selects`, expected one of `name`, `entity`, `description`, `path`, `method`, `params`, `headers`, `json`, `form`, `text`, `graphql`, `job`, `decode`, `select`, `filter`, `paginate`, `slices`, `primary_key`, `cursor`, `transform`, `errors`, `etag`, `schema`, `mode`, `classification`, `contract`, `pii`, `partition_by`, `explode`, `deleted_field`, `deletion_vectors` (connection: shop) -> did you mean 'select'?");
        insta::assert_snapshot!(refusal(json!({ "base_url": base, "auth": { "method": "barer" } })), @"[spec] config.auth: unknown variant `barer`, expected one of `none`, `basic`, `bearer`, `api_key`, `oauth2`, `session`, `jwt`, `standard_webhooks` (connection: shop) -> did you mean 'bearer'?");
        insta::assert_snapshot!(refusal(json!({ "base_url": "acme.example" })), @"[spec] config.base_url 'acme.example' is not a URL (connection: shop): relative URL without a base -> write it whole, as in https://api.example.com/v1");
        insta::assert_snapshot!(refusal(json!({ "base_url": base, "path": "/a", "streams": [] })), @"[spec] config has both streams and path (connection: shop) -> move path into the stream");
        insta::assert_snapshot!(refusal(json!({ "base_url": base, "streams": [{ "name": "a", "mode": "incremental_merge" }] })), @"[spec] mode incremental_merge needs a primary_key (stream: a, connection: shop) -> add primary_key: [id], or choose an append or replace mode");
    }
}
