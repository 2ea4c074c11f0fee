//! Finds at the vendor what an earlier try of a call left there.

use bytes::Bytes;
use serde_json::Value;
use weir_protocol::action::{Call, Reply};
use weir_protocol::spec::{ActionSpec, HttpSpec, Lookup};
use weir_protocol::{Error, Result};

use super::HttpActions;
use super::answer::Output;
use super::plan::ActionPlan;
use crate::extract::{Selector, parse};
use crate::http::Outgoing;
use crate::interpolate::{Scope, Template, Templates};
use crate::request::RequestPlan;

#[derive(Debug)]
pub(super) struct LookupPlan {
    request: RequestPlan,
    selector: Selector,
    condition: Option<Template>,
    output: Output,
}

impl LookupPlan {
    pub(super) fn new(
        templates: &Templates,
        field: &str,
        http: &HttpSpec,
        action: &ActionSpec,
        lookup: &Lookup,
    ) -> Result<Self> {
        let field = format!("{field}: idempotency.lookup");
        let condition = lookup.condition.as_deref();
        let condition = condition.map(|text| templates.compile(format!("{field}.where"), text));
        let fields = if lookup.output.is_empty() {
            &action.output
        } else {
            &lookup.output
        };
        Ok(Self {
            request: RequestPlan::new(templates, &field, http, &lookup.request)?,
            selector: Selector::new(&lookup.select)?,
            condition: condition.transpose()?,
            output: Output::new(fields, action.remote_id.as_deref())?,
        })
    }

    fn request(&self, scope: &Scope) -> Result<Outgoing> {
        self.request.build(scope, &[], None)
    }

    fn is_it(&self, record: &Value, scope: &Scope) -> Result<bool> {
        match &self.condition {
            None => Ok(true),
            Some(condition) => condition.render_bool(&scope.clone().with("record", record)),
        }
    }
}

pub(super) async fn find(actions: &HttpActions, plan: &ActionPlan, call: &Call) -> Result<Option<Reply>> {
    let Some(lookup) = &plan.lookup else {
        return Err(Error::denied("the action declares no way to look for its effect")
            .with("action", &call.action)
            .hint("find out at the vendor, then settle the call by hand: `weir call settle`"));
    };
    let scope = actions.scope(call);
    let answer = actions.send(plan, lookup.request(&scope)?, &scope).await?;
    let page = lookup.selector.select(Bytes::clone(&answer.body))?;
    for place in &page.records {
        let record = parse(page.json(place))?;
        if lookup.is_it(&record, &scope)? {
            let (output, remote_id) = lookup.output.pick(record);
            return Ok(Some(Reply {
                output,
                remote_id,
                status: answer.status,
            }));
        }
    }
    Ok(None)
}
