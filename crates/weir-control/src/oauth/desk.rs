//! Logging connections in and out through a server, for who may.

use std::sync::Arc;

use weir_protocol::oauth::AuthorizationServer;
use weir_protocol::{Error, ErrorKind, Result};

use super::{
    Callback, Disconnected, Finished, Grant, GrantState, Grants, Servers, Started, logins, redirect_uri,
};
use crate::{Access, Store};

/// What a server needs for it.
#[derive(Clone)]
pub struct Desk {
    store: Store,
    tenant: String,
    servers: Arc<dyn Servers>,
    redirect_uri: String,
}

impl Desk {
    /// `base` is where browsers find the server.
    pub fn new(store: &Store, tenant: &str, servers: Arc<dyn Servers>, base: &str) -> Self {
        Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            servers,
            redirect_uri: redirect_uri(base),
        }
    }

    async fn grants(&self, access: &Access) -> Result<Grants> {
        if access.tenant != self.tenant {
            return Err(
                Error::not_found("this server has no files of the tenant's connections")
                    .with("tenant", &access.tenant)
                    .hint("ask a server that has them"),
            );
        }
        let mut grants = self.servers.grants().await?;
        grants.store = self.store.acting_as(access.acting(None));
        Ok(grants)
    }

    async fn server(&self, connection: &str) -> Result<Arc<dyn AuthorizationServer>> {
        self.servers
            .server(connection)
            .await?
            .ok_or_else(|| no_login(connection))
    }

    /// Whether a person has to consent before requests of the connection can be signed.
    pub async fn waits_for_person(&self, access: &Access, connection: &str) -> Result<bool> {
        if access.tenant != self.tenant || self.servers.server(connection).await?.is_none() {
            return Ok(false);
        }
        match super::get(&self.store, &self.tenant, connection).await {
            Ok(grant) => Ok(matches!(
                grant.state,
                GrantState::ReconnectNeeded | GrantState::Revoked
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Begins a consent: its end is taken from the same session or token alone.
    pub async fn start(&self, access: &Access, connection: &str) -> Result<Started> {
        let grants = self.grants(access).await?;
        let server = self.server(connection).await?;
        let who = (access.principal.as_str(), begun_with(access));
        grants
            .begin_login(server.client(), connection, who, &self.redirect_uri)
            .await
    }

    /// Ends one, by what the provider sent the browser with.
    pub async fn finish(&self, access: &Access, callback: &Callback) -> Result<Grant> {
        let grants = self.grants(access).await?;
        let pending = self.pending(callback).await?;
        let server = self.server(&pending.connection).await?;
        let who = (access.principal.as_str(), begun_with(access));
        grants.finish_login(server.as_ref(), who, callback).await
    }

    /// Whose consent an answer belongs to.
    pub async fn pending(&self, callback: &Callback) -> Result<Finished> {
        logins::pending(&self.store, callback).await
    }

    pub async fn disconnect(&self, access: &Access, connection: &str) -> Result<Disconnected> {
        let grants = self.grants(access).await?;
        // A connection whose file is gone or wrong can still be disconnected.
        let server = self.servers.server(connection).await.unwrap_or_else(|error| {
            tracing::warn!(connection, %error, "its provider cannot be told that the grant is given up");
            None
        });
        grants.disconnect(connection, server.as_deref()).await
    }
}

/// The id of the token or session; nothing that could be shown instead of it.
fn begun_with(access: &Access) -> &str {
    access.token.as_deref().unwrap_or("command line")
}

/// For a connection whose auth method nobody consents to.
pub fn no_login(connection: &str) -> Error {
    Error::usage(format!("connection '{connection}' needs no login"))
        .with("connection", connection)
        .hint("only a credential with method: oauth2 and a grant that a person consents to needs one; check credential in the connection's file")
}
