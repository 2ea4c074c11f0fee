//! `secret:` references and who keeps what they name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Executor as _;
use weir_protocol::{Error, ErrorKind, Result, Secret, SecretProvider};

use super::{Secrets, sql};
use crate::Store;
use crate::audit::{self, Ending, Record};
use crate::store::{Place, Scope};

const MARK: &str = "secret:";

/// What a text that begins with `secret:` names: a secret of the store, or `KEEPER/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    keeper: Option<String>,
    name: String,
}

impl Reference {
    /// None where the text is no reference.
    pub fn parse(text: &str) -> Option<Self> {
        let named = text.strip_prefix(MARK)?;
        Some(match named.split_once('/') {
            Some((keeper, name)) => Self {
                keeper: Some(keeper.to_owned()),
                name: name.to_owned(),
            },
            None => Self {
                keeper: None,
                name: named.to_owned(),
            },
        })
    }

    /// Whether it is a secret of the store.
    pub fn is_own(&self) -> bool {
        self.keeper.is_none()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(MARK)?;
        if let Some(keeper) = &self.keeper {
            write!(out, "{keeper}/")?;
        }
        out.write_str(&self.name)
    }
}

#[async_trait]
impl SecretProvider for Secrets {
    async fn read(&self, name: &str) -> Result<Secret> {
        Self::read(self, name).await
    }
}

/// Everybody who keeps secrets for a tenant.
#[derive(Debug)]
pub struct Keepers {
    store: Store,
    tenant: String,
    /// Those of the store. They note each read themselves.
    own: Option<Secrets>,
    others: BTreeMap<&'static str, Arc<dyn SecretProvider>>,
}

impl Keepers {
    pub fn new(store: &Store, tenant: &str, own: Option<Secrets>) -> Self {
        Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            own,
            others: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn with(mut self, keeper: &'static str, provider: Arc<dyn SecretProvider>) -> Self {
        self.others.insert(keeper, provider);
        self
    }

    /// The value that a reference names. Whatever came of it is noted before it is handed out.
    pub async fn read(&self, reference: &Reference) -> Result<Secret> {
        let Some(keeper) = &reference.keeper else {
            let own = self
                .own
                .as_ref()
                .ok_or_else(|| Error::internal("the store's secrets were not opened").hint("report it"))?;
            return own.read(&reference.name).await;
        };
        let Some(provider) = self.others.get(keeper.as_str()) else {
            let known: Vec<&str> = self.others.keys().copied().collect();
            return Err(
                Error::spec(format!("nobody called '{keeper}' keeps secrets here"))
                    .with("reference", reference)
                    .hint(format!(
                        "write secret:NAME for one of `weir secret list`, or one of {} before the '/'",
                        known.join(", ")
                    )),
            );
        };
        let read = provider.read(&reference.name).await;
        let ending = match &read {
            Ok(_) => Ending::Done,
            Err(error) if matches!(error.kind(), ErrorKind::Auth | ErrorKind::Denied) => Ending::Refused,
            Err(_) => Ending::Failed,
        };
        let record = Record::new(&self.tenant, "secret.read", reference.to_string()).ended(ending);
        audit::append(&self.store, &record).await?;
        read.map_err(|error| error.with("reference", reference))
    }
}

/// Supabase Vault, where the store is in the same PostgreSQL database.
#[derive(Debug, Clone)]
pub struct SupabaseVault {
    store: Store,
}

impl SupabaseVault {
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }
}

#[async_trait]
impl SecretProvider for SupabaseVault {
    async fn read(&self, name: &str) -> Result<Secret> {
        if !matches!(self.store.place(), Place::Postgres(_)) {
            return Err(Error::spec(
                "Supabase Vault is read where the control store is in the same database",
            )
            .with("store", self.store.place())
            .hint("set WEIR_DATABASE_URL to the Supabase database"));
        }
        let value: Option<String> = self
            .store
            .read(Scope::Everyone, "read from Supabase Vault", |db, _| {
                Box::pin(async move {
                    // The application's role may not; the one that logs in is asked to.
                    db.execute("SET LOCAL ROLE NONE").await?;
                    Ok(sql::supabase(db, name).await?)
                })
            })
            .await
            .map_err(|error| {
                Error::new(ErrorKind::Auth, "Supabase Vault cannot be read")
                    .with("secret", name)
                    .caused_by(error)
                    .hint("enable the extension supabase_vault, and grant SELECT on vault.decrypted_secrets to the role of WEIR_DATABASE_URL")
            })?;
        value
            .filter(|value| !value.is_empty())
            .map(Secret::new)
            .ok_or_else(|| {
                Error::not_found(format!("Supabase Vault has no secret '{name}'"))
                    .hint("`select name from vault.secrets` lists those there are")
            })
    }
}
