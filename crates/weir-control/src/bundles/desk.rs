//! Where bundles are asked for and gone on with, for who has the connections' files.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use weir_protocol::{Error, Result};

use super::{Offer, Recipes, Run, sql};
use crate::calls;
use crate::policies::Target;
use crate::principals::{Access, Permission};
use crate::store::Scope;
use crate::{Acting, Owner, Store};

/// Runs that are gone on with at once.
const AT_ONCE: usize = 16;

/// The bundles of one tenant, over the desk of its calls: each step goes the way of every call.
#[derive(Clone)]
pub struct Desk {
    pub(super) store: Store,
    pub(super) tenant: String,
    pub(super) calls: calls::Desk,
    pub(super) recipes: Arc<dyn Recipes>,
    pub(super) owner: Owner,
    /// Runs are let go before their next step once it is cancelled.
    pub(super) stop: CancellationToken,
}

impl Desk {
    pub fn new(store: &Store, tenant: &str, calls: calls::Desk, recipes: Arc<dyn Recipes>) -> Self {
        Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            calls,
            recipes,
            owner: Owner::this_process(),
            stop: CancellationToken::new(),
        }
    }

    /// The same for one caller: what is done is noted as theirs.
    #[must_use]
    pub fn acting_as(&self, acting: Acting) -> Self {
        Self {
            store: self.store.acting_as(acting.clone()),
            calls: self.calls.acting_as(acting),
            ..self.clone()
        }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where the calls of its steps are made.
    pub fn calls(&self) -> &calls::Desk {
        &self.calls
    }

    /// What one caller could ask for: bundles all of whose actions they may call. By name.
    pub async fn permitted(&self, access: &Access, via: &str) -> Result<Vec<Offer>> {
        if access.tenant != self.tenant {
            return Ok(Vec::new());
        }
        let open = self.open_actions(access, via).await?;
        let mut offers = Vec::new();
        for recipe in self.recipes.all(&self.tenant).await? {
            let offer = Offer::new(recipe.bundle());
            if closed(&offer, &open).is_none() && self.allows(access, &offer.bundle, via).await? {
                offers.push(offer);
            }
        }
        offers.sort_by(|one, other| one.bundle.cmp(&other.bundle));
        Ok(offers)
    }

    /// All bundles, whoever may ask for them. By name.
    pub async fn offers(&self, access: &Access) -> Result<Vec<Offer>> {
        if access.tenant != self.tenant {
            return Ok(Vec::new());
        }
        let all = self.recipes.all(&self.tenant).await?;
        let mut offers: Vec<Offer> = all.iter().map(|recipe| Offer::new(recipe.bundle())).collect();
        offers.sort_by(|one, other| one.bundle.cmp(&other.bundle));
        Ok(offers)
    }

    async fn allows(&self, access: &Access, bundle: &str, via: &str) -> Result<bool> {
        let policies = &self.calls.policies;
        if policies.policies().is_empty() {
            return Ok(true);
        }
        policies
            .allows(&self.store, access, Permission::ActionsWrite, &about(bundle), via)
            .await
    }

    pub(super) async fn open_actions(&self, access: &Access, via: &str) -> Result<HashSet<(String, String)>> {
        let offers = self.calls.permitted(access, via).await?;
        Ok(offers
            .into_iter()
            .map(|offer| (offer.connection, offer.action))
            .collect())
    }

    /// Goes on with one run, and says how it stands then. Nothing where another process has it.
    pub async fn proceed(&self, id: &str) -> Result<Run> {
        self.drive(id).await?;
        self.found(id).await
    }

    /// Goes on with one run however its caller is cut off meanwhile.
    pub(super) async fn detached(&self, id: &str, term: Option<i64>) -> Result<Run> {
        let (desk, run) = (self.clone(), id.to_owned());
        let driven = tokio::spawn(async move {
            match term {
                Some(term) => Box::pin(desk.go(&run, term)).await,
                None => desk.drive(&run).await,
            }
        });
        driven.await.map_err(broken)??;
        self.found(id).await
    }

    pub(super) async fn found(&self, id: &str) -> Result<Run> {
        let found = super::find(&self.store, &self.tenant, id).await?;
        found.ok_or_else(|| super::no_such_run(id))
    }

    /// Goes on with everything that is due, once. Gives back how many runs there were.
    pub async fn work(&self) -> Result<usize> {
        let due = self.due().await?;
        for id in &due {
            self.drive(id).await?;
        }
        Ok(due.len())
    }

    async fn due(&self) -> Result<Vec<String>> {
        let (tenant, owner) = (self.tenant.as_str(), &self.owner);
        let limit = i64::try_from(4 * AT_ONCE).unwrap_or(i64::MAX);
        self.store
            .read(
                Scope::Tenant(tenant),
                "look for bundles to go on with",
                |db, _| Box::pin(async move { Ok(sql::due(db, tenant, owner, limit).await?) }),
            )
            .await
    }

    /// Goes on with what is due until it is stopped: runs whose call is over, whose time has come, or that a process
    /// left.
    pub async fn run(mut self, poll: Duration, stop: CancellationToken) {
        self.stop = stop.clone();
        let mut under_way: HashSet<String> = HashSet::new();
        let mut tasks: JoinSet<String> = JoinSet::new();
        loop {
            if let Err(error) = self.start_due(&mut under_way, &mut tasks).await {
                tracing::error!(%error, "bundles cannot be gone on with");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(poll) => {}
                Some(ended) = tasks.join_next() => forget(ended, &mut under_way),
            }
        }
        // Each ends its call and lets its run go; what is cut off is taken up again by the next process.
        while let Some(ended) = tasks.join_next().await {
            forget(ended, &mut under_way);
        }
    }

    async fn start_due(&self, under_way: &mut HashSet<String>, tasks: &mut JoinSet<String>) -> Result<()> {
        if self.store.fit().is_err() {
            return Ok(());
        }
        for id in self.due().await? {
            if tasks.len() >= AT_ONCE || !under_way.insert(id.clone()) {
                continue;
            }
            let desk = self.clone();
            tasks.spawn(async move {
                if let Err(error) = desk.drive(&id).await {
                    tracing::error!(run = id, %error, "the bundle cannot be gone on with");
                }
                id
            });
        }
        Ok(())
    }
}

/// What policies see.
pub(super) fn about(bundle: &str) -> Target {
    Target::Thing(format!("bundles/{bundle}"))
}

/// The first step whose call, or whose compensation, is not open to a caller.
pub(super) fn closed<'a>(
    offer: &'a Offer,
    open: &HashSet<(String, String)>,
) -> Option<(&'a str, String, String)> {
    offer.steps.iter().find_map(|step| {
        let own = Some((step.connection.as_str(), step.action.as_str()));
        let back = step
            .compensation
            .as_ref()
            .and_then(|one| one.of(&step.connection));
        let mut both = own.into_iter().chain(back);
        let shut = both
            .find(|(connection, action)| !open.contains(&((*connection).to_owned(), (*action).to_owned())))?;
        Some((step.name.as_str(), shut.0.to_owned(), shut.1.to_owned()))
    })
}

fn broken(error: JoinError) -> Error {
    Error::internal("what went on with the bundle broke off")
        .caused_by(error)
        .hint("read the run: another process goes on with it")
}

fn forget(ended: std::result::Result<String, JoinError>, under_way: &mut HashSet<String>) {
    match ended {
        Ok(id) => {
            under_way.remove(&id);
        }
        Err(error) => {
            // Whose it was is not known any more: all are looked at anew.
            under_way.clear();
            tracing::error!(%error, "a task that went on with a bundle broke off");
        }
    }
}
