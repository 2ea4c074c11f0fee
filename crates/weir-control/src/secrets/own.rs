//! Secrets that weir keeps for itself: the tokens of grants, values on trial. Their names have a `/`, so
//! that no `secret:` reference names one. Who keeps one notes its use in the same transaction.

use sqlx::AnyConnection;
use weir_protocol::{Result, Secret};

use super::keys::{Place, encrypt};
use super::{Secrets, sql};
use crate::Store;
use crate::store::{Outcome, Scope};

impl Secrets {
    /// Stores a value; `id` is for one that is not there yet.
    pub(crate) async fn put_in(
        &self,
        db: &mut AnyConnection,
        name: &str,
        id: &str,
        value: &Secret,
    ) -> Outcome<()> {
        let row = sql::get(db, &self.tenant, name).await?;
        let (id, version) = row
            .as_ref()
            .map_or((id, 1), |row| (row.id.as_str(), row.version + 1));
        let place = Place {
            tenant: &self.tenant,
            id,
            name,
            version,
        };
        let sealed = encrypt(&self.keys.current, place, value)?;
        sql::put(db, place, self.keys.current.id(), &sealed, true).await?;
        Ok(())
    }

    pub(crate) async fn get_in(&self, db: &mut AnyConnection, name: &str) -> Outcome<Option<Secret>> {
        let row = sql::get(db, &self.tenant, name).await?;
        Ok(row.map(|row| self.opened(&row)).transpose()?)
    }
}

/// Removes one; needs no key.
pub(crate) async fn remove_in(db: &mut AnyConnection, tenant: &str, name: &str) -> Outcome<()> {
    sql::delete(db, tenant, name).await?;
    Ok(())
}

/// Whether a tenant has any secret, its own or weir's: then the master key is needed.
pub async fn any(store: &Store, tenant: &str) -> Result<bool> {
    Ok(!needed_keys(store, tenant).await?.is_empty())
}

/// Ids of the master keys that a tenant's secrets are under.
pub(crate) async fn needed_keys(store: &Store, tenant: &str) -> Result<Vec<String>> {
    store
        .read(Scope::Tenant(tenant), "look for secrets", |db, _| {
            Box::pin(async move { Ok(sql::master_keys(db, tenant).await?) })
        })
        .await
}
