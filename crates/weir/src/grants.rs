//! The project's connections that are connected by OAuth.

use std::sync::Arc;

use async_trait::async_trait;
use weir_control::DEFAULT_TENANT;
use weir_control::oauth::{self, Grants, Servers};
use weir_protocol::Result;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::oauth::{AccessTokens, AuthorizationServer};

use crate::commands::Context;
use crate::wiring::Wiring;

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
