//! Exchanging a secret's value while connections use it: the new one is tried first, and the old one kept
//! until the runs that hold it have ended.

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use weir_protocol::{Error, ErrorKind, Result, Secret};

use super::renewal::{Ender, Renewed, Succession};
use super::{Secrets, check_name, check_value, no_such_secret, own, sql};
use crate::audit::{self, Ending};
use crate::events::{self, Event, Family};
use crate::runs::{self, RunFilter};
use crate::store::Scope;
use crate::{RunStatus, Store};

/// What ends within this time is told.
const WARN_MS: i64 = 24 * 3_600_000;
/// More runs than this do not run at once.
const RUNS_MAX: u32 = 10_000;

/// A value that was exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotation {
    pub id: String,
    pub secret: String,
    /// Those that use it: each of them was tried with the new value.
    pub connections: Vec<String>,
    pub principal: String,
    pub rotated_at_ms: i64,
    /// When the old value was removed; None while runs may hold it.
    pub ended_at_ms: Option<i64>,
}

fn previous(id: &str) -> String {
    format!("previous/{id}")
}

impl Secrets {
    /// Puts a new value in the place of the old one, if `check` says that the connections work with it.
    pub async fn exchange(
        &self,
        name: &str,
        new: &Secret,
        connections: &[String],
        check: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<Rotation> {
        self.succeed(name, new, connections, None, check).await
    }

    /// The same with a value that a vendor made, which brings its id there, and its end.
    pub async fn exchange_renewed(
        &self,
        name: &str,
        renewed: &Renewed,
        connections: &[String],
        ended_by: Option<Ender<'_>>,
        check: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<Rotation> {
        let succession = Succession { renewed, ended_by };
        let value = &renewed.value;
        self.succeed(name, value, connections, Some(succession), check)
            .await
    }

    async fn succeed(
        &self,
        name: &str,
        new: &Secret,
        connections: &[String],
        succession: Option<Succession<'_>>,
        check: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<Rotation> {
        check_name(name)?;
        check_value(new)?;
        let tenant = self.tenant.as_str();
        let before = self
            .store
            .read(self.scope(), "look at the secret", |db, _| {
                Box::pin(async move { Ok(sql::get(db, tenant, name).await?) })
            })
            .await?;
        let before = before.ok_or_else(|| no_such_secret(name, &[]))?.version;
        if let Err(error) = check().await {
            let refused = self.noted("secret.exchange", name).ended(Ending::Refused);
            audit::append(&self.store, &refused.with("connections", connections.join(" "))).await?;
            let message = format!("the new value of '{name}' does not work; the old one stays");
            let hint = error.next_step().unwrap_or("check the new value").to_owned();
            return Err(Error::new(error.kind(), message).caused_by(error).hint(hint));
        }
        self.swap((name, before), new, connections, succession.as_ref())
            .await
    }

    async fn swap(
        &self,
        (name, before): (&str, i64),
        new: &Secret,
        connections: &[String],
        succession: Option<&Succession<'_>>,
    ) -> Result<Rotation> {
        let (id, new_id) = (&Uuid::now_v7().to_string(), &Uuid::now_v7().to_string());
        let record = &self
            .noted("secret.exchange", name)
            .with("connections", connections.join(" "))
            .with("rotation", id.as_str());
        let told = &connections
            .iter()
            .map(|connection| {
                Event::of_connection(&self.tenant, Family::CredentialRotated, connection)
                    .with("credential", name)
            })
            .chain([replaced(&self.tenant, name)])
            .collect::<Vec<_>>();
        let (tenant, acting) = (self.tenant.as_str(), self.store.acting());
        let users = &serde_json::to_string(connections).map_err(|error| {
            Error::internal("cannot write a list of connections")
                .caused_by(error)
                .hint("report it")
        })?;
        let doing = "exchange the secret";
        self.store
            .write_alone(self.scope(), &format!("secret {name}"), doing, |db, _| {
                Box::pin(async move {
                    if let Some(done) = sql::rotation(db, tenant, id).await? {
                        // By a commit whose answer was lost.
                        return Ok(done.shown()?);
                    }
                    let row = sql::get(db, tenant, name).await?;
                    let row = row
                        .filter(|row| row.version == before)
                        .ok_or_else(|| changed(name))?;
                    let old = self.opened(&row)?;
                    self.put_in(db, &previous(id), id, &old).await?;
                    self.put_in(db, name, new_id, new).await?;
                    sql::expires(db, tenant, name, None).await?;
                    self.succeed_in(db, name, id, succession).await?;
                    sql::insert_rotation(db, (tenant, id, name), (users, &acting.principal)).await?;
                    for event in told {
                        events::append_in(db, event).await?;
                    }
                    let row = sql::rotation(db, tenant, id)
                        .await?
                        .ok_or_else(|| changed(name))?;
                    audit::append_in(db, acting, record).await?;
                    Ok(row.shown()?)
                })
            })
            .await
    }
}

impl Secrets {
    /// Notes when a value ends: people are told a day before.
    pub async fn expires(&self, name: &str, at_ms: i64) -> Result<()> {
        check_name(name)?;
        let record = &self.noted("secret.expires", name).with("at_ms", at_ms);
        let (tenant, acting) = (self.tenant.as_str(), self.store.acting());
        self.store
            .write(self.scope(), "note the secret's end", |db, _| {
                Box::pin(async move {
                    sql::expires(db, tenant, name, Some(at_ms)).await?;
                    audit::append_in(db, acting, record).await
                })
            })
            .await
    }
}

/// Tells of values that end within a day, once each. Needs no key. Gives back how many.
pub(super) async fn tell_ending(store: &Store, tenant: &str) -> Result<usize> {
    let ending = store
        .read(Scope::Tenant(tenant), "look for secrets that end", |db, _| {
            Box::pin(async move { Ok(sql::ending(db, tenant, WARN_MS).await?) })
        })
        .await?;
    for (name, at_ms) in &ending {
        let event = &Event::new(tenant, Family::CredentialExpiring, format!("secret:{name}"))
            .with("connection", format!("secret:{name}"))
            .with("credential", name.as_str())
            .with("expires_at_ms", *at_ms);
        store
            .write(Scope::Tenant(tenant), "tell that a secret ends", |db, _| {
                Box::pin(async move {
                    if sql::warned(db, tenant, name).await? {
                        events::append_in(db, event).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        tracing::warn!(
            secret = name.as_str(),
            at_ms,
            "a secret's value ends soon: `weir auth rotate`"
        );
    }
    Ok(ending.len())
}

/// Looks after secrets until it is stopped: old values go, and what ends is told.
pub async fn keep(store: Store, tenant: String, every: Duration, stop: CancellationToken) {
    loop {
        let looked = async {
            tell_ending(&store, &tenant).await?;
            end_rotations(&store, &tenant).await
        };
        if let Err(error) = looked.await {
            tracing::warn!(%error, "cannot look after the secrets");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// The event of another value, about the secret itself: what was said of its end is over.
pub(super) fn replaced(tenant: &str, name: &str) -> Event {
    let subject = format!("secret:{name}");
    Event::new(tenant, Family::CredentialRotated, subject.clone())
        .with("connection", subject)
        .with("credential", name)
}

fn changed(name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("secret '{name}' was changed while the new value was tried"),
    )
    .hint("look at `weir secret list`, and rotate it again if that is still right")
}

/// The exchanges of a tenant, the newest first.
pub async fn rotations(store: &Store, tenant: &str) -> Result<Vec<Rotation>> {
    store
        .read(Scope::Tenant(tenant), "list the rotations", |db, _| {
            Box::pin(async move {
                let rows = sql::rotations(db, tenant).await?;
                rows.into_iter()
                    .map(|row| row.shown().map_err(Into::into))
                    .collect()
            })
        })
        .await
}

/// Removes old values that no run holds any more. Needs no key. Gives back how many are still held.
pub async fn end_rotations(store: &Store, tenant: &str) -> Result<usize> {
    let waiting: Vec<Rotation> = rotations(store, tenant).await?;
    let waiting: Vec<&Rotation> = waiting.iter().filter(|one| one.ended_at_ms.is_none()).collect();
    if waiting.is_empty() {
        return Ok(0);
    }
    let filter = RunFilter {
        status: Some(RunStatus::Running),
        limit: RUNS_MAX,
        ..RunFilter::default()
    };
    let running = runs::list(store, tenant, &filter).await?;
    let mut held = 0;
    for rotation in waiting {
        let holds = |run: &runs::Run| {
            rotation.connections.contains(&run.connection) && run.created_at_ms <= rotation.rotated_at_ms
        };
        if running.iter().any(holds) {
            held += 1;
            continue;
        }
        let (id, name) = (rotation.id.as_str(), previous(&rotation.id));
        let record = &audit::Record::new(
            tenant,
            "secret.exchange_ended",
            format!("secret:{}", rotation.secret),
        );
        let (name, acting) = (&name, store.acting());
        store
            .write(Scope::Tenant(tenant), "remove an old value", |db, _| {
                Box::pin(async move {
                    if sql::end_rotation(db, tenant, id).await? {
                        own::remove_in(db, tenant, name).await?;
                        audit::append_in(db, acting, record).await?;
                    }
                    Ok(())
                })
            })
            .await?;
    }
    Ok(held)
}
