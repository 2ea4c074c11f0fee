//! A connector whose streams stand in an Airbyte low-code manifest beside its `connector.yaml`.

use std::sync::Arc;

use serde_json::Value;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, Source};

use crate::EngineSettings;
use crate::airbyte::{AirbyteSource, MANIFEST_FILE, Manifest, SourceSettings};
use crate::catalog::{Connector, Origin};
use crate::clock::Clock;

/// The source of a connection.
pub(super) fn open(
    connector: &Connector,
    connection: &ConnectionSpec,
    clock: &Clock,
) -> Result<Arc<dyn Source>> {
    let key = connector.key();
    let file = connector.origin.place(key, MANIFEST_FILE);
    let text = connector.origin.read_text(key, MANIFEST_FILE)?.ok_or_else(|| {
        Error::not_found(format!("{} does not exist", file.display()))
            .with("connector", key)
            .hint("put the manifest there, or add it anew with `weir connector add airbyte PATH`")
    })?;
    let manifest = Manifest::parse(&file.display().to_string(), &text)?;
    let own = &connection.reliability;
    let given = &connector.spec.reliability;
    let mut reliability = given.clone();
    reliability.timeout = own.timeout.or(given.timeout);
    reliability.retry = own.retry.clone().or_else(|| given.retry.clone());
    reliability.rate_limit = own.rate_limit.clone().or_else(|| given.rate_limit.clone());
    reliability.concurrency = own.concurrency.or(given.concurrency);
    let settings = SourceSettings {
        engine: EngineSettings {
            clock: clock.clone(),
            ..EngineSettings::default()
        },
        reliability,
        hosts: connector.spec.hosts.clone(),
        allow_private_hosts: connection.allow_private_hosts,
        folder: match &connector.origin {
            Origin::Folder(folder) => Some(folder.clone()),
            Origin::Embedded | Origin::Carried(_) => None,
        },
        choices: connection.streams.clone(),
        ..SourceSettings::default()
    };
    let config = Value::Object(connection.config.clone());
    Ok(Arc::new(AirbyteSource::new(&manifest, config, &settings)?))
}
