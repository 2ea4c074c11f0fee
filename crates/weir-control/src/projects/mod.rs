//! Projects as code: what a folder says is planned, looked at and applied to the store in one
//! transaction, and given back as a folder.

mod diff;
mod rules;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use weir_protocol::schedule::ScheduleSpec;
use weir_protocol::{Error, ErrorKind, Result};

use crate::audit::{self, Record};
use crate::secrets::Reference;
use crate::store::{Outcome, Scope};
use crate::{Connection, Store, connections, schedules, tenants};

pub use diff::Line;
pub(crate) use diff::lines;
pub use rules::{
    Change, ChangeKind, FOLDERS, FileChange, Files, ObjectKind, PROJECT_FILE, check, difference, digest,
};

/// What was applied last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// 0: nothing was.
    pub version: i64,
    pub digest: String,
    pub applied_at_ms: Option<i64>,
    pub applied_by: Option<String>,
    pub files: Files,
}

/// A connection of the folder that is to be applied.
#[derive(Debug, Clone)]
pub struct WantedConnection {
    pub connection: Connection,
    pub schedule: Option<ScheduleSpec>,
    /// `secret:` references in its file.
    pub references: BTreeSet<String>,
}

/// What a folder says.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub files: Files,
    pub connections: Vec<WantedConnection>,
}

/// As [`Orphan::name`] names the grant of a connection.
pub fn grant_orphan(connection: &str) -> String {
    format!("grant:{connection}")
}

/// Something that would stay behind without anything that leads to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Orphan {
    /// As `--accept-orphans` takes it: `connection:shop`, `secret:shop_token`.
    pub name: String,
    /// What is lost sight of.
    pub what: String,
}

/// The difference between a folder and the store, as it was seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    pub tenant: String,
    /// Of the store: an apply of this plan is refused once it is another one.
    pub base_version: i64,
    /// Of the folder's files: as above.
    pub wanted_digest: String,
    pub changes: Vec<Change>,
    pub orphans: Vec<Orphan>,
}

/// What was applied, or nothing where there was no difference.
pub async fn current(store: &Store, tenant: &str) -> Result<Applied> {
    store
        .read(Scope::Tenant(tenant), "read the applied project", |db, _| {
            Box::pin(async move { Ok(sql::current(db, tenant).await?) })
        })
        .await
}

/// How often the tenant's project was applied: what who serves it looks at.
pub async fn version(store: &Store, tenant: &str) -> Result<i64> {
    store
        .read(Scope::Tenant(tenant), "look at the applied project", |db, _| {
            Box::pin(async move { Ok(sql::version(db, tenant).await?) })
        })
        .await
}

/// Compares a folder with the store. Changes nothing.
pub async fn plan(store: &Store, tenant: &str, wanted: &Wanted) -> Result<Plan> {
    check(&wanted.files)?;
    tenants::get(store, tenant).await?;
    store
        .read(Scope::Tenant(tenant), "plan", |db, _| {
            Box::pin(async move {
                let applied = sql::current(db, tenant).await?;
                plan_in(db, tenant, wanted, &applied).await
            })
        })
        .await
}

async fn plan_in(db: &mut AnyConnection, tenant: &str, wanted: &Wanted, applied: &Applied) -> Outcome<Plan> {
    Ok(Plan {
        tenant: tenant.to_owned(),
        base_version: applied.version,
        wanted_digest: digest(&wanted.files),
        changes: difference(&applied.files, &wanted.files),
        orphans: orphans(db, tenant, wanted, applied).await?,
    })
}

/// Makes the store what the folder says, if both are still what the plan saw. Gives back the version
/// that it has then.
///
/// `accepted` names orphans that are meant, as [`Orphan::name`].
pub async fn apply(store: &Store, plan: &Plan, wanted: &Wanted, accepted: &[String]) -> Result<i64> {
    check(&wanted.files)?;
    if digest(&wanted.files) != plan.wanted_digest {
        return Err(changed("the folder was changed since the plan was made"));
    }
    let tenant = plan.tenant.as_str();
    let record = &Record::new(tenant, "project.apply", "project")
        .with("changes", names(&plan.changes))
        .with("digest", plan.wanted_digest.as_str())
        .with("accepted_orphans", accepted.to_vec());
    let acting = store.acting();
    store
        .write_alone(Scope::Tenant(tenant), "project", "apply the project", |db, _| {
            Box::pin(async move {
                let applied = sql::current(db, tenant).await?;
                if audit::is_noted_in(db, record).await? {
                    // Done by a commit whose answer was lost.
                    return Ok(applied.version);
                }
                if applied.version != plan.base_version {
                    return Err(changed("somebody applied another folder since the plan was made")
                        .with("planned with", plan.base_version)
                        .with("now", applied.version)
                        .into());
                }
                if applied.digest == plan.wanted_digest {
                    return Ok(applied.version);
                }
                refuse_orphans(&orphans(db, tenant, wanted, &applied).await?, accepted)?;
                let version = applied.version + 1;
                let head = (version, plan.wanted_digest.as_str(), acting.principal.as_str());
                sql::put(db, tenant, head, (&applied.files, &wanted.files)).await?;
                // First the record by which this apply knows itself again.
                let mut records = vec![record.clone().with("version", version)];
                records.extend(take_connections(db, tenant, wanted).await?);
                audit::append_all_in(db, acting, &records).await?;
                Ok(version)
            })
        })
        .await
}

fn changed(message: &str) -> Error {
    Error::new(ErrorKind::Conflict, message)
        .hint("run `weir plan` again, look at what it shows now, then apply that")
}

fn names(changes: &[Change]) -> Vec<String> {
    let name = |change: &Change| {
        let sign = match change.change {
            ChangeKind::Added => '+',
            ChangeKind::Changed => '~',
            ChangeKind::Removed => '-',
        };
        format!("{sign}{}:{}", change.kind.as_str(), change.name)
    };
    changes.iter().map(name).collect()
}

fn refuse_orphans(orphans: &[Orphan], accepted: &[String]) -> Result<()> {
    let left: Vec<&Orphan> = orphans
        .iter()
        .filter(|orphan| !accepted.contains(&orphan.name))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = left.iter().map(|orphan| orphan.name.as_str()).collect();
    let names = names.join(",");
    let whats: Vec<&str> = left.iter().map(|orphan| orphan.what.as_str()).collect();
    Err(Error::new(
        ErrorKind::Gate,
        format!("this would leave {} behind", whats.join("; ")),
    )
    .with("orphans", &names)
    .hint(format!(
        "keep the connection's file, or say that it is meant: --accept-orphans {names}"
    )))
}

/// What the change would leave behind: state of connections that go or read something else, grants of connections that
/// go, and secrets that nothing refers to any more.
async fn orphans(
    db: &mut AnyConnection,
    tenant: &str,
    wanted: &Wanted,
    applied: &Applied,
) -> Outcome<Vec<Orphan>> {
    let mut found = Vec::new();
    let stays = |name: &str| {
        wanted
            .connections
            .iter()
            .find(|stays| stays.connection.name == name)
    };
    for path in applied.files.keys() {
        let Some((ObjectKind::Connection, name)) = ObjectKind::of(path) else {
            continue;
        };
        if stays(&name).is_none() {
            let (streams, open) = sql::held(db, tenant, &name).await?;
            found.extend(orphan_of(&name, &streams, open, "it is removed"));
            if sql::has_live_grant(db, tenant, &name).await? {
                found.push(Orphan {
                    what: format!(
                        "the OAuth grant of connection '{name}', which `weir auth logout {name}` gives up at its provider"
                    ),
                    name: grant_orphan(&name),
                });
            }
        }
    }
    for WantedConnection { connection, .. } in &wanted.connections {
        let known = sql::known(db, tenant, &connection.name).await?;
        let Some((connector, source)) = known else {
            continue;
        };
        if connector != connection.connector || source != connection.source {
            let (streams, open) = sql::held(db, tenant, &connection.name).await?;
            let why = format!(
                "it reads {} as {} instead of {connector} as {source}",
                connection.connector, connection.source
            );
            found.extend(orphan_of(&connection.name, &streams, open, &why));
        }
    }
    let used: BTreeSet<&String> = wanted
        .connections
        .iter()
        .flat_map(|one| &one.references)
        .collect();
    for name in own_references(applied) {
        if !used.contains(&name) && sql::has_secret(db, tenant, &name).await? {
            found.push(Orphan {
                what: format!("the secret '{name}', to which nothing refers any more"),
                name: format!("secret:{name}"),
            });
        }
    }
    Ok(found)
}

fn orphan_of(connection: &str, streams: &[String], open: i64, why: &str) -> Option<Orphan> {
    if streams.is_empty() && open == 0 {
        return None;
    }
    let runs = if open == 0 {
        String::new()
    } else {
        format!(" and {open} runs that are not over")
    };
    Some(Orphan {
        name: format!("connection:{connection}"),
        what: format!(
            "the state of {} streams{runs} of connection '{connection}' ({why})",
            streams.len()
        ),
    })
}

/// Names of the store's own secrets that the applied connections refer to.
fn own_references(applied: &Applied) -> BTreeSet<String> {
    let texts = applied.files.iter().filter_map(|(path, text)| {
        matches!(ObjectKind::of(path), Some((ObjectKind::Connection, _))).then_some(text)
    });
    texts.flat_map(|text| references(text)).collect()
}

/// Names of the store's own secrets that a text refers to.
pub fn references(text: &str) -> BTreeSet<String> {
    let is_part =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/' | '#' | ':');
    text.split(|letter: char| !is_part(letter))
        .filter_map(|word| {
            let reference = Reference::parse(word)?;
            let name = reference.to_string();
            reference
                .is_own()
                .then(|| name.strip_prefix("secret:").unwrap_or(&name).to_owned())
        })
        .collect()
}

/// Makes connections known and their schedules what their files say; removes the schedules of those that
/// went.
async fn take_connections(db: &mut AnyConnection, tenant: &str, wanted: &Wanted) -> Outcome<Vec<Record>> {
    let mut records = Vec::new();
    for one in &wanted.connections {
        let connection = Connection {
            tenant: tenant.to_owned(),
            ..one.connection.clone()
        };
        connections::register_in(db, &connection).await?;
        records.extend(schedules::put_in(db, &connection, one.schedule.as_ref()).await?);
    }
    let names: Vec<&str> = wanted
        .connections
        .iter()
        .map(|one| one.connection.name.as_str())
        .collect();
    records.extend(schedules::keep_only_in(db, tenant, &names).await?);
    Ok(records)
}
