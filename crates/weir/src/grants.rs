//! The project's connections that are connected by OAuth.

use std::sync::Arc;

use async_trait::async_trait;
use weir_control::DEFAULT_TENANT;
use weir_control::oauth::{self, Grants, Servers};
use weir_control::projects::Files;
use weir_engine::catalog::Catalog;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::oauth::{AccessTokens, AuthorizationServer};
use weir_protocol::{ErrorKind, Result};

use crate::commands::Context;
use crate::config::variable;
use crate::project::Project;
use crate::wiring::Wiring;
use crate::{applied, errors};

/// What keeps the tokens of a connection whose secrets are in it, where its auth method has such.
pub(crate) async fn tokens(
    wiring: &Wiring,
    connection: &ConnectionSpec,
) -> Result<Option<Arc<dyn AccessTokens>>> {
    let connector = wiring.connector(connection)?;
    let Some(server) = crate::engine::authorization_server(connector, connection)? else {
        return Ok(None);
    };
    let grants = grants(wiring).await?;
    Ok(Some(grants.tokens(&connection.connection, server)))
}

/// How often somebody consented for a connection whose secrets are in it, where its auth method has such.
pub(crate) async fn consents(wiring: &Wiring, connection: &ConnectionSpec) -> Result<Option<i64>> {
    let connector = wiring.connector(connection)?;
    let Some(server) = crate::engine::authorization_server(connector, connection)? else {
        return Ok(None);
    };
    let known = oauth::consents(&wiring.store().await?, DEFAULT_TENANT, &connection.connection).await?;
    // The refresh token of the connection's file becomes the first one, with the first request.
    Ok(known.or_else(|| server.client().seed.is_some().then_some(1)))
}

pub(crate) async fn grants(wiring: &Wiring) -> Result<Grants> {
    let secrets = wiring.own_secrets().await?;
    Ok(Grants::new(&wiring.store().await?, DEFAULT_TENANT, secrets))
}

/// The authorization server of a connection that a person connects.
pub(crate) async fn server(wiring: &Wiring, name: &str) -> Result<Arc<dyn AuthorizationServer>> {
    let connection = wiring.connection(name)?;
    let connector = wiring.connector(&connection)?;
    let resolved = wiring.resolved(&connection).await?;
    crate::engine::authorization_server(connector, &resolved)?.ok_or_else(|| oauth::no_login(name))
}

/// Gives grants up whose connections are not in the project any more, at their providers too. What goes wrong there is
/// told and stops nothing: the connection is gone, and so is who could go on with its grant.
pub(crate) async fn give_up(wiring: &Wiring, before: &Files, connections: &[&str]) -> Result<()> {
    if connections.is_empty() {
        return Ok(());
    }
    let grants = grants(wiring).await?;
    for connection in connections {
        let server = match server_before(wiring, before, connection).await {
            Ok(server) => server,
            Err(error) => {
                tracing::warn!(%error, connection, "its provider cannot be told that the grant is given up");
                None
            }
        };
        let done = match grants.disconnect(connection, server.as_deref()).await {
            Ok(done) => done,
            // Somebody else did.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Some(Err(error)) = &done.at_provider {
            let next = "end weir's access in the provider's own settings";
            tracing::warn!(%error, connection, next, "the provider did not confirm that the grant is given up");
        } else if done.at_provider.is_none() {
            tracing::warn!(
                connection,
                "the grant is given up here; end weir's access in the provider's own settings, too"
            );
        }
    }
    Ok(())
}

/// The authorization server of a connection as it was when its file was still there.
async fn server_before(
    wiring: &Wiring,
    before: &Files,
    name: &str,
) -> Result<Option<Arc<dyn AuthorizationServer>>> {
    let folder = tempfile::TempDir::with_prefix("weir-before-")
        .map_err(|error| errors::file("create a folder in", &std::env::temp_dir(), error))?;
    applied::write(folder.path(), before)?;
    let project = Project::find(folder.path(), &variable)?;
    let catalog = Catalog::open(&[project.connector_folder()])?;
    let connection = project.connection(name, &variable, &|_, _, _| Ok(()))?;
    let connector = catalog.get(&connection.connector)?;
    let resolved = wiring.resolved(&connection).await?;
    crate::engine::authorization_server(connector, &resolved)
}

/// The project's connections for a server, with their files as they are now.
pub(crate) struct ProjectServers {
    pub(crate) context: Arc<Context>,
    pub(crate) store: weir_control::Store,
}

impl ProjectServers {
    fn wiring(&self) -> Result<Wiring> {
        Ok(Wiring::open(&self.context)?.over(self.store.clone()))
    }
}

#[async_trait]
impl Servers for ProjectServers {
    async fn grants(&self) -> Result<Grants> {
        grants(&self.wiring()?).await
    }

    async fn server(&self, connection: &str) -> Result<Option<Arc<dyn AuthorizationServer>>> {
        let wiring = self.wiring()?;
        let spec = wiring.connection(connection)?;
        let connector = wiring.connector(&spec)?;
        let resolved = wiring.resolved(&spec).await?;
        crate::engine::authorization_server(connector, &resolved)
    }
}
