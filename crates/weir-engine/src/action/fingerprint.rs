//! By what a call is made, in one name: whoever goes on with it later sees whether that is still the same.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::{Error, Result};

use crate::http::Redactor;

/// SHA-256 of the connector's spec and of the connection's settings. Secrets are blotted out before: a secret that
/// was exchanged is no other connection, and a digest of one could be guessed at.
pub(super) fn of(spec: &ConnectorSpec, connection: &ConnectionSpec) -> Result<String> {
    let made_by = json!({
        "spec": spec,
        "connection": connection.connection,
        "config": connection.config,
        "allow_private_hosts": connection.allow_private_hosts,
        "tls": connection.tls,
    });
    let text = serde_json::to_string(&made_by).map_err(|error| {
        Error::internal("a connector cannot be written as JSON")
            .caused_by(error)
            .hint("report it")
    })?;
    let clean = Redactor::new(connection.secrets.clone()).clean(&text);
    Ok(format!("{:x}", Sha256::digest(clean)))
}
