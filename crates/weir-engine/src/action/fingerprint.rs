//! By what a call is made, in one name: whoever goes on with it later sees whether that is still the same.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::ConnectorSpec;

use crate::http::Redactor;

/// SHA-256 of the connector's spec and of the connection's settings. Secrets are blotted out before: a secret that
/// was exchanged is no other connection, and a digest of one could be guessed at.
pub(super) fn of(spec: &ConnectorSpec, connection: &ConnectionSpec) -> String {
    let method = connection
        .credential
        .as_ref()
        .map(|credential| &credential.method);
    let mut made_by = json!({
        "spec": spec,
        "connection": connection.connection,
        "config": connection.config,
        "method": method,
        "allow_private_hosts": connection.allow_private_hosts,
        "tls": connection.tls,
    });
    // Another order of keys in a file says nothing else.
    made_by.sort_all_objects();
    let clean = Redactor::new(connection.secrets.clone()).clean(&made_by.to_string());
    format!("{:x}", Sha256::digest(clean))
}
