//! The borders of isolation. Whoever acts belongs to one tenant and sees nothing of the others.

mod sql;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, ErrorKind, Result};

use crate::Store;
use crate::audit::{self, Record};
use crate::store::Scope;

const NAME_LENGTH_MAX: usize = 63;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, FromRow)]
pub struct Tenant {
    #[sqlx(rename = "tenant")]
    pub name: String,
    pub created_at_ms: i64,
}

/// Refuses what cannot be a tenant's name.
pub fn check_name(name: &str) -> Result<()> {
    let is_allowed =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '-' | '_');
    if !name.is_empty() && name.len() <= NAME_LENGTH_MAX && name.chars().all(is_allowed) {
        return Ok(());
    }
    Err(
        Error::usage(format!("'{name}' cannot be the name of a tenant")).hint(format!(
            "use 1 to {NAME_LENGTH_MAX} lower-case letters, digits, - and _"
        )),
    )
}

pub async fn create(store: &Store, name: &str) -> Result<Tenant> {
    check_name(name)?;
    let record = &Record::new(name, "tenant.create", format!("tenant:{name}"));
    let acting = store.acting();
    let created = store
        .write_alone(Scope::Tenant(name), "tenants", "create the tenant", |db, _| {
            Box::pin(async move {
                if sql::get(db, name).await?.is_some() {
                    return Ok(None);
                }
                sql::insert(db, name).await?;
                let made = sql::get(db, name).await?;
                audit::append_in(db, acting, record).await?;
                Ok(made)
            })
        })
        .await?;
    created.ok_or_else(|| {
        Error::new(ErrorKind::Conflict, format!("there is a tenant '{name}' already"))
            .hint("`weir tenant list` shows the tenants there are")
    })
}

pub async fn list(store: &Store) -> Result<Vec<Tenant>> {
    store
        .read(Scope::Everyone, "list tenants", |db, _| {
            Box::pin(async move { Ok(sql::list(db).await?) })
        })
        .await
}

pub async fn get(store: &Store, name: &str) -> Result<Tenant> {
    let all = list(store).await?;
    if let Some(found) = all.iter().find(|tenant| tenant.name == name) {
        return Ok(found.clone());
    }
    let names: Vec<&str> = all.iter().map(|tenant| tenant.name.as_str()).collect();
    let error = Error::not_found(format!("there is no tenant '{name}'"));
    Err(match closest(name, &names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint("`weir tenant create NAME` makes one"),
    })
}
