//! An action's spec, compiled once per connection.

use std::sync::Arc;
use std::time::Duration;

use jsonschema::Validator;
use serde_json::Value;
use weir_protocol::action::Call;
use weir_protocol::spec::{ActionSpec, HttpSpec, Idempotency, Paginate, Placed};
use weir_protocol::units::Span;
use weir_protocol::{Error, Result};

use super::answer::Output;
use super::input::{self, Input};
use super::local::Local;
use super::lookup::LookupPlan;
use super::prepare::Prepared;
use crate::declarative::Rules;
use crate::extract::Selector;
use crate::http::Outgoing;
use crate::interpolate::{Scope, Templates};
use crate::pagination::{Carried, PageState, Pagination};
use crate::request::{Injection, RequestPlan};

/// A call ends within this where its action does not say.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct ActionPlan {
    pub(super) spec: ActionSpec,
    pub(super) input: Input,
    pub(super) rules: Rules,
    pub(super) output: Output,
    pub(super) lookup: Option<LookupPlan>,
    pub(super) prepare: Vec<Prepared>,
    pub(super) selector: Option<Selector>,
    pub(super) pagination: Pagination,
    pub(super) deadline: Duration,
    /// What is done in place of a request.
    pub(super) local: Option<Arc<dyn Local>>,
    request: RequestPlan,
    output_schema: Option<Validator>,
}

impl ActionPlan {
    pub(super) fn new(templates: &Templates, http: &HttpSpec, spec: &ActionSpec) -> Result<Self> {
        Self::compile(templates, http, spec).map_err(|error| error.with("action", &spec.name))
    }

    fn compile(templates: &Templates, http: &HttpSpec, spec: &ActionSpec) -> Result<Self> {
        let field = format!("action {}", spec.name);
        let lookup = match &spec.idempotency {
            Idempotency::Lookup(lookup) => Some(LookupPlan::new(templates, &field, http, spec, lookup)?),
            _ => None,
        };
        Ok(Self {
            input: Input::new(&spec.input)?,
            prepare: Prepared::all(templates, &field, http, &spec.prepare)?,
            request: RequestPlan::new(templates, &field, http, &spec.request)?,
            rules: Rules::new(templates, &field, &spec.errors, http)?,
            output: Output::new(&spec.output, spec.remote_id.as_deref())?,
            selector: spec.select.as_ref().map(Selector::new).transpose()?,
            pagination: Pagination::new(templates, &field, &spec.paginate)?,
            deadline: spec.deadline.map_or(DEADLINE, Span::get),
            output_schema: spec
                .output_schema
                .as_ref()
                .map(|schema| input::compile(schema, "output_schema"))
                .transpose()?,
            spec: spec.clone(),
            local: None,
            lookup,
        })
    }

    /// Whether its answer is a list of records, page after page.
    pub(super) fn is_list(&self) -> bool {
        self.selector.is_some() || !matches!(self.spec.paginate, Paginate::None)
    }

    /// Refuses an output that is not as callers were told.
    pub(super) fn check_output(&self, output: &Value) -> Result<()> {
        let Some(validator) = &self.output_schema else {
            return Ok(());
        };
        match validator.iter_errors(output).next() {
            None => Ok(()),
            Some(fault) => Err(
                Error::decode("the answer does not give the output that the action declares")
                    .with(
                        "place",
                        format!("output{}", fault.instance_path().as_str().replace('/', ".")),
                    )
                    .with("problem", fault.masked_with("the value").to_string())
                    .hint(
                        "compare the vendor's documentation with `output` and `output_schema` of the action",
                    ),
            ),
        }
    }

    pub(super) fn request(&self, scope: &Scope, call: &Call, page: Option<&PageState>) -> Result<Outgoing> {
        let mut injections = Vec::new();
        if let Idempotency::Body(path) = &self.spec.idempotency {
            injections.push(inject(Placed::Body(path.clone()), call.idempotency_key.clone()));
        }
        let mut url = None;
        if self.is_list() {
            injections.extend(
                self.pagination
                    .size()
                    .into_iter()
                    .map(|(at, value)| Injection { at, value }),
            );
        }
        match page.map(|page| self.pagination.rule().carry(page)) {
            Some(Carried::Put(at, value)) => injections.push(Injection { at, value }),
            Some(Carried::Url(next)) => url = Some(next),
            Some(Carried::Nothing) | None => {}
        }
        let built = self.request.build(scope, &injections, url.as_deref());
        // What a template cannot make of an input is the input's fault, as the spec is tested with others.
        let mut outgoing = built.map_err(blame_input)?;
        if let Idempotency::Header(name) = &self.spec.idempotency {
            outgoing.set_header(name, call.idempotency_key.clone());
        }
        outgoing.repeatable = self.spec.is_repeatable();
        Ok(outgoing)
    }
}

fn inject(at: Placed, value: String) -> Injection {
    Injection {
        at,
        value: Value::String(value),
    }
}

fn blame_input(error: Error) -> Error {
    if error.kind() != weir_protocol::ErrorKind::Template {
        return error;
    }
    let hint = error
        .next_step()
        .unwrap_or("look at the action's request")
        .to_owned();
    Error::usage(format!("this input makes no request: {}", error.message()))
        .caused_by(error)
        .hint(hint)
}
