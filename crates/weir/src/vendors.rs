//! The actions of the project's connections, with their files as they are now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use weir_control::approvals::Rule;
use weir_control::bundles::{self, Recipes};
use weir_control::calls::{Desk, Offer, Vendors};
use weir_control::permits::Urgency;
use weir_control::principals::{self, Access};
use weir_control::{Acting, DEFAULT_TENANT, Store, connections};
use weir_engine::Clock;
use weir_engine::bundle::BundleRecipe;
use weir_engine::native::mcp;
use weir_protocol::action::Actions;
use weir_protocol::bundle::{Bundle, Recipe};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result};

use crate::commands::Context;
use crate::engine::Supplied;
use crate::grants;
use crate::upstream;
use crate::wiring::{Wiring, registered};

/// Files and secrets are looked at again after so long.
const KEPT: Duration = Duration::from_secs(5);

/// A connection's actions, and what they were made of.
struct Kept {
    looked_at: Instant,
    actions: Arc<dyn Actions>,
    made_of: (String, ConnectionSpec),
}

/// Keeps what it made: the quota and the breaker of a connection outlive a call.
pub(crate) struct ProjectVendors {
    context: Arc<Context>,
    store: Store,
    kept: Mutex<BTreeMap<String, Kept>>,
    rules: Mutex<Option<(Instant, Vec<Rule>)>>,
}

impl ProjectVendors {
    pub(crate) fn new(context: Arc<Context>, store: Store) -> Self {
        Self {
            context,
            store,
            kept: Mutex::default(),
            rules: Mutex::default(),
        }
    }

    fn wiring(&self) -> Result<Wiring> {
        Ok(Wiring::open(&self.context)?.over(self.store.clone()))
    }

    fn kept(&self, connection: &str) -> Option<Arc<dyn Actions>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get(connection)?;
        (found.looked_at.elapsed() < KEPT).then(|| found.actions.clone())
    }

    /// What was made before, where it was made of the same; else what is made now.
    fn keep(
        &self,
        name: &str,
        made_of: (String, ConnectionSpec),
        make: impl FnOnce(&ConnectionSpec) -> Result<Arc<dyn Actions>>,
    ) -> Result<Arc<dyn Actions>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.get_mut(name)
            && found.made_of.0 == made_of.0
            && is_same(&found.made_of.1, &made_of.1)
        {
            found.looked_at = Instant::now();
            return Ok(found.actions.clone());
        }
        let actions = make(&made_of.1)?;
        let new = Kept {
            looked_at: Instant::now(),
            actions: actions.clone(),
            made_of,
        };
        kept.insert(name.to_owned(), new);
        Ok(actions)
    }
}

/// Whether two connections say the same, secrets included.
fn is_same(one: &ConnectionSpec, other: &ConnectionSpec) -> bool {
    let values = |connection: &ConnectionSpec| -> Vec<(String, String)> {
        let credential = connection
            .credential
            .iter()
            .flat_map(|credential| &credential.values);
        let named = credential.map(|(name, value)| (name.clone(), value.expose().to_owned()));
        let more = connection
            .secrets
            .iter()
            .map(|value| (String::new(), value.expose().to_owned()));
        named.chain(more).collect()
    };
    json!(one) == json!(other) && values(one) == values(other)
}

#[async_trait]
impl Vendors for ProjectVendors {
    async fn actions(&self, tenant: &str, connection: &str) -> Result<Arc<dyn Actions>> {
        refuse_others(tenant)?;
        if let Some(kept) = self.kept(connection) {
            return Ok(kept);
        }
        let wiring = self.wiring()?;
        let spec = wiring.connection(connection)?;
        let wiring = wiring.with_production(&spec.connector).await?;
        let connector = wiring.connector(&spec)?;
        if !weir_engine::has_actions(connector) {
            return Err(
                Error::not_found(format!("connection '{connection}' has no actions"))
                    .with("connector", connector.key())
                    .hint("`weir action list` shows what connections offer"),
            );
        }
        let resolved = wiring.resolved(&spec).await?;
        let tokens = grants::tokens(&wiring, &resolved).await?;
        // Somebody waits for the answer: calls go before syncs in what the vendor allows.
        let permits = wiring.permits(&spec, Urgency::Interactive).await?;
        connections::register(&self.store, &registered(&spec)).await?;
        // Another consent makes other actions of the same files.
        let account = wiring.account(&resolved).await?;
        let supplied = upstream::supplied(&wiring, &self.store, &spec).await?;
        let recipe = json!({ "spec": connector.spec, "account": account, "tools": supplied.accepted_tools });
        let supplied = Supplied {
            tokens,
            permits,
            account,
            ..supplied
        };
        self.keep(connection, (recipe.to_string(), resolved), |resolved| {
            crate::engine::actions_with(connector, resolved, supplied)
        })
    }

    async fn offers(&self, tenant: &str) -> Result<Vec<Offer>> {
        if tenant != DEFAULT_TENANT {
            return Ok(Vec::new());
        }
        offers(&self.wiring()?).await
    }

    async fn rules(&self, tenant: &str) -> Result<Vec<Rule>> {
        refuse_others(tenant)?;
        {
            let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((read_at, rules)) = rules.as_ref()
                && read_at.elapsed() < KEPT
            {
                return Ok(rules.clone());
            }
        }
        let found = self.context.project()?.file.approvals;
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        *rules = Some((Instant::now(), found.clone()));
        Ok(found)
    }
}

#[async_trait]
impl Recipes for ProjectVendors {
    async fn all(&self, tenant: &str) -> Result<Vec<Arc<dyn Recipe>>> {
        if tenant != DEFAULT_TENANT {
            return Ok(Vec::new());
        }
        let wiring = self.wiring()?;
        let files = wiring.project.bundles(&wiring.catalog)?;
        // One that cannot be read is none; using it says why.
        let usable = files.into_iter().filter_map(|file| file.read.ok());
        usable.map(|bundle| self.compile(bundle)).collect()
    }

    async fn get(&self, tenant: &str, bundle: &str) -> Result<Arc<dyn Recipe>> {
        refuse_others(tenant)?;
        let wiring = self.wiring()?;
        let found = wiring.project.bundle(&wiring.catalog, bundle)?;
        self.compile(found)
    }

    fn compile(&self, bundle: Bundle) -> Result<Arc<dyn Recipe>> {
        Ok(Arc::new(BundleRecipe::new(bundle, &Clock::system())?))
    }
}

fn refuse_others(tenant: &str) -> Result<()> {
    if tenant == DEFAULT_TENANT {
        return Ok(());
    }
    Err(
        Error::not_found("there are no files of the tenant's connections here")
            .with("tenant", tenant)
            .hint("ask a server that has them"),
    )
}

/// What the project's connections offer. One that cannot be read offers nothing; using it says why.
pub(crate) async fn offers(wiring: &Wiring) -> Result<Vec<Offer>> {
    let mut all = Vec::new();
    for (name, path) in wiring.project.connection_files()? {
        let any = |name: &str| Some(name.to_owned());
        let Ok(connection) = wiring.project.read_connection(&path, &any, &|_, _, _| Ok(())) else {
            continue;
        };
        let Ok(connector) = wiring.catalog.get(&connection.connector) else {
            continue;
        };
        let spec = &connector.spec;
        let which = (spec.connector.as_str(), spec.version.as_str());
        let of_server = match mcp::is_of(connector) {
            true => upstream::offered(wiring, &connection).await,
            false => Ok(Vec::new()),
        };
        let of_server = of_server.unwrap_or_else(|error| {
            tracing::warn!(connection = name, %error, "its server's tools are not offered");
            Vec::new()
        });
        let offered = spec.actions.iter().chain(&of_server);
        all.extend(offered.map(|action| Offer::new(&name, which, spec.governance.approval, action)));
    }
    Ok(all)
}

/// Who uses the command line: the principal of `WEIR_TOKEN`, else whoever has the machine.
pub(crate) async fn caller(context: &Context, store: &Store) -> Result<(Access, Acting)> {
    let Some(token) = &context.settings.token else {
        return Ok((Access::command_line(DEFAULT_TENANT), store.acting().clone()));
    };
    let access = principals::authenticate(store, token.expose()).await?;
    let acting = access.acting(None);
    Ok((access, acting))
}

/// A desk of calls for one command.
pub(crate) async fn desk(context: &Arc<Context>, wiring: &Wiring) -> Result<(Access, Desk)> {
    let (access, bundles) = bundle_desk(context, wiring).await?;
    Ok((access, bundles.calls().clone()))
}

/// A desk of bundles, and of the calls that they are made of, for one command.
pub(crate) async fn bundle_desk(context: &Arc<Context>, wiring: &Wiring) -> Result<(Access, bundles::Desk)> {
    let store = wiring.store().await?;
    let (access, acting) = caller(context, &store).await?;
    let store = store.acting_as(acting);
    let vendors = Arc::new(ProjectVendors::new(context.clone(), store.clone()));
    let policies = Arc::new(wiring.in_force().await?);
    let calls = Desk::new(&store, DEFAULT_TENANT, vendors.clone(), policies);
    Ok((access, bundles::Desk::new(&store, DEFAULT_TENANT, calls, vendors)))
}
