//! `errors`: what answers mean before the default decides.

use weir_protocol::spec::{ErrorAction, ErrorRule, FailureKind, HttpSpec};
use weir_protocol::units::Span;
use weir_protocol::{Error, ErrorKind, Result};

use crate::extract::parse;
use crate::http::{Answer, Verdict, show_url};
use crate::interpolate::{Scope, Template, Templates};
use crate::pagination::headers_value;

#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    spec: ErrorRule,
    when: Option<Template>,
}

impl Rules {
    /// A request's own rules, then those of all requests.
    pub(crate) fn new(
        templates: &Templates,
        field: &str,
        specs: &[ErrorRule],
        http: &HttpSpec,
    ) -> Result<Self> {
        let compile = |spec: &ErrorRule| {
            let when = spec.when.as_deref();
            let when = when.map(|when| templates.compile(format!("{field}: errors.when"), when));
            Ok(Rule {
                spec: spec.clone(),
                when: when.transpose()?,
            })
        };
        let specs = specs.iter().chain(&http.errors);
        Ok(Self(specs.map(compile).collect::<Result<_>>()?))
    }

    /// The first rule that applies.
    pub(crate) fn classify(&self, answer: &Answer, scope: &Scope) -> Result<Option<Verdict>> {
        // The answer is parsed once, and only where a condition that is looked at asks for it.
        let mut seen = None;
        for rule in &self.0 {
            if rule.applies(answer, scope, &mut seen)? {
                return Ok(Some(rule.verdict(answer)));
            }
        }
        Ok(None)
    }
}

impl Rule {
    fn applies(&self, answer: &Answer, scope: &Scope, seen: &mut Option<Scope>) -> Result<bool> {
        if !self.spec.status.is_empty() && !self.spec.status.contains(&answer.status) {
            return Ok(false);
        }
        if let Some(text) = &self.spec.contains
            && memchr::memmem::find(&answer.body, text.as_bytes()).is_none()
        {
            return Ok(false);
        }
        let Some(when) = &self.when else {
            return Ok(true);
        };
        if !when.uses("response") {
            let scope = scope.clone().with("headers", headers_value(&answer.headers));
            return when.render_bool(&scope);
        }
        when.render_bool(seen.get_or_insert_with(|| with_answer(answer, scope)))
    }

    fn verdict(&self, answer: &Answer) -> Verdict {
        let wait = self.spec.wait.map(Span::get);
        match self.spec.action {
            ErrorAction::Ignore => Verdict::Ignore,
            ErrorAction::Success => Verdict::Success,
            ErrorAction::Retry => Verdict::Retry { wait },
            ErrorAction::RateLimited => Verdict::RateLimited { wait },
            ErrorAction::Fail => Verdict::Fail(self.failure(answer)),
            ErrorAction::Open => Verdict::Open {
                wait,
                error: self.failure(answer),
            },
        }
    }

    fn failure(&self, answer: &Answer) -> Error {
        let message = self
            .spec
            .message
            .as_deref()
            .unwrap_or("the source answered with an error");
        let kind = match (self.spec.kind, answer.status) {
            (Some(FailureKind::Auth), _) | (None, 401 | 403) => ErrorKind::Auth,
            (Some(FailureKind::Denied), _) => ErrorKind::Denied,
            (Some(FailureKind::NotFound), _) => ErrorKind::NotFound,
            (Some(FailureKind::Usage), _) => ErrorKind::Usage,
            (Some(FailureKind::RateLimited), _) => ErrorKind::RateLimited,
            (Some(FailureKind::Source) | None, _) => ErrorKind::Source,
        };
        Error::new(kind, message)
            .with("status", answer.status)
            .with("url", show_url(&answer.url))
            .hint("mend what the message says, then run again")
    }
}

fn with_answer(answer: &Answer, scope: &Scope) -> Scope {
    // An error page need not be JSON; then a rule's condition sees its text.
    let text = || serde_json::Value::from(String::from_utf8_lossy(&answer.body).into_owned());
    scope
        .clone()
        .with("response", parse(&answer.body).unwrap_or_else(|_| text()))
        .with("headers", headers_value(&answer.headers))
}
