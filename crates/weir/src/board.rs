//! What the server's health board is given: the catalog, and a way to ask the project's connections.

use std::sync::Arc;

use async_trait::async_trait;
use weir_control::connectors::{Check, ConnectorInfo};
use weir_control::{Connection, DEFAULT_TENANT};
use weir_engine::catalog::Catalog;
use weir_protocol::{Error, Result};

use crate::wiring::Wiring;

pub(crate) fn catalog(catalog: &Catalog) -> Vec<ConnectorInfo> {
    let infos = catalog.list().map(|connector| ConnectorInfo {
        key: connector.key().to_owned(),
        version: connector.spec.version.clone(),
        name: connector.spec.name.clone(),
        governance: connector.spec.governance.clone(),
        hook: connector.spec.hook.as_ref().map(|hook| hook.signature.scheme()),
    });
    infos.collect()
}

/// Asks the connections of the project.
pub(crate) struct ProjectConnections(pub(crate) Arc<Wiring>);

#[async_trait]
impl Check for ProjectConnections {
    async fn check(&self, connection: &Connection) -> Result<()> {
        if connection.tenant != DEFAULT_TENANT {
            return Err(
                Error::not_found("this server has no files of the tenant's connections")
                    .with("connection", &connection.name)
                    .hint("ask a server that has them"),
            );
        }
        let spec = self.0.connection(&connection.name)?;
        self.0.source(&spec).await?.check().await
    }
}
