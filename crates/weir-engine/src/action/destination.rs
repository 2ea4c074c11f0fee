//! Where a connection's requests go, as one text to compare.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use weir_protocol::connection::{ConnectionSpec, Tls};
use weir_protocol::spec::{AuthSpec, ConnectorSpec, HttpSpec, Template};
use weir_protocol::{Error, Result};

#[derive(Serialize)]
struct Destination<'a> {
    hosts: &'a [Template],
    http: &'a HttpSpec,
    auth: &'a [AuthSpec],
    config: &'a Map<String, Value>,
    method: Option<&'a str>,
    allow_private_hosts: bool,
    tls: &'a Tls,
}

/// Hexadecimal SHA-256, whatever the order of the keys in the files was.
pub(super) fn digest(connector: &ConnectorSpec, connection: &ConnectionSpec) -> Result<String> {
    let destination = Destination {
        hosts: &connector.hosts,
        http: &connector.http,
        auth: &connector.auth,
        config: &connection.config,
        method: connection
            .credential
            .as_ref()
            .and_then(|credential| credential.method.as_deref()),
        allow_private_hosts: connection.allow_private_hosts,
        tls: &connection.tls,
    };
    let mut value = serde_json::to_value(&destination).map_err(|error| {
        Error::internal("a connection cannot be written as JSON")
            .caused_by(error)
            .hint("report it")
    })?;
    value.sort_all_objects();
    Ok(format!("{:x}", Sha256::digest(value.to_string())))
}
