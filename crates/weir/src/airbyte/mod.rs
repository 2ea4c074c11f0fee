//! A connector as a source that speaks the Airbyte protocol: JSON messages, one a line.

mod catalog;
mod config;
pub(crate) mod manifest;
mod messages;
mod read;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use serde::de::DeserializeOwned;
use serde_json::json;
use weir_engine::catalog::{Catalog, Connector, SPEC_FILE};
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::{Error, Result};

pub(crate) use messages::Messages;
pub(crate) use read::read;

use crate::config::LogFormat;
use crate::errors;

/// The connector of a `connector.yaml`, with its schemas where it lies in a connector's folder.
pub(crate) fn connector_at(manifest: &Path) -> Result<Connector> {
    let text = std::fs::read_to_string(manifest).map_err(|error| errors::file("read", manifest, error))?;
    if is_empty(&text) {
        return Err(Error::spec(format!("{} holds nothing", manifest.display())).hint(
            "give an Airbyte low-code manifest (version, type: DeclarativeSource, streams), or a connector.yaml \
             as `weir connector new` makes it",
        ));
    }
    let spec = ConnectorSpec::parse(manifest, &text)?;
    let absolute = std::path::absolute(manifest).map_err(|error| errors::file("find", manifest, error))?;
    let folder = absolute.parent();
    let in_folder = absolute.file_name().is_some_and(|name| name == SPEC_FILE)
        && folder
            .and_then(Path::file_name)
            .is_some_and(|name| name == spec.connector.as_str());
    match folder.and_then(Path::parent) {
        Some(connectors) if in_folder => {
            let catalog = Catalog::open(&[connectors.to_owned()])?;
            catalog.get(&spec.connector).cloned()
        }
        _ => Ok(Connector::new(spec)),
    }
}

/// Whether a YAML text has no content: comments and document marks are none.
fn is_empty(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| {
        line.is_empty() || line.starts_with('#') || matches!(line, "---" | "..." | "{}" | "null" | "~")
    })
}

/// What the reader of the messages is told when the source cannot go on; the exit code says only
/// that it did.
pub(crate) fn broken(error: &Error) -> ExitCode {
    if let Err(unsaid) = Messages::stdout().failed(error, None) {
        // Nobody reads messages any more; standard error is what is left.
        return errors::report(&unsaid, LogFormat::Text);
    }
    ExitCode::FAILURE
}

pub(crate) fn spec(connector: &Connector, out: &mut Messages) -> Result<()> {
    out.write(&json!({
        "type": "SPEC",
        "spec": {
            "protocol_version": "0.2.0",
            "documentationUrl": connector.spec.docs,
            "connectionSpecification": config::specification(connector),
            "supportsIncremental": true,
            "supported_destination_sync_modes": [],
        }
    }))
}

pub(crate) async fn check(connector: &Connector, config: &Path, out: &mut Messages) -> Result<()> {
    let checked = match connect(connector, config) {
        Ok(source) => source.check().await,
        Err(error) => Err(error),
    };
    status(checked, out)
}

/// What a check came to.
fn status(checked: Result<()>, out: &mut Messages) -> Result<()> {
    match checked {
        Ok(()) => {
            out.write(&json!({ "type": "CONNECTION_STATUS", "connectionStatus": { "status": "SUCCEEDED" } }))
        }
        Err(error) => {
            let next = error
                .next_step()
                .map(|step| format!(". Next: {step}"))
                .unwrap_or_default();
            out.write(&json!({
                "type": "CONNECTION_STATUS",
                "connectionStatus": { "status": "FAILED", "message": format!("{error}{next}") },
            }))
        }
    }
}

pub(crate) async fn discover(connector: &Connector, config: &Path, out: &mut Messages) -> Result<()> {
    let streams = connect(connector, config)?.discover().await?;
    let streams: Vec<_> = streams.iter().map(catalog::describe).collect();
    out.write(&json!({ "type": "CATALOG", "catalog": { "streams": streams } }))
}

fn connect(connector: &Connector, config: &Path) -> Result<std::sync::Arc<dyn weir_protocol::Source>> {
    let connection = config::connection(connector, read_json(config)?)?;
    crate::engine::connect(connector, &connection)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| errors::file("read", path, error))?;
    // The parser's message names line and column only: the text may hold secrets.
    serde_json::from_str(&text).map_err(|error| {
        Error::spec(format!("{} is not what is expected there", path.display()))
            .with("line", error.line())
            .with("column", error.column())
            .hint("write JSON as the Airbyte protocol describes it; `spec` and `discover` print what belongs there")
    })
}
