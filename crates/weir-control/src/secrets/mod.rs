//! Secrets: encrypted in the store by a data key each, under a master key that the store never sees;
//! and those of other keepers, read through the same trait. Every read is noted before the value is
//! handed out: no audit record, no secret.

mod keys;
mod own;
mod providers;
mod renewal;
mod rotation;
mod sql;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::{Error, ErrorKind, Result, Secret, yaml};

use crate::Store;
use crate::audit::{self, Ending, Record};
use crate::events;
use crate::store::{Expected, Outcome, Scope};

pub use keys::{MasterKey, MasterKeys};
pub use own::any;
pub(crate) use own::{needed_keys, remove_in};
pub use providers::{Keepers, Reference, SupabaseVault};
pub use renewal::{Ender, Renewal, Renewed, VendorEnd};
pub use rotation::{Rotation, end_rotations, keep, rotations};

use keys::{Place, decrypt, encrypt, rewrap};
use renewal::{made_as, next};

/// A secret is a text: a key, a token, a certificate.
const VALUE_BYTES_MAX: usize = 64 << 10;
const NAME_CHARS_MAX: usize = 100;
/// Data keys that are wrapped anew in one transaction.
const PAGE: i64 = 100;

/// What may be told of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, sqlx::FromRow)]
pub struct StoredSecret {
    pub name: String,
    /// Counts values and data keys.
    pub version: i64,
    pub master_key_id: String,
    pub created_at_ms: i64,
    /// Since when it has this value.
    pub set_at_ms: i64,
    pub read_at_ms: Option<i64>,
    /// When the value ends, where somebody said so.
    pub expires_at_ms: Option<i64>,
}

/// Opens tenants' secrets: it has, or can ask for, the master key.
#[async_trait]
pub trait Vault: Send + Sync {
    async fn open(&self, store: &Store, tenant: &str) -> Result<Secrets>;

    /// The files that name a secret: of the project, and of what is applied to the store.
    /// None where no files are known.
    async fn named_by(&self, _store: &Store, _tenant: &str, _secret: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// The refusal to delete a secret that files name.
pub fn still_used(name: &str, users: &[String]) -> Error {
    Error::new(ErrorKind::Gate, format!("secret '{name}' is still used")).with("named by", users.join(", "))
}

/// A tenant's secrets in the store.
#[derive(Debug, Clone)]
pub struct Secrets {
    store: Store,
    tenant: String,
    keys: Arc<MasterKeys>,
}

impl Secrets {
    /// Refuses master keys with which some of the secrets cannot be read.
    pub async fn open(store: &Store, tenant: &str, keys: Arc<MasterKeys>) -> Result<Self> {
        let needed = store
            .read(Scope::Tenant(tenant), "look at the secrets' keys", |db, _| {
                Box::pin(async move { Ok(sql::master_keys(db, tenant).await?) })
            })
            .await?;
        if let Some(unknown) = needed.iter().find(|id| keys.get(id).is_none()) {
            return Err(wrong_key(unknown, &keys));
        }
        Ok(Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            keys,
        })
    }

    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Tenant(&self.tenant)
    }

    fn noted(&self, action: &'static str, name: &str) -> Record {
        Record::new(&self.tenant, action, format!("secret:{name}"))
    }

    /// Stores a value; what was there before is gone. Gives back the version.
    pub async fn set(&self, name: &str, value: &Secret) -> Result<i64> {
        self.set_if(name, value, &|_| Ok(())).await
    }

    /// As [`Self::set`], unless `expected` refuses what the secret is by then; None: there is no such one yet.
    pub async fn set_if(
        &self,
        name: &str,
        value: &Secret,
        expected: Expected<'_, Option<StoredSecret>>,
    ) -> Result<i64> {
        check_name(name)?;
        check_value(value)?;
        let new_id = &Uuid::now_v7().to_string();
        self.store_version("secret.set", name, expected, |row| {
            let (id, version) = row.map_or((new_id.as_str(), 1), |row| (row.id.as_str(), row.version + 1));
            Ok((id.to_owned(), version, value.clone()))
        })
        .await
    }

    /// Encrypts the value by another data key, under the current master key. Gives back the version.
    pub async fn rotate(&self, name: &str) -> Result<i64> {
        check_name(name)?;
        self.store_version("secret.rotate", name, &|_| Ok(()), |row| {
            let row = row.ok_or_else(|| no_such_secret(name, &[]))?;
            Ok((row.id.clone(), row.version + 1, self.opened(row)?))
        })
        .await
    }

    async fn store_version(
        &self,
        action: &'static str,
        name: &str,
        expected: Expected<'_, Option<StoredSecret>>,
        next: impl Fn(Option<&sql::Row>) -> Result<(String, i64, Secret)> + Send + Sync,
    ) -> Result<i64> {
        let (record, next) = (&self.noted(action, name), &next);
        let (tenant, keys) = (self.tenant.as_str(), &*self.keys);
        let acting = self.store.acting();
        let is_other_value = action == "secret.set";
        let told = &rotation::replaced(tenant, name);
        self.store
            .write_alone(
                self.scope(),
                &format!("secret {name}"),
                "store the secret",
                |db, _| {
                    Box::pin(async move {
                        expected(&sql::told(db, tenant, name).await?)?;
                        let row = sql::get(db, tenant, name).await?;
                        let (id, version, value) = next(row.as_ref())?;
                        let place = Place {
                            tenant,
                            id: &id,
                            name,
                            version,
                        };
                        let sealed = encrypt(&keys.current, place, &value)?;
                        sql::put(db, place, keys.current.id(), &sealed, is_other_value).await?;
                        if is_other_value {
                            sql::delete(db, tenant, &made_as(name)).await?;
                        }
                        if is_other_value && row.is_some() {
                            // When the value before would have ended says nothing of this one.
                            sql::expires(db, tenant, name, None).await?;
                            events::append_in(db, told).await?;
                        }
                        audit::append_in(db, acting, &record.clone().with("version", version)).await?;
                        Ok(version)
                    })
                },
            )
            .await
    }

    /// The value, once the read is noted.
    pub async fn read(&self, name: &str) -> Result<Secret> {
        check_name(name)?;
        let record = &self.noted("secret.read", name);
        let tenant = self.tenant.as_str();
        let acting = self.store.acting();
        let row = self
            .store
            .write(self.scope(), "read the secret", |db, _| {
                Box::pin(async move {
                    let row = sql::get(db, tenant, name).await?;
                    let record = match &row {
                        Some(row) => {
                            sql::note_read(db, tenant, name).await?;
                            record.clone().with("version", row.version)
                        }
                        None => record.clone().ended(Ending::Failed),
                    };
                    audit::append_in(db, acting, &record).await?;
                    Ok(row)
                })
            })
            .await?;
        match row {
            Some(row) => self.opened(&row),
            None => Err(missing(&self.store, &self.tenant, name).await?),
        }
    }

    fn opened(&self, row: &sql::Row) -> Result<Secret> {
        let master = self.keys.get(&row.master_key_id);
        let master = master.ok_or_else(|| wrong_key(&row.master_key_id, &self.keys))?;
        decrypt(master, row.place(&self.tenant), &row.wrapped_key, &row.ciphertext)
    }
}

/// Names, versions and ages of those that people set; needs no key.
pub async fn list(store: &Store, tenant: &str) -> Result<Vec<StoredSecret>> {
    store
        .read(Scope::Tenant(tenant), "list secrets", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant).await?) })
        })
        .await
}

/// What may be told of one of them; needs no key.
pub async fn get(store: &Store, tenant: &str, name: &str) -> Result<StoredSecret> {
    check_name(name)?;
    let found = store
        .read(Scope::Tenant(tenant), "look at the secret", |db, _| {
            Box::pin(async move { Ok(sql::told(db, tenant, name).await?) })
        })
        .await?;
    match found {
        Some(found) => Ok(found),
        None => Err(missing(store, tenant, name).await?),
    }
}

/// Removes a secret and its data key; needs no key.
pub async fn delete(store: &Store, tenant: &str, name: &str) -> Result<()> {
    delete_if(store, tenant, name, &|_| Ok(())).await.map(drop)
}

/// As [`delete`], unless `expected` refuses what the secret is by then. Gives back what it was.
pub async fn delete_if(
    store: &Store,
    tenant: &str,
    name: &str,
    expected: Expected<'_, StoredSecret>,
) -> Result<StoredSecret> {
    check_name(name)?;
    let record = &Record::new(tenant, "secret.delete", format!("secret:{name}"));
    let acting = store.acting();
    let gone = store
        .write_alone(
            Scope::Tenant(tenant),
            &format!("secret {name}"),
            "delete the secret",
            |db, _| {
                Box::pin(async move {
                    let Some(known) = sql::told(db, tenant, name).await? else {
                        return Ok(None);
                    };
                    expected(&known)?;
                    remove_all_in(db, tenant, name).await?;
                    audit::append_in(db, acting, record).await?;
                    Ok(Some(known))
                })
            },
        )
        .await?;
    match gone {
        Some(known) => Ok(known),
        None => Err(missing(store, tenant, name).await?),
    }
}

/// A secret, and what is kept beside it of a change of its value.
async fn remove_all_in(db: &mut AnyConnection, tenant: &str, name: &str) -> Outcome<()> {
    for one in [name, &made_as(name), &next(name)] {
        sql::delete(db, tenant, one).await?;
    }
    Ok(())
}

async fn missing(store: &Store, tenant: &str, name: &str) -> Result<Error> {
    let all = list(store, tenant).await?;
    let names: Vec<&str> = all.iter().map(|secret| secret.name.as_str()).collect();
    Ok(no_such_secret(name, &names))
}

/// Wraps the data keys of all tenants' secrets by the current master key. It may be stopped and
/// begun again at any time; until it is done, both keys are needed. Gives back how many it wrapped.
pub async fn rotate_master_key(store: &Store, keys: &MasterKeys) -> Result<u64> {
    let tenants = store
        .read(Scope::Everyone, "list the secrets' tenants", |db, _| {
            Box::pin(async move { Ok(sql::tenants(db).await?) })
        })
        .await?;
    let mut wrapped = 0;
    for tenant in &tenants {
        let of_tenant = rotate_for(store, tenant, keys).await?;
        if of_tenant > 0 {
            let record = Record::new(
                tenant,
                "master_key.rotate",
                format!("master_key:{}", keys.current.id()),
            );
            audit::append(store, &record.with("secrets", of_tenant)).await?;
        }
        wrapped += of_tenant;
    }
    Ok(wrapped)
}

async fn rotate_for(store: &Store, tenant: &str, keys: &MasterKeys) -> Result<u64> {
    let mut wrapped = 0;
    loop {
        let page: usize = store
            .write(Scope::Tenant(tenant), "wrap the secrets' keys anew", |db, _| {
                Box::pin(async move {
                    let rows = sql::wrapped_otherwise(db, tenant, keys.current.id(), PAGE).await?;
                    for row in &rows {
                        let from = keys.get(&row.master_key_id);
                        let from = from.ok_or_else(|| wrong_key(&row.master_key_id, keys))?;
                        let place = row.place(tenant);
                        let wrapped_key = rewrap(from, &keys.current, place, &row.wrapped_key)?;
                        sql::rewrapped(db, place, keys.current.id(), &wrapped_key).await?;
                    }
                    Ok(rows.len())
                })
            })
            .await?;
        if page == 0 {
            return Ok(wrapped);
        }
        wrapped += u64::try_from(page).unwrap_or(u64::MAX);
    }
}

/// Letters, digits, `_`, `-` and `.`; a `/` would name another keeper.
fn check_name(name: &str) -> Result<()> {
    let is_fine = !name.is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if is_fine {
        return Ok(());
    }
    Err(
        Error::usage(format!("'{name}' is no name of a secret")).hint(format!(
            "use letters, digits, '_', '-' and '.', {NAME_CHARS_MAX} at most"
        )),
    )
}

fn check_value(value: &Secret) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::usage(format!("the value {why}")).hint("pipe it in: `weir secret set NAME < FILE`"))
    };
    if value.expose().is_empty() {
        return refuse("is empty");
    }
    if value.expose().len() > VALUE_BYTES_MAX {
        return refuse("is larger than 64 KiB");
    }
    Ok(())
}

fn no_such_secret(name: &str, names: &[&str]) -> Error {
    let error = Error::not_found(format!("there is no secret '{name}'"));
    match yaml::closest(name, names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint("`weir secret set NAME` stores one, `weir secret list` names those there are"),
    }
}

fn wrong_key(needed: &str, keys: &MasterKeys) -> Error {
    Error::state("the master key is not the one that the secrets were stored with")
        .with("its id", keys.current.id())
        .with("needed", needed)
        .hint("give the right key, or both while a change of keys is under way (WEIR_MASTER_KEY_OLD); docs/guides/secrets.md says how")
}
