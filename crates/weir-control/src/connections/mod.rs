//! Connections that runs belong to.

mod sql;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use weir_protocol::{Error, Result, yaml};

use crate::Store;
use crate::store::Scope;

pub(crate) use sql::register_in;

/// The tenant where there is only one.
pub const DEFAULT_TENANT: &str = "default";

/// A connection as the control store knows it; its settings and secrets are not in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, FromRow, JsonSchema)]
pub struct Connection {
    pub tenant: String,
    pub name: String,
    /// Key of the connector.
    pub connector: String,
    /// The source part of table names.
    pub source: String,
}

impl Connection {
    pub fn new(name: impl Into<String>, connector: impl Into<String>, source: impl Into<String>) -> Self {
        Self {
            tenant: DEFAULT_TENANT.to_owned(),
            name: name.into(),
            connector: connector.into(),
            source: source.into(),
        }
    }
}

/// Makes the connection known, or brings what is known of it up to date.
pub async fn register(store: &Store, connection: &Connection) -> Result<()> {
    let scope = Scope::Tenant(&connection.tenant);
    store
        .statement(scope, "register the connection", |db, _| {
            Box::pin(async move { Ok(register_in(db, connection).await?) })
        })
        .await
}

pub async fn list(store: &Store, tenant: &str) -> Result<Vec<Connection>> {
    store
        .read(Scope::Tenant(tenant), "list connections", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant).await?) })
        })
        .await
}

pub async fn get(store: &Store, tenant: &str, name: &str) -> Result<Connection> {
    let all = list(store, tenant).await?;
    if let Some(found) = all.iter().find(|connection| connection.name == name) {
        return Ok(found.clone());
    }
    let names: Vec<&str> = all.iter().map(|connection| connection.name.as_str()).collect();
    let error = Error::not_found(format!("there is no connection '{name}'"));
    Err(match yaml::closest(name, &names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None if names.is_empty() => error.hint("none has been synced yet: run `weir sync CONNECTION`"),
        None => error.hint(format!("known are {}", names.join(", "))),
    })
}
