//! The policies that a process decides with, and what it does when their files change.

use std::sync::{Arc, PoisonError, RwLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result};

use super::{Decision, Policies, PolicyFile, Reason, Resource, Surroundings, Target, sql};
use crate::audit::{self, Ending, Entry, EntryFilter, Record};
use crate::principals::{Access, Permission};
use crate::runs::Failure;
use crate::store::{Scope, stored_badly};
use crate::{DEFAULT_TENANT, Store};

/// What is decided with now, and what is wrong with the files where they cannot be used.
#[derive(Debug)]
pub struct InForce {
    now: RwLock<Now>,
}

#[derive(Debug)]
struct Now {
    policies: Arc<Policies>,
    surroundings: Arc<Surroundings>,
    trouble: Option<Failure>,
}

/// How the policies stand, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// SHA-256 of the files in force.
    pub version: String,
    pub policies: Vec<String>,
    /// Why newer files are not in force: the ones before them still are.
    pub trouble: Option<Failure>,
}

/// A version that was in force at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    pub version: String,
    pub first_at_ms: i64,
    /// Paths of its files.
    pub files: Vec<String>,
}

/// The roles alone.
impl Default for InForce {
    fn default() -> Self {
        Self::new(Policies::none(), Surroundings::default())
    }
}

impl InForce {
    pub fn new(policies: Policies, surroundings: Surroundings) -> Self {
        Self {
            now: RwLock::new(Now {
                policies: Arc::new(policies),
                surroundings: Arc::new(surroundings),
                trouble: None,
            }),
        }
    }

    /// Begins with files that are right; a server with broken ones does not start, for nobody would know
    /// what it lets pass.
    pub async fn begin(store: &Store, files: Vec<PolicyFile>, surroundings: Surroundings) -> Result<Self> {
        let policies = Policies::read(files)?;
        keep(store, &policies).await?;
        Ok(Self::new(policies, surroundings))
    }

    /// Takes newer files. Those that are broken change nothing, and are told of until they are mended:
    /// a mistake in a file must neither open what was shut, nor shut what was open.
    pub async fn take(&self, store: &Store, files: Result<Vec<PolicyFile>>) -> Result<()> {
        let read = files.and_then(Policies::read);
        let trouble = match read {
            Ok(policies) => {
                if policies.version() != self.policies().version() {
                    keep(store, &policies).await?;
                    tracing::info!(version = policies.version(), "policies taken");
                }
                self.set(Some(policies), None);
                None
            }
            Err(error) => Some(error),
        };
        if let Some(error) = trouble {
            let failure = Failure::from(&error);
            if self.standing().trouble.as_ref() != Some(&failure) {
                tracing::error!(%error, "the policy files are broken: the policies before them stay in force");
            }
            self.set(None, Some(failure));
        }
        Ok(())
    }

    fn set(&self, policies: Option<Policies>, trouble: Option<Failure>) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(policies) = policies {
            now.policies = Arc::new(policies);
        }
        now.trouble = trouble;
    }

    /// Takes what is known of connectors and of the project now.
    pub fn know(&self, surroundings: Surroundings) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        now.surroundings = Arc::new(surroundings);
    }

    fn surroundings(&self) -> Arc<Surroundings> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.surroundings.clone()
    }

    pub fn policies(&self) -> Arc<Policies> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.policies.clone()
    }

    pub fn standing(&self) -> Standing {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Standing {
            version: now.policies.version().to_owned(),
            policies: now.policies.names().to_vec(),
            trouble: now.trouble.clone(),
        }
    }

    /// Refuses what a policy takes away. The refusal of a change is noted. `store` is the caller's.
    pub async fn check(
        &self,
        store: &Store,
        access: &Access,
        permission: Permission,
        target: &Target,
        via: &str,
    ) -> Result<()> {
        let policies = self.policies();
        if policies.is_empty() {
            return Ok(());
        }
        let found = self.surroundings().find(store, &access.tenant, target).await?;
        let Some(resource) = found else { return Ok(()) };
        let decision = policies.decide(access, permission, &resource, via);
        if decision.is_allowed {
            return Ok(());
        }
        if permission.as_str().ends_with(":write") {
            let record = refused(access, permission, &resource, &decision, policies.version());
            audit::append(store, &record).await?;
        }
        Err(denied(
            access,
            permission,
            &resource,
            &decision,
            policies.version(),
        ))
    }

    /// Whether a thing may be seen by who asks: what lists leave out.
    pub async fn allows(
        &self,
        store: &Store,
        access: &Access,
        permission: Permission,
        target: &Target,
        via: &str,
    ) -> Result<bool> {
        let policies = self.policies();
        let found = self.surroundings().find(store, &access.tenant, target).await?;
        Ok(found.is_none_or(|resource| policies.decide(access, permission, &resource, via).is_allowed))
    }
}

fn refused(
    access: &Access,
    permission: Permission,
    resource: &Resource,
    decision: &Decision,
    version: &str,
) -> Record {
    let subject = format!("{}:{}", resource.kind.as_str().to_lowercase(), resource.name);
    Record::new(&access.tenant, "policy.refuse", subject)
        .ended(Ending::Refused)
        .with("permission", permission.as_str())
        .with("by", decision.by.clone())
        .with("policies", version)
}

fn denied(
    access: &Access,
    permission: Permission,
    resource: &Resource,
    decision: &Decision,
    version: &str,
) -> Error {
    let what = format!(
        "'{}' may not {permission} on {} '{}'",
        access.principal,
        resource.kind.as_str().to_lowercase(),
        resource.name
    );
    let error = match decision.reason {
        Reason::Forbidden => Error::denied(format!("{what}: a policy forbids it")),
        Reason::Failed => Error::denied(format!("{what}: a policy failed, and what fails is refused")),
        _ => Error::denied(format!("{what}: no policy permits it")),
    };
    error
        .with("policy", decision.by.join(", "))
        .with("policies", version.get(..12).unwrap_or(version))
        .hint("ask whoever keeps policies/; `weir policy explain` shows how it is decided")
}

/// Keeps which policies were in force, for the decisions that name their version.
async fn keep(store: &Store, policies: &Policies) -> Result<()> {
    let before = noted_last(store).await?;
    let version = policies.version();
    let subject = format!("policies:{version}");
    if policies.files().is_empty() {
        let Some(gone) = before else { return Ok(()) };
        return audit::append(store, &Record::new(DEFAULT_TENANT, "policy.remove", gone)).await;
    }
    let is_other = before.as_ref() != Some(&subject);
    let files = serde_json::to_string(policies.files()).map_err(|error| {
        Error::internal("cannot keep the policies")
            .caused_by(error)
            .hint("report it")
    })?;
    let record =
        &Record::new(DEFAULT_TENANT, "policy.take", subject).with("policies", policies.names().to_vec());
    let (acting, files) = (store.acting(), files.as_str());
    store
        .write(Scope::Tenant(DEFAULT_TENANT), "keep the policies", |db, _| {
            Box::pin(async move {
                sql::insert(db, DEFAULT_TENANT, version, files).await?;
                if is_other {
                    audit::append_in(db, acting, record).await?;
                }
                Ok(())
            })
        })
        .await
}

/// The version that was in force last, as the audit trail names it; none where policies were removed since.
async fn noted_last(store: &Store) -> Result<Option<String>> {
    let newest = async |action: &str| -> Result<Option<Entry>> {
        let filter = EntryFilter {
            action: Some(action.to_owned()),
            limit: 1,
            ..EntryFilter::default()
        };
        Ok(audit::list(store, DEFAULT_TENANT, &filter)
            .await?
            .into_iter()
            .next())
    };
    let (taken, removed) = (newest("policy.take").await?, newest("policy.remove").await?);
    let removed_at = removed.map_or(0, |entry| entry.number);
    Ok(taken
        .filter(|entry| entry.number > removed_at)
        .map(|entry| entry.subject))
}

/// Every version that was in force, the newest first.
pub async fn history(store: &Store) -> Result<Vec<Version>> {
    let rows = store
        .read(
            Scope::Tenant(DEFAULT_TENANT),
            "list versions of policies",
            |db, _| Box::pin(async move { Ok(sql::versions(db, DEFAULT_TENANT).await?) }),
        )
        .await?;
    rows.into_iter()
        .map(|row| {
            let files: Vec<PolicyFile> = serde_json::from_str(&row.files)
                .map_err(|error| stored_badly("list of policy files", &row.version, error))?;
            Ok(Version {
                version: row.version,
                first_at_ms: row.first_at_ms,
                files: files.into_iter().map(|file| file.path).collect(),
            })
        })
        .collect()
}
