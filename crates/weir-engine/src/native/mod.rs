//! Connectors that need code. A connector names one in `native:`; this is the list.

mod airbyte;
pub(crate) mod documents;
mod email;
pub mod files;
pub mod http_json;
mod manifest;
pub mod mcp;
mod process;
mod settings_file;
mod singer;

use std::path::Path;
use std::sync::Arc;

use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result, Source};

use crate::EngineSettings;
use crate::catalog::Connector;
use crate::http::{Carrier, ClientSettings};

/// What a native connector turns a connection into.
pub enum Native {
    /// A source of its own.
    Source(Arc<dyn Source>),
    /// A source that asks through the engine's client: it signs and trusts as its spec and the connection say.
    Client(Arc<dyn Source>),
    /// A connector for the declarative engine, described by the connection.
    Declared(Box<Connector>),
    /// A source of its own, whose client is made by what the connection describes.
    Described(Box<Connector>, Arc<dyn Source>),
}

type Constructor = fn(&Connector, &ConnectionSpec, &EngineSettings) -> Result<Native>;

const NATIVE: &[(&str, Constructor)] = &[
    ("airbyte", |connector, connection, engine| {
        manifest::open(connector, connection, &engine.clock).map(Native::Source)
    }),
    ("airbyte_process", |_, connection, engine| {
        let source = airbyte::AirbyteProcess::new(connection, engine)?;
        Ok(Native::Source(Arc::new(source)))
    }),
    ("documents", |_, connection, engine| {
        documents::source(connection, engine).map(Native::Source)
    }),
    ("email", |connector, connection, engine| {
        let source = email::EmailSource::new(connector, connection, engine)?;
        Ok(Native::Client(Arc::new(source)))
    }),
    ("files", |_, connection, engine| {
        let source = files::FilesSource::new(connection, engine.clock.clone())?;
        Ok(Native::Source(Arc::new(source)))
    }),
    ("http_json", |connector, connection, _| {
        let spec = http_json::spec_of(&connector.spec, connection)?;
        Ok(Native::Declared(Box::new(Connector {
            spec,
            ..connector.clone()
        })))
    }),
    (mcp::NAME, |connector, connection, engine| {
        let source = mcp::ToolSource::connect(connector, connection, engine)?;
        let declared = mcp::declared(connector, connection)?;
        Ok(Native::Described(Box::new(declared), Arc::new(source)))
    }),
    ("singer", |_, connection, engine| {
        let source = singer::Tap::new(connection, engine)?;
        Ok(Native::Source(Arc::new(source)))
    }),
];

type CarrierOf = fn(&ConnectionSpec, &ClientSettings) -> Result<Arc<dyn Carrier>>;

/// Connectors whose requests do not go over HTTP.
const CARRIERS: &[(&str, CarrierOf)] = &[("email", email::carrier)];

/// Whether a connector's requests go over HTTP, and so can be recorded as fixtures.
pub(crate) fn is_http(spec: &ConnectorSpec) -> bool {
    let name = spec.native.as_deref();
    !CARRIERS.iter().any(|(known, _)| Some(*known) == name)
}

/// What takes a connection's requests to the other side, where that is not HTTP.
pub(crate) fn carrier(
    spec: &ConnectorSpec,
    connection: &ConnectionSpec,
    settings: &ClientSettings,
) -> Result<Option<Arc<dyn Carrier>>> {
    let name = spec.native.as_deref();
    let found = CARRIERS.iter().find(|(known, _)| Some(*known) == name);
    found.map(|(_, make)| make(connection, settings)).transpose()
}

/// Resolves the name in a connector's `native:` for a connection.
pub fn resolve(
    name: &str,
    connector: &Connector,
    connection: &ConnectionSpec,
    engine: &EngineSettings,
) -> Result<Native> {
    if let Some((_, constructor)) = NATIVE.iter().find(|(known, _)| *known == name) {
        return constructor(connector, connection, engine);
    }
    let names: Vec<&str> = NATIVE.iter().map(|(name, _)| *name).collect();
    let error =
        Error::spec(format!("there is no native connector '{name}'")).with("connector", connector.key());
    Err(match closest(name, &names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint(format!("write native: {}", names.join(" or "))),
    })
}

/// Reads a connection's file once more by the types of its native connector.
pub fn check_file(name: &str, connection: &ConnectionSpec, file: &Path, text: &str) -> Result<()> {
    match name {
        "http_json" => settings_file::check(connection, file, text),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn every_native_connector_is_in_the_list() {
        for connector in Catalog::embedded().list() {
            let Some(name) = &connector.spec.native else {
                continue;
            };
            assert!(NATIVE.iter().any(|(known, _)| known == name), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let catalog = Catalog::embedded();
        let connection = serde_json::json!({ "connection": "x", "connector": "files" });
        let connection: ConnectionSpec = serde_json::from_value(connection).unwrap();
        let Err(error) = resolve(
            "file",
            catalog.get("files").unwrap(),
            &connection,
            &EngineSettings::default(),
        ) else {
            panic!("resolved");
        };
        insta::assert_snapshot!(format!("{error:?}"), @"[spec] there is no native connector 'file' (connector: files) -> did you mean 'files'?");
    }
}
