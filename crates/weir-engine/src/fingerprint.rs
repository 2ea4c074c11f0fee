//! By what a call is made or a stream is read, in one name: whoever goes on with it later, or reads a part of it
//! elsewhere, sees whether that is still the same.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::{Error, Result, Secret};

use crate::http::Redactor;

/// Names whose account a connection is: its settings and its credential as they are at this moment, under a key
/// without which nobody can guess at them. `consents` counts how often somebody consented, where tokens are
/// granted: whom the provider asked then, nobody can tell from here.
pub fn account(key: &Secret, connection: &ConnectionSpec, consents: Option<i64>) -> Result<String> {
    let credential = connection.credential.as_ref().map(|credential| {
        let values = credential.values.iter();
        let values: BTreeMap<&str, &str> = values
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        (&credential.method, values)
    });
    let mut whose = json!({
        "connection": connection.connection,
        "config": connection.config,
        "credential": credential,
        "consents": consents,
    });
    whose.sort_all_objects();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).map_err(|error| {
        Error::internal("the key cannot be used")
            .caused_by(error)
            .hint("report it")
    })?;
    mac.update(b"weir account\n");
    mac.update(whose.to_string().as_bytes());
    let name = mac.finalize().into_bytes();
    Ok(name.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// SHA-256 of the connector's spec, the connection's settings and the name of its account. Secrets are blotted out
/// before: a digest of one could be guessed at. Whether they are others, `account` tells.
pub(crate) fn of_calls(spec: &ConnectorSpec, connection: &ConnectionSpec, account: &str) -> String {
    let method = connection
        .credential
        .as_ref()
        .map(|credential| &credential.method);
    let made_by = json!({
        "spec": spec,
        "connection": connection.connection,
        "config": connection.config,
        "method": method,
        "allow_private_hosts": connection.allow_private_hosts,
        "tls": connection.tls,
        "account": account,
    });
    digest(made_by, &Redactor::new(connection.secrets.clone()))
}

/// The same of a stream's reading, from nothing but what every worker has: settings and credential are in the
/// account's name.
pub(crate) fn of_reading(spec: &ConnectorSpec, connection: &ConnectionSpec, account: &str) -> String {
    let read_by = json!({
        "spec": spec,
        "connection": connection.connection,
        "streams": connection.streams,
        "allow_private_hosts": connection.allow_private_hosts,
        "account": account,
    });
    digest(read_by, &Redactor::new(Vec::new()))
}

fn digest(mut made_by: Value, redactor: &Redactor) -> String {
    // Another order of keys in a file says nothing else.
    made_by.sort_all_objects();
    format!("{:x}", Sha256::digest(redactor.clean(&made_by.to_string())))
}
