//! Where calls are asked for and carried out, for who has the connections' files.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_protocol::{Error, Result};

use super::{Call, Offer, Vendors, rules, sql};
use crate::approvals::{self, Asked, Decision};
use crate::policies::{InForce, Target};
use crate::principals::{Access, Permission, may};
use crate::store::Scope;
use crate::{Acting, Owner, Store};

/// Calls that are gone on with at once.
const AT_ONCE: usize = 32;

/// The actions of one tenant's connections, behind all that governs them.
#[derive(Clone)]
pub struct Desk {
    pub(super) store: Store,
    pub(super) tenant: String,
    pub(super) vendors: Arc<dyn Vendors>,
    pub(crate) policies: Arc<InForce>,
    pub(crate) owner: Owner,
    work: Arc<Notify>,
}

impl Desk {
    pub fn new(store: &Store, tenant: &str, vendors: Arc<dyn Vendors>, policies: Arc<InForce>) -> Self {
        Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            vendors,
            policies,
            owner: Owner::this_process(),
            work: Arc::new(Notify::new()),
        }
    }

    /// The same for one caller: what is done is noted as theirs.
    #[must_use]
    pub fn acting_as(&self, acting: Acting) -> Self {
        Self {
            store: self.store.acting_as(acting),
            ..self.clone()
        }
    }

    /// The files of a project are those of one tenant.
    pub(crate) fn refuse_others(&self, access: &Access) -> Result<()> {
        if access.tenant == self.tenant {
            return Ok(());
        }
        Err(
            Error::not_found("this server has no files of the tenant's connections")
                .with("tenant", &access.tenant)
                .hint("ask a server that has them"),
        )
    }

    /// What all connections offer. A tenant without files here has none.
    pub async fn offers(&self, access: &Access) -> Result<Vec<Offer>> {
        if access.tenant != self.tenant {
            return Ok(Vec::new());
        }
        self.vendors.offers(&self.tenant).await
    }

    /// What one caller could ask for: what neither policies, nor the connector, nor a rule takes away whatever
    /// the input is. By connection and action, so that one caller sees one order.
    pub async fn permitted(&self, access: &Access, via: &str) -> Result<Vec<Offer>> {
        if may(access, Permission::ActionsWrite).is_err() || access.tenant != self.tenant {
            return Ok(Vec::new());
        }
        let rules = self.vendors.rules(&self.tenant).await?;
        let mut permitted = Vec::new();
        for offer in self.offers(access).await? {
            let asked = Asked {
                access,
                connection: &offer.connection,
                action: &offer.action,
                effect: offer.effect,
                input: &Map::new(),
                declared: offer.approval,
            };
            if !approvals::is_shut(&rules, &asked) && self.allows(access, &offer, via).await? {
                permitted.push(offer);
            }
        }
        permitted
            .sort_by(|one, other| (&one.connection, &one.action).cmp(&(&other.connection, &other.action)));
        Ok(permitted)
    }

    async fn allows(&self, access: &Access, offer: &Offer, via: &str) -> Result<bool> {
        if self.policies.policies().is_empty() {
            return Ok(true);
        }
        let target = Target::Action {
            connection: offer.connection.clone(),
            action: offer.action.clone(),
            effect: offer.effect,
        };
        let permission = Permission::ActionsWrite;
        self.policies
            .allows(&self.store, access, permission, &target, via)
            .await
    }

    /// Decides about a call that waits; the call goes on soon after it is approved.
    pub async fn decide(
        &self,
        access: &Access,
        id: &str,
        decision: &Decision,
    ) -> Result<approvals::Approval> {
        let decided = approvals::decide(&self.store, access, id, decision).await?;
        self.work.notify_one();
        Ok(decided)
    }

    /// Whose doing is noted.
    pub fn acting(&self) -> &Acting {
        self.store.acting()
    }

    /// Goes on with one call, and says how it stands then.
    pub async fn proceed(&self, id: &str) -> Result<Call> {
        let find = || super::find(&self.store, &self.tenant, id);
        let call = find().await?.ok_or_else(|| rules::no_such_call(id))?;
        self.go_on(&call).await?;
        find().await?.ok_or_else(|| rules::no_such_call(id))
    }

    /// Goes on with everything that is due, once. Gives back how many calls there were.
    pub async fn work(&self) -> Result<usize> {
        approvals::expire(&self.store, &self.tenant).await?;
        let due = self.due().await?;
        let count = due.len();
        for call in due {
            self.go_on(&call).await?;
        }
        Ok(count)
    }

    async fn due(&self) -> Result<Vec<Call>> {
        let (tenant, owner) = (self.tenant.as_str(), &self.owner);
        let limit = i64::try_from(4 * AT_ONCE).unwrap_or(i64::MAX);
        self.store
            .read(Scope::Tenant(tenant), "look for calls to go on with", |db, _| {
                Box::pin(async move { Ok(sql::due(db, tenant, owner, limit).await?) })
            })
            .await
    }

    /// Goes on with what is due until it is stopped: calls that were approved, that a process left, that
    /// are to be looked at again.
    pub async fn run(self, poll: Duration, stop: CancellationToken) {
        let mut under_way: HashSet<String> = HashSet::new();
        let mut tasks: JoinSet<String> = JoinSet::new();
        loop {
            if let Err(error) = self.start_due(&mut under_way, &mut tasks).await {
                tracing::error!(%error, "calls cannot be gone on with");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.work.notified() => {}
                () = tokio::time::sleep(poll) => {}
                Some(ended) = tasks.join_next() => forget(ended, &mut under_way),
            }
        }
        // Each ends within its deadline; what is cut off is taken up again by the next process.
        while let Some(ended) = tasks.join_next().await {
            forget(ended, &mut under_way);
        }
    }

    async fn start_due(&self, under_way: &mut HashSet<String>, tasks: &mut JoinSet<String>) -> Result<()> {
        if self.store.fit().is_err() {
            return Ok(());
        }
        approvals::expire(&self.store, &self.tenant).await?;
        if tasks.len() >= AT_ONCE {
            return Ok(());
        }
        for call in self.due().await? {
            if tasks.len() >= AT_ONCE || !under_way.insert(call.id.clone()) {
                continue;
            }
            let desk = self.clone();
            tasks.spawn(async move {
                if let Err(error) = desk.go_on(&call).await {
                    tracing::error!(call = call.id, %error, "the call cannot be gone on with");
                }
                call.id
            });
        }
        Ok(())
    }
}

fn forget(ended: std::result::Result<String, tokio::task::JoinError>, under_way: &mut HashSet<String>) {
    match ended {
        Ok(id) => {
            under_way.remove(&id);
        }
        Err(error) => {
            // Whose it was is not known any more: all are looked at anew.
            under_way.clear();
            tracing::error!(%error, "a task that went on with a call broke off");
        }
    }
}
