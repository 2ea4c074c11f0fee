//! Asking for a bundle: principal, tenant, input, policies, key, and the intent, before its first step.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;
use weir_protocol::bundle::{Bundle, Recipe};
use weir_protocol::{Error, Result};

use super::desk::{about, closed};
use super::moves::{noted, told};
use super::{Answered, Desk, Kept, Offer, Run, Status, Step, StepStatus, Wanted, rules, sql};
use crate::audit;
use crate::calls::rules::check_key;
use crate::events::{self, Family};
use crate::principals::{Access, Permission, may};
use crate::store::Scope;

/// What became of writing a run down.
pub(super) enum Put {
    New(Run),
    Known(Run),
}

impl Desk {
    /// Asks for a bundle. It is made as far as nobody has to be waited for before this returns.
    pub async fn ask(
        &self,
        access: &Access,
        wanted: &Wanted,
        key: Option<&str>,
        via: &str,
    ) -> Result<Answered> {
        match self.begin(access, wanted, key, via).await? {
            Put::Known(found) => {
                let digest = rules::asked_digest(&wanted.bundle, &wanted.input);
                self.known(found, &digest).await
            }
            Put::New(run) => {
                fail::fail_point!("control.bundle_after_intent", |_| std::process::abort());
                let driven = self.detached(&run.id, Some(run.kept.term)).await;
                let run = driven.map_err(|error| {
                    error
                        .with("run", &run.id)
                        .hint("it goes on: read the run before you ask for it again")
                })?;
                Ok(Answered {
                    run,
                    is_replay: false,
                })
            }
        }
    }

    /// A run that was asked for before, gone on with where nobody does.
    async fn known(&self, found: Run, digest: &str) -> Result<Answered> {
        if found.status.is_over() {
            return rules::replay(found, digest, false);
        }
        let is_at_work = self.is_at_work(&found).await?;
        let answered = rules::replay(found, digest, is_at_work)?;
        let run = self.detached(&answered.run.id, None).await?;
        Ok(Answered { run, ..answered })
    }

    /// What a run would begin with. Sends nothing, keeps nothing.
    pub async fn dry_run(
        &self,
        access: &Access,
        wanted: &Wanted,
        via: &str,
    ) -> Result<(Offer, Map<String, Value>)> {
        let (recipe, input) = self.check(access, wanted, via).await?;
        Ok((Offer::new(recipe.bundle()), input))
    }

    async fn check(
        &self,
        access: &Access,
        wanted: &Wanted,
        via: &str,
    ) -> Result<(Arc<dyn Recipe>, Map<String, Value>)> {
        may(access, Permission::ActionsWrite)?;
        self.calls.refuse_others(access)?;
        let recipe = self.recipes.get(&self.tenant, &wanted.bundle).await?;
        let input = recipe.check(&wanted.input)?;
        let target = about(&wanted.bundle);
        let policies = &self.calls.policies;
        policies
            .check(&self.store, access, Permission::ActionsWrite, &target, via)
            .await?;
        let offer = Offer::new(recipe.bundle());
        let open = self.open_actions(access, via).await?;
        if let Some((step, connection, action)) = closed(&offer, &open) {
            return Err(Error::denied(format!(
                "'{}' may not call the action '{action}' of '{connection}', which the bundle needs",
                access.principal
            ))
            .with("bundle", &wanted.bundle)
            .with("step", step)
            .hint("ask whoever keeps the policies and the rules of approvals; nothing was sent"));
        }
        Ok((recipe, input))
    }

    /// Writes a run down, held by this process.
    pub(super) async fn begin(
        &self,
        access: &Access,
        wanted: &Wanted,
        key: Option<&str>,
        via: &str,
    ) -> Result<Put> {
        key.map_or(Ok(()), check_key)?;
        let (recipe, input) = self.check(access, wanted, via).await?;
        let new = &new_run(access, recipe.bundle(), (wanted, input), (key, via));
        let (scope, acting, owner) = (Scope::Tenant(&new.tenant), self.store.acting(), &self.owner);
        let turn = format!("bundles of {}", new.principal);
        let record = &noted(new, "bundle.ask").with("via", via).with(
            "steps",
            new.steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>(),
        );
        let event = &told(new, Family::BundleStarted);
        self.store
            .write_alone(scope, &turn, "write the bundle's run down", |db, _| {
                Box::pin(async move {
                    let who = (new.tenant.as_str(), new.principal.as_str());
                    if let Some(key) = &new.idempotency_key
                        && let Some(id) = sql::by_key(db, who, key).await?
                        && id != new.id
                        && let Some(found) = sql::get(db, &new.tenant, &id).await?
                    {
                        return Ok(Put::Known(found));
                    }
                    // By a commit whose answer was lost.
                    if let Some(own) = sql::get(db, &new.tenant, &new.id).await? {
                        return Ok(Put::New(own));
                    }
                    sql::insert(db, new, owner).await?;
                    events::append_in(db, event).await?;
                    audit::append_in(db, acting, record).await?;
                    let stored = sql::get(db, &new.tenant, &new.id).await?;
                    Ok(Put::New(stored.ok_or_else(|| super::no_such_run(&new.id))?))
                })
            })
            .await
    }
}

fn new_run(
    access: &Access,
    bundle: &Bundle,
    (wanted, input): (&Wanted, Map<String, Value>),
    (key, via): (Option<&str>, &str),
) -> Run {
    let steps = bundle.spec.steps.iter().zip(&bundle.effects);
    let planned = steps.map(|(step, effect)| Step {
        name: step.name.clone(),
        connection: step.connection.clone(),
        action: step.action.clone(),
        effect: *effect,
        status: StepStatus::Planned,
        call: None,
        attempt: 0,
        compensation: None,
        compensation_call: None,
        compensation_attempt: 0,
        error: None,
        settled_by: None,
        settled_reason: None,
        input: None,
    });
    Run {
        id: Uuid::now_v7().to_string(),
        tenant: access.tenant.clone(),
        bundle: bundle.spec.bundle.clone(),
        effect: bundle.effect(),
        principal: access.principal.clone(),
        idempotency_key: key.map(ToOwned::to_owned),
        input,
        status: Status::Running,
        parked_for: None,
        parked_step: None,
        parked_error: None,
        waits_for: None,
        cancelled_by: None,
        steps: planned.collect(),
        output: None,
        error: None,
        created_at_ms: 0,
        finished_at_ms: None,
        erased_at_ms: None,
        kept: Kept {
            asked_digest: rules::asked_digest(&wanted.bundle, &wanted.input),
            description: bundle.clone(),
            caller: access.clone(),
            via: via.to_owned(),
            is_back: false,
            may_leave: false,
            term: 1,
            is_held: true,
            retried_by: None,
            calls: BTreeMap::new(),
        },
    }
}
