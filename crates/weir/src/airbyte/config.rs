//! The protocol's flat `config` and weir's connection, one from the other.

use serde_json::{Map, Value, json};
use weir_engine::catalog::Connector;
use weir_protocol::connection::{ConnectionSpec, Credential};
use weir_protocol::spec::AuthSpec;
use weir_protocol::{Error, Result};

use crate::project::credential_names;

/// Field of the config that holds the credential.
const CREDENTIAL: &str = "credential";
const PRIVATE: &str = "allow_private_hosts";

/// JSON Schema of the config: the connector's own, and its credential.
pub(super) fn specification(connector: &Connector) -> Value {
    let mut schema = connector
        .spec
        .config
        .clone()
        .unwrap_or_else(|| json!({ "type": "object" }));
    let methods: Vec<Value> = connector.spec.auth.iter().map(method).collect();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(
            "$schema".to_owned(),
            json!("http://json-schema.org/draft-07/schema#"),
        );
        schema.insert("title".to_owned(), json!(connector.spec.name.get("en")));
        schema.insert("additionalProperties".to_owned(), json!(true));
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut()
            && !methods.is_empty()
        {
            let credential = json!({ "type": "object", "title": "Credential", "oneOf": methods });
            properties.insert(CREDENTIAL.to_owned(), credential);
        }
    }
    schema
}

fn method(auth: &AuthSpec) -> Value {
    let names = credential_names(auth);
    let mut properties = Map::new();
    properties.insert(
        "method".to_owned(),
        json!({ "type": "string", "const": auth.method() }),
    );
    for name in &names {
        properties.insert(name.clone(), json!({ "type": "string", "airbyte_secret": true }));
    }
    let required: Vec<&str> = std::iter::once("method")
        .chain(names.iter().map(String::as_str))
        .collect();
    json!({ "type": "object", "title": auth.method(), "required": required, "properties": properties })
}

/// The connection that a config describes.
pub(super) fn connection(connector: &Connector, mut config: Map<String, Value>) -> Result<ConnectionSpec> {
    let credential = config.remove(CREDENTIAL).map(|value| {
        serde_json::from_value::<Credential>(value).map_err(|_| {
            Error::spec("the field 'credential' is not an object of texts")
                .hint("write { \"method\": …, and its values }, as `spec` describes them")
        })
    });
    let private = config.remove(PRIVATE).is_some_and(|value| value == true);
    Ok(ConnectionSpec {
        connection: connector.key().to_owned(),
        connector: connector.key().to_owned(),
        source: None,
        config,
        credential: credential.transpose()?,
        streams: Default::default(),
        schedule: None,
        rotate_every: None,
        workers: None,
        hook: Default::default(),
        allow_private_hosts: private,
        tls: Default::default(),
        reliability: Default::default(),
        variables: Vec::new(),
        secrets: Vec::new(),
    })
}
