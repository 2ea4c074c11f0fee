//! One request, from components to answer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use weir_protocol::{Error, Result};

use super::super::auth::Auth;
use super::super::env::{Env, Timeouts};
use super::super::node::Node;
use super::super::slices::Slice;
use super::super::template::{Nested, Otherwise, Scope, Takes, Text, dumps, json_is_true, py_text};
use super::cached;
use super::errors::{Action, Handler};
use super::options::{Mapping, Options};
use super::url;
use crate::http::{Answer, Body, Client, Method, Outgoing, Sent, Verdict};

/// Names of the answers that an export's later requests may look at.
pub(crate) const CREATION: &str = "creation_response";
pub(crate) const POLLING: &str = "polling_response";

/// Times that one request is sent again with another token.
const ROTATIONS_MAX: u32 = 20;

pub(crate) struct Requester {
    env: Arc<Env>,
    url: Text,
    url_base: Text,
    path: Text,
    method: Method,
    params: Option<Mapping>,
    headers: Option<Mapping>,
    data: Option<Mapping>,
    json: Option<Nested>,
    auth: Arc<Auth>,
    handler: Handler,
    client: Client,
    keeps_answers: bool,
    /// The parameter that lists the properties to answer.
    pub(crate) properties_param: Option<String>,
}

/// What one request is about.
#[derive(Default)]
pub(crate) struct Call<'c> {
    pub(crate) slice: Option<&'c Slice>,
    /// `{"next_page_token": …}`.
    pub(crate) token: Option<&'c Value>,
    /// The paginator's own path or URL.
    pub(crate) path: Option<String>,
    pub(crate) options: Options,
    /// Properties to ask for.
    pub(crate) properties: Option<&'c [String]>,
}

pub(crate) enum Outcome {
    Answer(Box<Answer>),
    /// Nothing to read, and no further page.
    Nothing,
    /// The error handler asks to begin the slice's pages anew.
    Reset,
    /// The error handler asks for a new token; the requester itself sends again.
    Refresh,
    /// Another token of several has calls left; the requester itself sends again.
    Rotate,
    /// The error handler asks for the same page with fewer records, and may say why.
    Reduce(Option<String>),
    /// The error handler asks for the halves of the slice's window, and may say why.
    Split(Option<String>),
}

/// A scope with everything that a request's templates may name.
pub(crate) fn extra_scope<'a>(env: &'a Env, slice: Option<&'a Slice>, token: Option<&'a Value>) -> Scope<'a> {
    let mut scope = env.scope().with_slice(slice.map(|slice| &slice.view));
    scope = scope.with_maybe("next_page_token", token);
    let extra = slice.and_then(|slice| slice.view.extra.as_object());
    for (name, value) in extra.into_iter().flatten() {
        scope = match name.as_str() {
            CREATION | POLLING => scope.with_exchange(name, value),
            _ => scope.with_json(name, value),
        };
    }
    scope
}

impl Requester {
    pub(crate) fn new(env: &Arc<Env>, node: &Node<'_>, keeps_answers: bool) -> Result<Self> {
        if node.kind() != "HttpRequester" {
            return Err(node.unknown("a requester"));
        }
        let parameters = node.parameters();
        let mapping = |node: Node<'_>| Mapping::new(&node, parameters);
        let handler = Handler::new(env, node.get("error_handler").as_ref())?;
        let (data, json) = bodies(node)?;
        let properties_param = properties_param(node);
        let params = node.get("request_parameters").map(mapping).transpose()?;
        let params = without(params, properties_param.as_deref());
        Ok(Self {
            url: node.text_or("url", "")?,
            url_base: node.text_or("url_base", "")?,
            path: node.text_or("path", "")?,
            method: method(node)?,
            params,
            headers: node.get("request_headers").map(mapping).transpose()?,
            data,
            json,
            auth: Auth::of(env, node.get("authenticator").as_ref())?,
            client: env.client(handler.attempts(), Timeouts::new(node)?)?,
            handler,
            keeps_answers: keeps_answers || node.flag("use_cache"),
            properties_param,
            env: env.clone(),
        })
    }

    /// One that reads no pages of a stream, and so has none to ask for again in smaller parts.
    pub(crate) fn beside(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let requester = Self::new(env, node, false)?;
        for (is_used, action) in [
            (requester.reduces_pages(), "REDUCE_PAGE_SIZE"),
            (requester.splits_windows(), "SPLIT_REQUEST_WINDOW"),
        ] {
            if is_used {
                return Err(node.error(format!(
                    "the action {action} is only for the requester of a SimpleRetriever"
                )));
            }
        }
        Ok(requester)
    }

    pub(crate) fn method(&self) -> &str {
        self.method.as_str()
    }

    pub(crate) fn reduces_pages(&self) -> bool {
        self.handler.uses(Action::Reduce)
    }

    pub(crate) fn splits_windows(&self) -> bool {
        self.handler.uses(Action::Split)
    }

    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Outcome> {
        let mut may_refresh = true;
        let mut rotations = ROTATIONS_MAX;
        loop {
            let out = self.outgoing(&call).await?;
            if let Some(budget) = &self.env.budget {
                let longest = self.env.longest_wait();
                budget.wait(self.env.timer(), &out, longest).await?;
            }
            let is_kept = self.keeps_answers && matches!(out.method, Method::GET | Method::HEAD);
            let sent = if is_kept {
                cached::send(&self.env, out, |out| {
                    self.exchange(out, may_refresh, rotations > 0)
                })
                .await?
            } else {
                self.exchange(out, may_refresh, rotations > 0).await?
            };
            match sent {
                Outcome::Rotate => {
                    rotations -= 1;
                    continue;
                }
                Outcome::Refresh => self.auth.forget(&self.env).await,
                done => return Ok(done),
            }
            may_refresh = false;
        }
    }

    async fn exchange(&self, out: Outgoing, may_refresh: bool, may_rotate: bool) -> Result<Outcome> {
        let heeds = self.env.budget.is_some() || self.auth.is_rotating();
        let sent = heeds.then(|| out.clone());
        let has_other = || may_rotate && sent.as_ref().is_some_and(|sent| self.auth.has_other(sent));
        let tries = AtomicU32::new(0);
        // What the handler asks for beyond what the client knows.
        let asked = Mutex::new(None);
        let ask = |outcome: Outcome| {
            *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            Verdict::Ignore
        };
        let classify = |answer: &Answer| -> Result<Option<Verdict>> {
            if let (Some(budget), Some(sent)) = (&self.env.budget, &sent) {
                budget.note(self.env.timer(), sent, answer);
            }
            if let Some(sent) = &sent {
                self.auth.note(sent, answer);
            }
            let found = self.handler.interpret(&self.env, answer)?;
            let attempt = tries.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(Some(match found.action {
                Action::Success => Verdict::Success,
                Action::Ignore => Verdict::Ignore,
                Action::Reset => ask(Outcome::Reset),
                Action::Reduce => ask(Outcome::Reduce(found.said())),
                Action::Split => ask(Outcome::Split(found.said())),
                Action::Refresh if may_refresh => ask(Outcome::Refresh),
                Action::Retry | Action::RateLimited if has_other() => ask(Outcome::Rotate),
                Action::Fail | Action::Refresh => Verdict::Fail(found.error(answer, &self.client.redactor())),
                Action::Retry => Verdict::Retry {
                    wait: self.handler.wait(&self.env, answer, attempt)?,
                },
                Action::RateLimited => Verdict::RateLimited {
                    wait: self.handler.wait(&self.env, answer, attempt)?,
                },
            }))
        };
        let answered = self.client.send(out, &classify).await?;
        if let Some(outcome) = asked.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Ok(outcome);
        }
        let (Sent::Answer(answer) | Sent::Ignored(answer) | Sent::NotModified(answer)) = answered;
        // An answer that is let pass although it is an error has nothing to read.
        Ok(if answer.status < 400 {
            Outcome::Answer(Box::new(answer))
        } else {
            Outcome::Nothing
        })
    }

    async fn outgoing(&self, call: &Call<'_>) -> Result<Outgoing> {
        let mut options = self.options(call)?;
        self.auth.sign(&self.env, &mut options).await?;
        options.merge(call.options.clone())?;
        let scope = extra_scope(&self.env, call.slice, call.token);
        let url = self.full_url(call, &scope)?;
        let mut out = Outgoing::new(self.method.clone(), url::with_params(&url, &options.params)?);
        for (name, value) in &options.headers {
            out.headers.push((name.clone(), py_text(value)));
        }
        let takes_body = [Method::GET, Method::POST, Method::PUT, Method::PATCH].contains(&self.method);
        if takes_body {
            out.body = body(options)?;
        }
        self.auth.sign_whole(&self.env, &mut out).await?;
        Ok(out)
    }

    fn full_url(&self, call: &Call<'_>, scope: &Scope<'_>) -> Result<String> {
        let base = self.url_base.eval_text(scope)?;
        let whole = self.url.eval_text(scope)?;
        let path = match &call.path {
            Some(path) if !path.is_empty() => path.clone(),
            _ => self.path.eval_text(scope)?.trim_start_matches('/').to_owned(),
        };
        Ok(match (base.is_empty(), path.is_empty()) {
            (false, _) => url::join(&base, &path),
            (true, false) => url::join(&whole, &path),
            (true, true) => whole,
        })
    }

    /// What the requester itself says.
    fn options(&self, call: &Call<'_>) -> Result<Options> {
        let scope = extra_scope(&self.env, call.slice, call.token);
        let mut options = Options::default();
        if let Some(params) = &self.params
            && let Value::Object(params) = params.eval(&scope, Takes::TextOrList)?
        {
            options.params = params;
        }
        if let (Some(name), Some(properties)) = (&self.properties_param, call.properties) {
            options
                .params
                .insert(name.clone(), Value::String(properties.join(",")));
        }
        if let Some(headers) = &self.headers
            && let Value::Object(headers) = headers.eval(&scope, Takes::Anything)?
        {
            options.headers = headers;
        }
        if let Some(data) = &self.data {
            match data.eval(&scope, Takes::TextOrList)? {
                Value::Object(fields) => options.form = fields,
                Value::String(text) => options.text = Some(text),
                _ => {}
            }
        }
        if let Some(json) = &self.json {
            match json.eval(&scope)? {
                Value::Object(members) => options.json = members,
                Value::Null => {}
                value if !json_is_true(&value) => {}
                _ => {
                    return Err(Error::spec("request_body_json gives no object")
                        .hint("a JSON body is an object; let the template give one"));
                }
            }
        }
        Ok(options)
    }
}

fn method(node: &Node<'_>) -> Result<Method> {
    let name = node.str("http_method").unwrap_or("GET");
    match name {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        "HEAD" => Ok(Method::HEAD),
        "OPTIONS" => Ok(Method::OPTIONS),
        other => Err(node.error(format!("'{other}' is no HTTP method"))),
    }
}

/// Form or text, and JSON, in the older and the newer way of writing them.
fn bodies(node: &Node<'_>) -> Result<(Option<Mapping>, Option<Nested>)> {
    let parameters = node.parameters();
    let nested = |node: &Node<'_>| {
        let text = |source: &str| node.template(source, parameters, Otherwise::Null);
        Nested::new(node.value, &text)
    };
    if let Some(body) = node.get("request_body") {
        let value = body.need("value")?;
        return match body.kind() {
            "RequestBodyUrlEncodedForm" | "RequestBodyPlainText" => {
                Ok((Some(Mapping::new(&value, parameters)?), None))
            }
            "RequestBodyJsonObject" | "RequestBodyGraphQL" => Ok((None, Some(nested(&value)?))),
            _ => Err(body.unknown("a request body")),
        };
    }
    let data = node.get("request_body_data");
    let data = data.map(|data| Mapping::new(&data, parameters)).transpose()?;
    let json = node.get("request_body_json");
    Ok((data, json.as_ref().map(nested).transpose()?))
}

/// The parameter whose value is a QueryProperties component.
fn properties_param(node: &Node<'_>) -> Option<String> {
    let params = node.get("request_parameters")?;
    let found = params
        .members()
        .into_iter()
        .find(|(_, value)| value.kind() == "QueryProperties");
    found.map(|(name, _)| name.to_owned())
}

fn without(params: Option<Mapping>, name: Option<&str>) -> Option<Mapping> {
    match (params, name) {
        (Some(Mapping::Members(mut members)), Some(name)) => {
            members.retain(|(key, _)| key.source() != name);
            Some(Mapping::Members(members))
        }
        (params, _) => params,
    }
}

fn body(options: Options) -> Result<Body> {
    let has_data = !options.form.is_empty() || options.text.as_ref().is_some_and(|text| !text.is_empty());
    if !options.json.is_empty() {
        if has_data {
            return Err(Error::spec("the request has a JSON body and another one")
                .hint("use request_body_json or request_body_data, not both"));
        }
        // Written as the reference writes it: some vendors sign or cache by the very bytes.
        let json = dumps(&Value::Object(options.json), false);
        return Ok(Body::Json(json.into()));
    }
    Ok(match options.text {
        Some(text) if !text.is_empty() => Body::Bare(text),
        _ if !options.form.is_empty() => Body::Form(url::form(&options.form)),
        _ => Body::Empty,
    })
}
