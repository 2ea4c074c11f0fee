//! How a connector's version comes into production, and out of it: one step at a time, each noted.

mod compat;
mod rules;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::{Error, ErrorKind, Result};

use crate::Store;
use crate::audit::{self, Record};
use crate::store::{Outcome, Scope};

pub use compat::{Finding, Level, compare};
pub use rules::Stage;

/// A version as it is kept.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Version {
    pub connector: String,
    pub version: String,
    /// SHA-256 of its files.
    pub digest: String,
    pub stage: Stage,
    pub created_at_ms: i64,
    pub moved_at_ms: i64,
    pub moved_by: String,
    /// What its newest staged sync found.
    pub staged: Option<Staged>,
    /// The version whose place it took in production.
    pub replaced: Option<String>,
    /// Path in the connector's folder to text.
    #[serde(skip)]
    pub files: BTreeMap<String, String>,
    #[serde(skip)]
    #[schemars(skip)]
    spec: Box<ConnectorSpec>,
}

/// A version that is to be registered.
#[derive(Debug, Clone)]
pub struct NewVersion {
    pub spec: ConnectorSpec,
    pub files: BTreeMap<String, String>,
    pub digest: String,
}

/// What a staged sync found, beside what production has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Staged {
    /// Of the files that were synced with.
    pub digest: String,
    pub connection: String,
    pub run: String,
    pub at_ms: i64,
    pub streams: Vec<StagedStream>,
}

/// One stream of a staged sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StagedStream {
    pub stream: String,
    pub rows: u64,
    /// None: production has no such table yet.
    pub production_rows: Option<u64>,
    /// Keys of production that the new version did not bring.
    pub keys_missing: u64,
    pub keys_new: u64,
    /// Columns of production that are gone or have another type.
    pub columns_lost: Vec<String>,
    pub columns_new: Vec<String>,
    /// Why it did not come to its end.
    pub error: Option<String>,
}

impl StagedStream {
    /// What speaks against production.
    pub fn objections(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(error) = &self.error {
            found.push(format!("{}: {error}", self.stream));
        }
        if self.production_rows.is_some() && self.keys_missing > 0 {
            found.push(format!(
                "{}: {} keys of production are missing",
                self.stream, self.keys_missing
            ));
        }
        if !self.columns_lost.is_empty() {
            found.push(format!(
                "{}: columns lost or changed: {}",
                self.stream,
                self.columns_lost.join(", ")
            ));
        }
        found
    }
}

impl Staged {
    pub fn objections(&self) -> Vec<String> {
        if self.streams.is_empty() {
            return vec!["no stream was synced".to_owned()];
        }
        self.streams.iter().flat_map(StagedStream::objections).collect()
    }
}

/// What a promotion came to.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Promoted {
    pub version: Version,
    /// How it differs from production.
    pub findings: Vec<Finding>,
}

/// All versions of all connectors.
pub async fn list(store: &Store, tenant: &str) -> Result<Vec<Version>> {
    store
        .read(Scope::Tenant(tenant), "list versions of connectors", |db, _| {
            Box::pin(async move { Ok(sql::all(db, tenant).await?) })
        })
        .await
}

/// The versions of one connector, the oldest first.
pub async fn versions(store: &Store, tenant: &str, connector: &str) -> Result<Vec<Version>> {
    store
        .read(Scope::Tenant(tenant), "list the connector's versions", |db, _| {
            Box::pin(async move { Ok(sql::of(db, tenant, connector).await?) })
        })
        .await
}

/// What connections of a connector are to be read with: none where it never came under this lifecycle.
/// Refused where it did and no version is in production.
pub async fn production(store: &Store, tenant: &str, connector: &str) -> Result<Option<Version>> {
    let all = versions(store, tenant, connector).await?;
    if all.is_empty() {
        return Ok(None);
    }
    let found = all.into_iter().find(|version| version.stage == Stage::Production);
    found.map(Some).ok_or_else(|| {
        Error::new(
            ErrorKind::Gate,
            format!("no version of connector '{connector}' is in production"),
        )
        .hint(format!(
            "`weir connector promote {connector}` takes one there, step by step"
        ))
    })
}

/// Moves a version one step on: what is not known yet becomes a draft, a draft approved, and so on.
/// `unstaged` says why no staged sync is needed.
pub async fn promote(
    store: &Store,
    tenant: &str,
    new: &NewVersion,
    unstaged: Option<&str>,
) -> Result<Promoted> {
    let key = new.spec.connector.as_str();
    let base = &Record::new(tenant, "connector.promote", format!("connector:{key}"));
    let seen = &standing(store, tenant, key).await?;
    let acting = store.acting();
    store
        .write_alone(
            Scope::Tenant(tenant),
            &format!("connector {key}"),
            "promote the connector",
            |db, _| {
                Box::pin(async move {
                    let all = sql::of(db, tenant, key).await?;
                    refuse_moved(key, seen, &all)?;
                    let (stage, replaced, findings) = step_of(&all, new, unstaged)?;
                    let place = (tenant, key, new.spec.version.as_str());
                    let by = acting.principal.as_str();
                    if stage == Stage::Draft {
                        sql::put_draft(db, tenant, new, by).await?;
                    } else {
                        if let Some(replaced) = &replaced {
                            let before = (tenant, key, replaced.as_str());
                            sql::set_stage(db, before, Stage::Retired, None, by).await?;
                        }
                        sql::set_stage(db, place, stage, replaced.as_deref(), by).await?;
                    }
                    let version = one(sql::of(db, tenant, key).await?, &new.spec.version)?;
                    let mut record = base
                        .clone()
                        .with("version", new.spec.version.as_str())
                        .with("stage", stage.as_str())
                        .with("digest", new.digest.as_str());
                    if let Some(reason) = unstaged {
                        record = record.with("without_staging", reason);
                    }
                    audit::append_in(db, acting, &record).await?;
                    Ok(Promoted { version, findings })
                })
            },
        )
        .await
}

/// Moves the newest version that is known one step on: for who looks at it from afar. A draft has to come
/// from a project's folder.
pub async fn promote_known(store: &Store, tenant: &str, connector: &str) -> Result<Promoted> {
    let all = versions(store, tenant, connector).await?;
    let newest = all.into_iter().last().ok_or_else(|| {
        Error::not_found(format!(
            "connector '{connector}' has no version under the lifecycle"
        ))
        .hint(format!(
            "`weir connector promote {connector}` in the project's folder makes one known"
        ))
    })?;
    let new = NewVersion {
        spec: *newest.spec,
        files: newest.files,
        digest: newest.digest,
    };
    promote(store, tenant, &new, None).await
}

/// Where the versions stand before a step is taken.
async fn standing(store: &Store, tenant: &str, connector: &str) -> Result<Vec<(String, Stage)>> {
    let all = versions(store, tenant, connector).await?;
    Ok(all
        .into_iter()
        .map(|version| (version.version, version.stage))
        .collect())
}

/// One step is taken from where the versions were seen: by nobody else meanwhile, and not twice where the
/// answer to the first time was lost.
fn refuse_moved(connector: &str, seen: &[(String, Stage)], all: &[Version]) -> Result<()> {
    let is_same = |(version, (number, stage)): (&Version, &(String, Stage))| {
        version.version == *number && version.stage == *stage
    };
    if all.len() == seen.len() && all.iter().zip(seen).all(is_same) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("a version of connector '{connector}' was moved at this moment"),
    )
    .hint("`weir connector show KEY` tells where its versions stand; then go on from there"))
}

/// The next stage, the version whose place is taken there, and how the two differ.
fn step_of(
    all: &[Version],
    new: &NewVersion,
    unstaged: Option<&str>,
) -> Result<(Stage, Option<String>, Vec<Finding>)> {
    let (key, number) = (&new.spec.connector, &new.spec.version);
    let production = all.iter().find(|version| version.stage == Stage::Production);
    let others = production.filter(|version| version.version != *number);
    let findings = match others {
        Some(before) => compat::check((&before.version, &before.spec), (number, &new.spec))?,
        None => compat::parse(number).map(|_| Vec::new())?,
    };
    let Some(known) = all.iter().find(|version| version.version == *number) else {
        return Ok((Stage::Draft, None, findings));
    };
    if known.digest != new.digest {
        if known.stage == Stage::Draft {
            return Ok((Stage::Draft, None, findings));
        }
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "version {number} of connector '{key}' is {} with other files",
                known.stage
            ),
        )
        .hint("raise the version: what was approved changes no more"));
    }
    let next = known.stage.next().ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            format!("version {number} of connector '{key}' is {}", known.stage),
        )
        .hint("raise the version to change it; `weir connector rollback KEY` goes back to the one before")
    })?;
    rules::step(key, number, known.stage, next)?;
    if next != Stage::Production {
        return Ok((next, None, findings));
    }
    if unstaged.is_none() {
        refuse_unstaged(known)?;
    }
    Ok((next, production.map(|before| before.version.clone()), findings))
}

fn refuse_unstaged(known: &Version) -> Result<()> {
    let hint = format!(
        "`weir connector stage {} CONNECTION` syncs it beside production; --without-staging REASON goes without",
        known.connector
    );
    let Some(staged) = known
        .staged
        .as_ref()
        .filter(|staged| staged.digest == known.digest)
    else {
        return Err(Error::new(
            ErrorKind::Gate,
            format!("version {} was never synced in staging", known.version),
        )
        .hint(hint));
    };
    let objections = staged.objections();
    if objections.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Gate,
        format!("the staged sync speaks against it: {}", objections.join("; ")),
    )
    .with("run", &staged.run)
    .hint(hint))
}

fn one(all: Vec<Version>, number: &str) -> Result<Version> {
    let found = all.into_iter().find(|version| version.version == number);
    found.ok_or_else(|| {
        Error::not_found(format!("the connector has no version {number}"))
            .hint("`weir connector show KEY` lists its versions")
    })
}

/// Keeps what a staged sync found. Only a version in staging has one.
pub async fn keep_staged(
    store: &Store,
    tenant: &str,
    (connector, version): (&str, &str),
    staged: &Staged,
) -> Result<()> {
    let objections = staged.objections();
    let record = &Record::new(tenant, "connector.stage", format!("connector:{connector}"))
        .of(&staged.run)
        .with("version", version)
        .with("objections", objections);
    let acting = store.acting();
    store
        .write_alone(
            Scope::Tenant(tenant),
            &format!("connector {connector}"),
            "keep what the staged sync found",
            |db, _| {
                Box::pin(async move {
                    require_staging(&one(sql::of(db, tenant, connector).await?, version)?)?;
                    sql::set_staged(db, (tenant, connector, version), staged).await?;
                    audit::append_in(db, acting, record).await
                })
            },
        )
        .await
}

/// Refuses a version that may not be synced in staging.
pub fn require_staging(version: &Version) -> Result<()> {
    if version.stage == Stage::Staging {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("version {} is {}, not in staging", version.version, version.stage),
    )
    .hint(format!(
        "`weir connector promote {}` moves it on",
        version.connector
    )))
}

/// Puts the version before back into production.
pub async fn rollback(store: &Store, tenant: &str, connector: &str) -> Result<Version> {
    let base = &Record::new(tenant, "connector.rollback", format!("connector:{connector}"));
    let seen = &standing(store, tenant, connector).await?;
    let acting = store.acting();
    store
        .write_alone(
            Scope::Tenant(tenant),
            &format!("connector {connector}"),
            "roll the connector back",
            |db, _| {
                Box::pin(async move {
                    refuse_moved(connector, seen, &sql::of(db, tenant, connector).await?)?;
                    let (now, before) = before_in(db, tenant, connector).await?;
                    rules::step(connector, &now, Stage::Production, Stage::Retired)?;
                    rules::step(connector, &before, Stage::Retired, Stage::Production)?;
                    let by = acting.principal.as_str();
                    sql::set_stage(db, (tenant, connector, &now), Stage::Retired, None, by).await?;
                    sql::set_stage(db, (tenant, connector, &before), Stage::Production, None, by).await?;
                    let version = one(sql::of(db, tenant, connector).await?, &before)?;
                    let record = base.clone().with("from", now).with("to", before);
                    audit::append_in(db, acting, &record).await?;
                    Ok(version)
                })
            },
        )
        .await
}

async fn before_in(db: &mut AnyConnection, tenant: &str, connector: &str) -> Outcome<(String, String)> {
    let all = sql::of(db, tenant, connector).await?;
    if all.is_empty() {
        return Err(Error::not_found(format!(
            "connector '{connector}' has no version under the lifecycle"
        ))
        .hint(format!("`weir connector promote {connector}` makes one known"))
        .into());
    }
    let now = all.into_iter().find(|version| version.stage == Stage::Production);
    let found = now.and_then(|now| Some((now.version, now.replaced?)));
    Ok(found.ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            format!("connector '{connector}' has no version to go back to"),
        )
        .hint("`weir connector show KEY` tells where its versions stand")
    })?)
}
