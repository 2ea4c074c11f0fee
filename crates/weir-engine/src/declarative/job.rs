//! A vendor's job: started, asked for until it is done, and removed when it was read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use weir_protocol::spec::{HttpSpec, JobSpec};
use weir_protocol::{Error, Result};

use super::rules::Rules;
use crate::extract::{Path, parse, value_at};
use crate::http::{Answer, Client, Sent};
use crate::interpolate::{Scope, Template, Templates};
use crate::request::RequestPlan;

/// Name under which templates see the job.
pub(super) const JOB: &str = "job";
/// The wait between two questions grows to this many times the first.
const GROWTH_MAX: u32 = 8;

/// A stream's job, compiled.
#[derive(Debug)]
pub(super) struct JobPlan {
    create: RequestPlan,
    poll: RequestPlan,
    delete: Option<RequestPlan>,
    output: BTreeMap<String, Path>,
    done_when: Template,
    failed_when: Template,
    message: Option<Template>,
    every: Duration,
    timeout: Duration,
}

impl JobPlan {
    pub(super) fn new(templates: &Templates, field: &str, http: &HttpSpec, spec: &JobSpec) -> Result<Self> {
        let field = format!("{field}: job");
        let request =
            |name: &str, request| RequestPlan::new(templates, &format!("{field}.{name}"), http, request);
        let template = |name: &str, text: &str| templates.compile(format!("{field}.{name}"), text);
        let delete = spec.delete.as_ref().map(|delete| request("delete", delete));
        let message = spec.message.as_deref().map(|text| template("message", text));
        let output = spec.output.iter();
        Ok(Self {
            create: request("create", &spec.create)?,
            poll: request("poll", &spec.poll)?,
            delete: delete.transpose()?,
            output: output
                .map(|(name, path)| Ok((name.clone(), Path::parse(path)?)))
                .collect::<Result<_>>()?,
            done_when: template("done_when", &spec.done_when)?,
            failed_when: template("failed_when", &spec.failed_when)?,
            message: message.transpose()?,
            every: spec.every.get(),
            timeout: spec.timeout.get(),
        })
    }

    pub(super) fn uses(&self, variable: &str) -> bool {
        self.create.uses(variable)
    }

    /// Starts the job and waits for it; gives what templates may name of it.
    pub(super) async fn run(&self, client: &Client, rules: &Rules, scope: &Scope) -> Result<Value> {
        let created = send(client, rules, &self.create, scope).await?;
        let job = self.fields(&parse(&created.body)?)?;
        let scope = scope.clone().with(JOB, &job);
        let mut waited = Duration::ZERO;
        let mut wait = self.every;
        loop {
            let answer = send(client, rules, &self.poll, &scope).await?;
            let scope = scope.clone().with("response", parse(&answer.body)?);
            if self.done_when.render_bool(&scope)? {
                return Ok(job);
            }
            if self.failed_when.render_bool(&scope)? {
                return Err(self.failure(&scope, &job));
            }
            if waited >= self.timeout {
                return Err(Error::timeout("the source's job was not done in time")
                    .with("job", &job)
                    .with("limit", format!("{} s", self.timeout.as_secs()))
                    .hint("look at the job at the vendor; raise job.timeout if it is always so slow"));
            }
            client.pause(wait).await;
            waited = waited.saturating_add(wait);
            wait = wait.saturating_mul(2).min(self.every.saturating_mul(GROWTH_MAX));
        }
    }

    /// Removes the job. A job that stays there does no harm, so that this fails is only told.
    pub(super) async fn forget(&self, client: &Client, rules: &Rules, scope: &Scope) {
        let Some(delete) = &self.delete else {
            return;
        };
        if let Err(error) = send(client, rules, delete, scope).await {
            tracing::info!(%error, "a job that was read stays at the source");
        }
    }

    fn fields(&self, document: &Value) -> Result<Value> {
        let mut fields = Map::new();
        for (name, path) in &self.output {
            let value = value_at(document, &path.steps);
            if value.is_null() {
                return Err(Error::decode("the answer to the request for a job lacks a field")
                    .with("field", name)
                    .hint("compare the vendor's documentation with `job.output`"));
            }
            fields.insert(name.clone(), value);
        }
        Ok(Value::Object(fields))
    }

    fn failure(&self, scope: &Scope, job: &Value) -> Error {
        let said = self.message.as_ref().map(|message| message.render_text(scope));
        let error = Error::source_failed("the source's job failed").with("job", job);
        let error = match said {
            Some(Ok(said)) if !said.is_empty() => error.with("said", said),
            _ => error,
        };
        error.hint("mend what the source says of it, then run again")
    }
}

async fn send(client: &Client, rules: &Rules, request: &RequestPlan, scope: &Scope) -> Result<Answer> {
    let outgoing = request.build(scope, &[], None)?;
    let classify = |answer: &Answer| rules.classify(answer, scope);
    match client.send(outgoing, &classify).await? {
        Sent::Answer(answer) | Sent::Ignored(answer) | Sent::NotModified(answer) => Ok(answer),
    }
}
