//! What authorization servers granted to connections: logging in, one refresh for all servers and runs,
//! giving up. `docs/guides/oauth.md` draws the states.

mod desk;
mod keep;
mod login;
mod logins;
mod notices;
mod refresh;
mod rules;
mod sql;
mod stored;
#[cfg(test)]
mod tests;
mod under_way;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::oauth::{AccessToken, AccessTokens, AuthorizationServer};
use weir_protocol::{Error, Result, Secret};

use crate::Store;
use crate::audit::{self, Record};
use crate::secrets::{Secrets, remove_in};
use crate::store::Scope;

pub use desk::{Desk, no_login};
pub use keep::{Servers, keep_fresh};
pub(crate) use login::random_text;
pub use login::{Callback, Proof, authorize_url, code_of, redirect_uri};
pub use logins::{Finished, Started, pending};
pub use under_way::settled;

/// Where a grant stands. `refreshing` is `connected` while somebody asks for the next tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    Connected,
    Refreshing,
    /// The provider takes the tokens no more: a person has to consent again.
    ReconnectNeeded,
    Revoked,
}

impl GrantState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Refreshing => "refreshing",
            Self::ReconnectNeeded => "reconnect_needed",
            Self::Revoked => "revoked",
        }
    }
}

/// What may be told of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    pub connection: String,
    pub state: GrantState,
    /// `authorization_code`, `device` or `refresh_token`.
    pub method: String,
    pub scopes: Vec<String>,
    /// Asked for, and not granted.
    pub missing_scopes: Vec<String>,
    /// Whether tokens follow one another without a person.
    pub can_refresh: bool,
    pub connected_at_ms: i64,
    pub refreshed_at_ms: i64,
    /// When the access token ends; it is replaced before.
    pub access_expires_at_ms: Option<i64>,
    /// When a person has to consent again, where the provider says it.
    pub refresh_expires_at_ms: Option<i64>,
    /// Why the last refresh failed.
    pub error: Option<String>,
    pub error_at_ms: Option<i64>,
}

/// A tenant's grants, with the key of their tokens.
#[derive(Debug, Clone)]
pub struct Grants {
    store: Store,
    tenant: String,
    secrets: Secrets,
}

/// How a grant was given up.
#[derive(Debug)]
pub struct Disconnected {
    /// Whether the provider confirmed it; None where there was nothing to give up or nowhere to say it.
    pub at_provider: Option<Result<()>>,
}

impl Grants {
    pub fn new(store: &Store, tenant: &str, secrets: Secrets) -> Self {
        Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            secrets,
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Tenant(&self.tenant)
    }

    fn record(&self, action: &'static str, connection: &str) -> Record {
        Record::new(&self.tenant, action, format!("connection:{connection}"))
    }

    /// The tokens of one connection, as its requests ask for them.
    pub fn tokens(&self, connection: &str, server: Arc<dyn AuthorizationServer>) -> Arc<dyn AccessTokens> {
        Arc::new(Tokens {
            grants: self.clone(),
            connection: connection.to_owned(),
            server,
        })
    }

    /// Gives a grant up: nobody gets its tokens from here on, the provider is told, they are deleted.
    pub async fn disconnect(
        &self,
        connection: &str,
        server: Option<&dyn AuthorizationServer>,
    ) -> Result<Disconnected> {
        let held = self.stop(connection).await?;
        let told = match (&held, server) {
            (Some(token), Some(server)) if server.client().can_revoke => Some(server.revoke(token).await),
            _ => None,
        };
        let confirmed = match &told {
            Some(Ok(())) => "confirmed",
            Some(Err(_)) => "not confirmed",
            None => "not asked",
        };
        let record = &self
            .record("oauth.disconnect", connection)
            .with("at_provider", confirmed);
        let (tenant, acting) = (self.tenant.as_str(), self.store.acting());
        self.store
            .write_alone(
                self.scope(),
                &stored::name(connection),
                "delete the grant's tokens",
                |db, _| {
                    Box::pin(async move {
                        // Somebody may have connected it anew meanwhile: those tokens are not given up.
                        let is_over = sql::get(db, tenant, connection)
                            .await?
                            .is_none_or(|row| row.state == "revoked");
                        if is_over {
                            remove_in(db, tenant, &stored::name(connection)).await?;
                        }
                        audit::append_in(db, acting, record).await
                    })
                },
            )
            .await?;
        Ok(Disconnected { at_provider: told })
    }

    /// Marks the grant as revoked, and gives back the token that is to be given up.
    async fn stop(&self, connection: &str) -> Result<Option<Secret>> {
        let (tenant, secrets) = (self.tenant.as_str(), &self.secrets);
        let found = self
            .store
            .write_alone(
                self.scope(),
                &stored::name(connection),
                "end the grant",
                |db, _| {
                    Box::pin(async move {
                        if !sql::revoke(db, tenant, connection).await? {
                            return Ok(None);
                        }
                        let held = stored::get(secrets, db, connection).await?;
                        Ok(Some(held.and_then(stored::Held::into_revocable)))
                    })
                },
            )
            .await?;
        found.ok_or_else(|| no_grant(connection))
    }
}

/// One connection's tokens.
struct Tokens {
    grants: Grants,
    connection: String,
    server: Arc<dyn AuthorizationServer>,
}

#[async_trait]
impl AccessTokens for Tokens {
    async fn token(&self, refused: Option<&Secret>) -> Result<AccessToken> {
        self.grants.access(&self.connection, &self.server, refused).await
    }
}

/// All grants of a tenant, by connection; needs no key.
pub async fn list(store: &Store, tenant: &str) -> Result<Vec<Grant>> {
    store
        .read(Scope::Tenant(tenant), "list grants", |db, _| {
            Box::pin(async move {
                let rows = sql::list(db, tenant).await?;
                rows.into_iter()
                    .map(|row| row.shown().map_err(Into::into))
                    .collect()
            })
        })
        .await
}

/// The grant of a connection; needs no key.
pub async fn get(store: &Store, tenant: &str, connection: &str) -> Result<Grant> {
    let row = store
        .read(Scope::Tenant(tenant), "read the grant", |db, _| {
            Box::pin(async move { Ok(sql::get(db, tenant, connection).await?) })
        })
        .await?;
    row.ok_or_else(|| no_grant(connection))?.shown()
}

/// How often somebody consented for a connection; a refresh of its tokens counts for nothing. None where nobody
/// did yet. Needs no key.
pub async fn consents(store: &Store, tenant: &str, connection: &str) -> Result<Option<i64>> {
    let row = store
        .read(Scope::Tenant(tenant), "count the consents", |db, _| {
            Box::pin(async move { Ok(sql::get(db, tenant, connection).await?) })
        })
        .await?;
    Ok(row.map(|row| row.consents))
}

fn no_grant(connection: &str) -> Error {
    Error::not_found(format!("connection '{connection}' is not connected by OAuth"))
        .hint(format!("`weir auth login {connection}` connects it"))
}
