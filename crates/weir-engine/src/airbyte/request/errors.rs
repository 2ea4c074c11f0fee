//! What an answer means by a manifest's error handlers, and how long to wait before another try.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::template::{Condition, Otherwise, Scope, Takes, Text, py_text};
use super::backoff::Backoff;
use crate::http::{Answer, Redactor, retry_after, show_url};

/// Characters of an answer's body that an error shows.
const EXCERPT_CHARS: usize = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Success,
    Fail,
    Retry,
    Ignore,
    RateLimited,
    /// Begin the slice's pages anew.
    Reset,
    /// Get a new token and try again.
    Refresh,
    /// Ask for the same page with fewer records.
    Reduce,
    /// Ask for the halves of the slice's window.
    Split,
}

/// What a handler says about an answer.
pub(super) struct Resolution {
    pub(super) action: Action,
    message: Option<String>,
    is_config: bool,
}

impl Resolution {
    /// What the manifest or the usual reading of the status says about it.
    pub(super) fn said(&self) -> Option<String> {
        self.message.clone()
    }

    pub(super) fn error(&self, answer: &Answer, redactor: &Redactor) -> Error {
        let said = self.message.clone().filter(|message| !message.is_empty());
        let message = said.unwrap_or_else(|| format!("the source answers with status {}", answer.status));
        let error = if self.is_config || matches!(answer.status, 401 | 403) {
            Error::auth(redactor.clean(&message))
        } else {
            Error::source_failed(redactor.clean(&message))
        };
        let error = error
            .with("status", answer.status)
            .with("url", redactor.clean(&show_url(&answer.url)));
        let excerpt = redactor.excerpt(&answer.body, EXCERPT_CHARS);
        let error = if excerpt.is_empty() {
            error
        } else {
            error.with("answer", excerpt)
        };
        error.hint(match answer.status {
            401 | 403 => "check the credential in the connection's settings, and what it may read",
            404 => "check the settings that stand in the request's path",
            _ => "look at the answer; a response filter of the manifest can say what it means",
        })
    }
}

struct Filter {
    action: Option<Action>,
    codes: Vec<u64>,
    contains: Option<String>,
    predicate: Option<Condition>,
    message: Option<Text>,
    is_config: bool,
}

struct One {
    filters: Vec<Filter>,
}

/// One handler, or several that are asked in turn.
pub(super) struct Handler {
    handlers: Vec<One>,
    max_retries: Option<u32>,
    backoffs: Vec<Backoff>,
}

impl Handler {
    pub(super) fn new(env: &Arc<Env>, node: Option<&Node<'_>>) -> Result<Self> {
        let mut handler = Self {
            handlers: Vec::new(),
            max_retries: None,
            backoffs: Vec::new(),
        };
        if let Some(node) = node {
            handler.add(env, node)?;
        }
        if handler.handlers.is_empty() {
            handler.handlers.push(One { filters: Vec::new() });
        }
        Ok(handler)
    }

    fn add(&mut self, env: &Arc<Env>, node: &Node<'_>) -> Result<()> {
        match node.kind() {
            "CompositeErrorHandler" => {
                for below in node.list("error_handlers") {
                    self.add(env, &below)?;
                }
            }
            "DefaultErrorHandler" => {
                if self.handlers.is_empty() {
                    self.max_retries = max_retries(env, node)?;
                }
                let filters = node.list("response_filters");
                let filters = filters.iter().map(filter).collect::<Result<_>>()?;
                self.handlers.push(One { filters });
                for strategy in node.list("backoff_strategies") {
                    self.backoffs.push(Backoff::new(&strategy)?);
                }
            }
            _ => return Err(node.unknown("an error handler")),
        }
        Ok(())
    }

    pub(super) fn uses(&self, action: Action) -> bool {
        let mut filters = self.handlers.iter().flat_map(|handler| &handler.filters);
        filters.any(|filter| filter.action == Some(action))
    }

    pub(super) fn attempts(&self) -> Option<u32> {
        self.max_retries.map(|retries| retries.saturating_add(1))
    }

    pub(super) fn interpret(&self, env: &Env, answer: &Answer) -> Result<Resolution> {
        let mut seen = Seen::new(answer);
        let mut last = None;
        for handler in &self.handlers {
            let found = handler.interpret(env, answer, &mut seen)?;
            let is_final = matches!(
                found.action,
                Action::Success
                    | Action::Retry
                    | Action::Ignore
                    | Action::Reset
                    | Action::Reduce
                    | Action::Split
            );
            if is_final {
                return Ok(found);
            }
            last = Some(found);
        }
        Ok(last.unwrap_or_else(|| usual(answer.status)))
    }

    /// None leaves it to the client, which looks at what vendors customarily send.
    pub(super) fn wait(&self, env: &Env, answer: &Answer, attempt: u32) -> Result<Option<Duration>> {
        for backoff in &self.backoffs {
            let wait = backoff
                .wait(env, answer, attempt)?
                .filter(|seconds| *seconds > 0.0);
            if let Some(seconds) = wait {
                return Ok(Some(Duration::from_secs_f64(seconds.min(86_400.0))));
            }
        }
        Ok(retry_after(answer))
    }
}

/// An answer as templates see it, made only when one asks.
pub(super) struct Seen {
    body: Option<Value>,
    headers: Option<Value>,
}

impl Seen {
    pub(super) fn new(_: &Answer) -> Self {
        Self {
            body: None,
            headers: None,
        }
    }

    pub(super) fn fill(&mut self, answer: &Answer) -> (&Value, &Value) {
        let body = self.body.get_or_insert_with(|| {
            serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::Object(Map::new()))
        });
        let headers = self.headers.get_or_insert_with(|| headers_value(answer));
        (body, headers)
    }
}

/// Header names are in lower case already.
pub(super) fn headers_value(answer: &Answer) -> Value {
    let pairs = answer.headers.iter();
    let pairs = pairs.map(|(name, value)| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), Value::String(text))
    });
    Value::Object(pairs.collect())
}

impl One {
    fn interpret(&self, env: &Env, answer: &Answer, seen: &mut Seen) -> Result<Resolution> {
        for filter in &self.filters {
            let Some(action) = filter.action else { continue };
            if !filter.matches(env, answer, seen)? {
                continue;
            }
            let usual = usual(answer.status);
            let message = match &filter.message {
                Some(message) => {
                    let (body, headers) = seen.fill(answer);
                    Some(
                        message
                            .eval_text(&scope(env, answer, body, headers))
                            .unwrap_or_default(),
                    )
                }
                None => None,
            };
            return Ok(Resolution {
                action,
                message: message.filter(|message| !message.is_empty()).or(usual.message),
                is_config: filter.is_config,
            });
        }
        Ok(usual(answer.status))
    }
}

pub(super) fn scope<'a>(env: &'a Env, _: &Answer, body: &'a Value, headers: &'a Value) -> Scope<'a> {
    env.scope().with_json("response", body).with_headers(headers)
}

impl Filter {
    fn matches(&self, env: &Env, answer: &Answer, seen: &mut Seen) -> Result<bool> {
        if self.codes.contains(&u64::from(answer.status)) {
            return Ok(true);
        }
        if let Some(predicate) = &self.predicate {
            let url = Value::String(show_url(&answer.url));
            let (body, headers) = seen.fill(answer);
            let scope = scope(env, answer, body, headers).with_json("request_url", &url);
            if predicate.holds(&scope)? {
                return Ok(true);
            }
        }
        let Some(part) = &self.contains else {
            return Ok(false);
        };
        let (body, _) = seen.fill(answer);
        Ok(error_message(body).is_some_and(|message| message.contains(part.as_str())))
    }
}

/// Where error answers customarily say what is wrong.
fn error_message(body: &Value) -> Option<String> {
    match body {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().filter_map(error_message).collect();
            (!parts.is_empty()).then(|| parts.join(", "))
        }
        Value::Object(members) => {
            let fields = [
                "message",
                "messages",
                "error",
                "errors",
                "failures",
                "failure",
                "detail",
                "err",
                "error_message",
                "msg",
                "reason",
                "status_message",
            ];
            let found = fields.iter().find_map(|field| {
                members
                    .get(*field)
                    .filter(|value| super::super::template::json_is_true(value))
            });
            found.and_then(error_message)
        }
        _ => None,
    }
}

/// What the reference takes each status for.
fn usual(status: u16) -> Resolution {
    let (action, message) = match status {
        200..=399 => (Action::Success, None),
        400 => (Action::Fail, Some("the request is refused as bad (400)")),
        401 => (Action::Fail, Some("the credential is refused (401)")),
        403 => (Action::Fail, Some("the credential may not do this (403)")),
        404 => (Action::Fail, Some("not found at the source (404)")),
        405 => (Action::Fail, Some("the source knows no such method there (405)")),
        429 => (Action::RateLimited, Some("the source limits the rate (429)")),
        _ => (Action::Retry, Some("the source fails")),
    };
    Resolution {
        action,
        message: message.map(str::to_owned),
        is_config: false,
    }
}

fn max_retries(env: &Arc<Env>, node: &Node<'_>) -> Result<Option<u32>> {
    let Some(text) = node.text("max_retries")? else {
        return Ok(None);
    };
    let value = text.eval(&env.scope(), Takes::Anything)?;
    let number = value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    number
        .and_then(|number| u32::try_from(number).ok())
        .map(Some)
        .ok_or_else(|| node.error(format!("max_retries is no whole number: {}", py_text(&value))))
}

fn filter(node: &Node<'_>) -> Result<Filter> {
    if node.kind() != "HttpResponseFilter" {
        return Err(node.unknown("a response filter"));
    }
    let action = match node.str("action") {
        None => None,
        Some("SUCCESS") => Some(Action::Success),
        Some("FAIL") => Some(Action::Fail),
        Some("RETRY") => Some(Action::Retry),
        Some("IGNORE") => Some(Action::Ignore),
        Some("RATE_LIMITED") => Some(Action::RateLimited),
        Some("RESET_PAGINATION") => Some(Action::Reset),
        Some("REFRESH_TOKEN_THEN_RETRY") => Some(Action::Refresh),
        Some("REDUCE_PAGE_SIZE") => Some(Action::Reduce),
        Some("SPLIT_REQUEST_WINDOW") => Some(Action::Split),
        Some(other) => {
            return Err(node.error(format!(
                "action '{other}' is not known; it may be SUCCESS, FAIL, RETRY, IGNORE, RATE_LIMITED, RESET_PAGINATION, REDUCE_PAGE_SIZE, SPLIT_REQUEST_WINDOW or REFRESH_TOKEN_THEN_RETRY"
            )));
        }
    };
    let codes = node.list("http_codes");
    let codes = codes.iter().filter_map(|code| {
        code.value
            .as_u64()
            .or_else(|| code.value.as_str().and_then(|text| text.parse().ok()))
    });
    Ok(Filter {
        action,
        codes: codes.collect(),
        contains: node
            .str("error_message_contains")
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        predicate: node.condition("predicate")?,
        message: match node.str("error_message") {
            Some(source) => Some(node.template(source, node.parameters(), Otherwise::Text(""))?),
            None => None,
        },
        is_config: node.str("failure_type") == Some("config_error"),
    })
}
