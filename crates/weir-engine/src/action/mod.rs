//! Bounded calls at an outside system: what an action's spec says, made into one exact request, sent once, and
//! its answer made into an output. Who may call, and whether it happened before, is decided above.

mod answer;
mod input;
mod local;
mod lookup;
mod pages;
mod plan;
mod prepare;
mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use weir_protocol::action::{Actions, Call, Performed, Reply, Shown};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::{ActionSpec, Approval, ConnectorSpec, Effect};
use weir_protocol::units::ByteSize;
use weir_protocol::{Error, Result};

use crate::catalog::Connector;
use crate::connect::{EngineSettings, client_of};
use crate::fingerprint;
use crate::http::{Answer, Asker, BreakerState, Client, Delivery, Outgoing, Sent};
use crate::interpolate::{Scope, Templates};
pub(crate) use input::Input;
pub(crate) use local::Local;
use plan::ActionPlan;
pub(crate) use show::TEXT_CHARS_MAX;

/// What a vendor's log and ours know a call, or the steps of a bundle, by. A connector may set it to something else.
pub(crate) const CORRELATION_HEADER: &str = "X-Correlation-Id";
/// Larger answers belong into streams; a connection or connector that says `response_max` decides itself.
const ANSWER_BYTES_MAX: ByteSize = ByteSize::mib(16);

/// A connection's actions, compiled. They share one client: its quota, its breaker, its credential.
pub struct HttpActions {
    connection: String,
    connector: (String, String),
    fingerprint: String,
    approval: Approval,
    client: Arc<Client>,
    scope: Scope,
    plans: BTreeMap<String, ActionPlan>,
}

/// Compiles a connector's actions and throws them away: a mistake in one is told before anybody calls it.
pub(crate) fn check_specs(templates: &Templates, spec: &ConnectorSpec) -> Result<()> {
    for action in spec.actions.iter().chain(&crate::rotation::actions(spec)) {
        ActionPlan::new(templates, &spec.http, action)?;
        local::check(action)?;
    }
    Ok(())
}

impl HttpActions {
    /// Validates the connection's settings and compiles its actions. Sends nothing.
    pub fn connect(
        connector: &Connector,
        connection: &ConnectionSpec,
        settings: &EngineSettings,
    ) -> Result<Self> {
        Self::connect_some(connector, connection, settings, &connector.spec.actions)
    }

    /// The same for some actions, which need not be those that the connector offers.
    pub(crate) fn connect_some(
        connector: &Connector,
        connection: &ConnectionSpec,
        settings: &EngineSettings,
        actions: &[ActionSpec],
    ) -> Result<Self> {
        Self::make(connector, connection, settings, actions)
            .map_err(|error| error.with("connection", &connection.connection))
    }

    fn make(
        connector: &Connector,
        connection: &ConnectionSpec,
        settings: &EngineSettings,
        actions: &[ActionSpec],
    ) -> Result<Self> {
        let spec = &connector.spec;
        let templates = Templates::new(&settings.clock);
        let mut bounded = connection.clone();
        let reliability = &mut bounded.reliability;
        let declared = reliability.response_max.or(spec.reliability.response_max);
        reliability.response_max = declared.or(Some(ANSWER_BYTES_MAX));
        let (client, scope) = client_of(spec, &bounded, settings, &templates)?;
        let plans = actions
            .iter()
            .map(|action| {
                let mut plan = ActionPlan::new(&templates, &spec.http, action)?;
                plan.local = local::resolve(action, connection, settings)?;
                Ok((action.name.clone(), plan))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            connection: connection.connection.clone(),
            connector: (spec.connector.clone(), spec.version.clone()),
            fingerprint: fingerprint::of_calls(spec, connection, &settings.account),
            approval: spec.governance.approval,
            client: Arc::new(client),
            scope,
            plans,
        })
    }

    /// Of the system behind the connection, as its own answers told.
    pub fn breaker_state(&self) -> BreakerState {
        self.client.breaker_state()
    }

    async fn exchange(&self, plan: &ActionPlan, call: &Call, delivery: &Delivery) -> Result<Reply> {
        if let Some(local) = &plan.local {
            return local::perform(local.as_ref(), plan, call).await;
        }
        let scope = self.scope(call);
        if plan.is_list() {
            return pages::read(self, plan, call, &scope).await;
        }
        let scope = prepare::run(self, plan, call, scope).await?;
        let mut outgoing = plan.request(&scope, call, None)?;
        outgoing.delivery = delivery.clone();
        let answer = self.send(plan, call, outgoing, &scope).await?;
        // The vendor took it: what cannot be read of its answer leaves open what it did.
        answer::reply(plan, &answer).inspect_err(|_| delivery.leaves_open())
    }

    async fn send(
        &self,
        plan: &ActionPlan,
        call: &Call,
        mut outgoing: Outgoing,
        scope: &Scope,
    ) -> Result<Answer> {
        outgoing.is_interactive = true;
        correlate(&mut outgoing, call);
        outgoing.asker = Asker::Action;
        let delivery = outgoing.delivery.clone();
        let classify = |answer: &Answer| {
            let verdict = plan.rules.classify(answer, scope);
            // A rule that cannot be applied to an answer says nothing of what was done.
            verdict.inspect_err(|_| delivery.leaves_open())
        };
        match self.client.send(outgoing, &classify).await? {
            Sent::Answer(answer) | Sent::Ignored(answer) | Sent::NotModified(answer) => Ok(answer),
        }
    }

    fn plan(&self, action: &str) -> Result<&ActionPlan> {
        self.plans.get(action).ok_or_else(|| {
            let names: Vec<&str> = self.plans.keys().map(String::as_str).collect();
            let error = Error::not_found(format!(
                "connection '{}' has no action '{action}'",
                self.connection
            ));
            match weir_protocol::yaml::closest(action, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("its actions are {}", names.join(", "))),
            }
        })
    }

    fn scope(&self, call: &Call) -> Scope {
        self.scope
            .clone()
            .with("input", &call.input)
            .with("idempotency_key", &call.idempotency_key)
            .with("correlation_id", &call.correlation_id)
    }

    fn named(&self, error: Error, call: &Call) -> Error {
        error
            .with("connection", &self.connection)
            .with("action", &call.action)
    }
}

#[async_trait]
impl Actions for HttpActions {
    fn connector(&self) -> (&str, &str) {
        (&self.connector.0, &self.connector.1)
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn specs(&self) -> Vec<&ActionSpec> {
        self.plans.values().map(|plan| &plan.spec).collect()
    }

    fn spec(&self, action: &str) -> Result<&ActionSpec> {
        Ok(&self.plan(action)?.spec)
    }

    fn approval(&self) -> Approval {
        self.approval
    }

    fn check(&self, action: &str, input: &Map<String, Value>) -> Result<Map<String, Value>> {
        let checked = self.plan(action)?.input.check(input);
        checked.map_err(|error| error.with("connection", &self.connection).with("action", action))
    }

    fn show(&self, call: &Call) -> Result<Shown> {
        let plan = self.plan(&call.action)?;
        if let Some(local) = &plan.local {
            return local.show(call).map_err(|error| self.named(error, call));
        }
        let scope = self.scope(call);
        let built = if plan.is_list() {
            pages::first(plan, call, &scope)
        } else {
            plan.request(&prepare::shown(plan, scope), call, None)
        };
        let mut outgoing = built.map_err(|error| self.named(error, call))?;
        correlate(&mut outgoing, call);
        Ok(show::shown(&outgoing, &self.client.redactor()))
    }

    fn shut(&self, action: &str) -> Option<Error> {
        let plan = self.plans.get(action).filter(|plan| plan.local.is_none())?;
        let error = self.client.shut()?;
        Some(
            error
                .with("connection", &self.connection)
                .with("action", &plan.spec.name),
        )
    }

    async fn perform(&self, call: &Call) -> Performed {
        let delivery = Delivery::default();
        let plan = match self.plan(&call.action) {
            Ok(plan) => plan,
            Err(error) => return Performed::Failed(error),
        };
        let limit = plan.deadline;
        let told = match tokio::time::timeout(limit, self.exchange(plan, call, &delivery)).await {
            Ok(told) => told,
            Err(_) => Err(too_late(limit)),
        };
        match told {
            Ok(reply) => Performed::Done(reply),
            Err(error) => {
                let error = self.named(error, call);
                if delivery.may_have_arrived() && plan.spec.effect != Effect::Read {
                    Performed::Uncertain(error)
                } else {
                    Performed::Failed(error)
                }
            }
        }
    }

    async fn look_up(&self, call: &Call) -> Result<Option<Reply>> {
        let plan = self.plan(&call.action)?;
        let found = tokio::time::timeout(plan.deadline, lookup::find(self, plan, call));
        let found = found.await.unwrap_or_else(|_| Err(too_late(plan.deadline)));
        found.map_err(|error| self.named(error, call))
    }
}

fn correlate(outgoing: &mut Outgoing, call: &Call) {
    let mut names = outgoing.headers.iter().map(|(name, _)| name);
    if !names.any(|name| name.eq_ignore_ascii_case(CORRELATION_HEADER)) {
        outgoing.set_header(CORRELATION_HEADER, call.correlation_id.clone());
    }
}

fn too_late(limit: Duration) -> Error {
    Error::timeout("the call did not end in time")
        .with("limit", format!("{} s", limit.as_secs()))
        .hint("look at the vendor's status page; raise the action's `deadline` if it is always so slow")
}
