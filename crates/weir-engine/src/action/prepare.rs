//! Requests that go before the one that has the effect, and what they gave for it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use weir_protocol::action::Call;
use weir_protocol::spec::{HttpSpec, Preparation};
use weir_protocol::{Error, Result};

use super::HttpActions;
use super::answer::Output;
use super::plan::ActionPlan;
use crate::extract::parse;
use crate::interpolate::{Scope, Templates};
use crate::request::RequestPlan;

/// Name under which templates see what was prepared.
const PREPARED: &str = "prepared";

/// A preparation, compiled.
#[derive(Debug)]
pub(super) struct Prepared {
    name: String,
    request: RequestPlan,
    fields: Vec<String>,
    output: Output,
}

impl Prepared {
    pub(super) fn all(
        templates: &Templates,
        field: &str,
        http: &HttpSpec,
        specs: &[Preparation],
    ) -> Result<Vec<Self>> {
        let compile = |spec: &Preparation| {
            let field = format!("{field}: prepare.{}", spec.name);
            Ok(Self {
                name: spec.name.clone(),
                request: RequestPlan::new(templates, &field, http, &spec.request)?,
                fields: spec.output.keys().cloned().collect(),
                output: Output::new(&spec.output, None)?,
            })
        };
        specs.iter().map(compile).collect()
    }

    /// What the request gave. A request without output may answer anything.
    fn pick(&self, body: &[u8]) -> Result<Value> {
        if self.fields.is_empty() {
            return Ok(Value::Object(Map::new()));
        }
        let (output, _) = self.output.pick(parse(body)?);
        match self.fields.iter().find(|field| output[field.as_str()].is_null()) {
            None => Ok(output),
            Some(missing) => Err(Error::decode("the answer to a preparing request lacks a field")
                .with("prepare", &self.name)
                .with("field", missing)
                .hint("compare the vendor's documentation with `prepare` of the action")),
        }
    }
}

/// Makes the preparations in their order; each sees what those before it gave.
pub(super) async fn run(
    actions: &HttpActions,
    plan: &ActionPlan,
    call: &Call,
    mut scope: Scope,
) -> Result<Scope> {
    let mut prepared: BTreeMap<&str, Value> = BTreeMap::new();
    for step in &plan.prepare {
        let mut outgoing = step.request.build(&scope, &[], None)?;
        outgoing.repeatable = true;
        let answer = actions.send(plan, call, outgoing, &scope).await?;
        prepared.insert(&step.name, step.pick(&answer.body)?);
        scope.set(PREPARED, &prepared);
    }
    Ok(scope)
}

/// The scope with names in place of what only the vendor knows, as nothing is sent to show a request.
pub(super) fn shown(plan: &ActionPlan, mut scope: Scope) -> Scope {
    let named = |step: &Prepared| {
        let fields = step.fields.iter();
        fields
            .map(|field| (field.clone(), Value::from(format!("<{}.{field}>", step.name))))
            .collect::<Map<_, _>>()
    };
    let prepared = plan.prepare.iter().map(|step| (step.name.as_str(), named(step)));
    let prepared: BTreeMap<&str, Map<String, Value>> = prepared.collect();
    if !prepared.is_empty() {
        scope.set(PREPARED, &prepared);
    }
    scope
}
