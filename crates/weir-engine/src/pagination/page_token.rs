//! A token in the answer's body, in a header, or made by a template.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_protocol::spec::{Paginate, Placed};
use weir_protocol::{Error, Result};

use super::{Carried, PageFacts, PageState, Paginator, wrong_spec};
use crate::extract::{Path, parse};
use crate::http::HeaderMap;
use crate::interpolate::{Scope, Template, Templates};

#[derive(Debug)]
pub(super) struct PageToken {
    request: Placed,
    origin: Origin,
    stop_when: Option<Template>,
    first: Option<Template>,
}

#[derive(Debug)]
enum Origin {
    Body(Path),
    Header(String),
    Made(Template),
}

impl PageToken {
    pub(super) fn new(templates: &Templates, field: &str, spec: &Paginate) -> Result<Self> {
        let Paginate::PageToken {
            request,
            path,
            from_header,
            token,
            stop_when,
            first,
            ..
        } = spec
        else {
            return Err(wrong_spec());
        };
        let compile = |name: &str, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| templates.compile(format!("{field}.{name}"), text))
                .transpose()
        };
        let origin = match (path, from_header, token) {
            (Some(path), None, None) => Origin::Body(Path::parse(path)?),
            (None, Some(header), None) => Origin::Header(header.clone()),
            (None, None, Some(token)) => Origin::Made(templates.compile(format!("{field}.token"), token)?),
            _ => {
                return Err(Error::spec(
                    "paginate by page_token needs exactly one of path, from_header and token",
                )
                .hint("say where the token is, as in path: meta.next"));
            }
        };
        Ok(Self {
            request: request.clone(),
            origin,
            stop_when: compile("stop_when", stop_when)?,
            first: compile("first", first)?,
        })
    }
}

impl Paginator for PageToken {
    fn first(&self, scope: &Scope) -> Result<PageState> {
        let first = self.first.as_ref().map(|first| first.render(scope)).transpose()?;
        Ok(first
            .filter(|token| !is_nothing(token))
            .map_or(PageState::First, PageState::Token))
    }

    fn next(&self, facts: &PageFacts<'_>, state: &PageState) -> Result<Option<PageState>> {
        if let Some(stop) = &self.stop_when
            && stop.render_bool(&answer_scope(facts, state, stop)?)?
        {
            return Ok(None);
        }
        let token = match &self.origin {
            Origin::Body(path) => {
                let found = facts.document.map(|document| document.value_at(path));
                found.transpose()?.flatten()
            }
            Origin::Header(name) => facts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(Value::from),
            Origin::Made(template) => template.render_optional(&answer_scope(facts, state, template)?)?,
        };
        Ok(token.filter(|token| !is_nothing(token)).map(PageState::Token))
    }

    fn carry(&self, state: &PageState) -> Carried {
        match state {
            PageState::Token(token) => Carried::Put(self.request.clone(), token.clone()),
            _ => Carried::Nothing,
        }
    }
}

/// What means "there is no next page".
fn is_nothing(token: &Value) -> bool {
    match token {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// The scope with what the template names of the answer; nothing else of it is parsed.
fn answer_scope(facts: &PageFacts<'_>, state: &PageState, template: &Template) -> Result<Scope> {
    let mut scope = facts.scope.clone();
    if template.uses("response") {
        scope.set(
            "response",
            facts.document.map(|document| parse(&document.body)).transpose()?,
        );
    }
    if template.uses("record") {
        scope.set("record", facts.last_record.map(parse).transpose()?);
    }
    if template.uses("headers") {
        scope.set("headers", headers_value(facts.headers));
    }
    if let PageState::Token(token) = state
        && template.uses("page")
    {
        scope.set(
            "page",
            serde_json::json!({ "token": token, "records": facts.records }),
        );
    } else if template.uses("page") {
        scope.set(
            "page",
            serde_json::json!({ "token": null, "records": facts.records }),
        );
    }
    Ok(scope)
}

/// Header names in lower case to their values.
pub(crate) fn headers_value(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}
