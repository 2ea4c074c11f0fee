//! From one page to the next.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::slices::Slice;
use super::super::template::{Condition, Takes, Text, json_is_true, py_text};
use super::errors::headers_value;
use super::{Injection, Options};
use crate::http::Answer;

enum Strategy {
    Page {
        size: Option<i64>,
        first: i64,
        at_once: bool,
    },
    Offset {
        size: Option<Text>,
        at_once: bool,
    },
    Cursor {
        value: Text,
        stop: Option<Condition>,
        size: Option<i64>,
    },
}

enum Token {
    None,
    /// The token is a path or URL.
    Path,
    Option(Injection),
}

pub(crate) struct Paginator {
    strategy: Strategy,
    size: Option<Injection>,
    token: Token,
}

/// What is known at the end of a page.
pub(crate) struct PageEnd<'p> {
    pub(crate) answer: &'p Answer,
    /// The decoded answer, where it is one JSON document.
    pub(crate) document: Option<&'p Bytes>,
    /// Records before any filter.
    pub(crate) extracted: u64,
    /// Records after filters.
    pub(crate) kept: u64,
    pub(crate) last_record: Option<Value>,
    pub(crate) slice: &'p Slice,
    /// What this page was asked with.
    pub(crate) token: Option<&'p Value>,
    /// How many records it was asked for, where fewer than declared.
    pub(crate) size: Option<i64>,
}

impl Paginator {
    pub(crate) fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Option<Self>> {
        match node.kind() {
            "NoPagination" => return Ok(None),
            "DefaultPaginator" => {}
            _ => return Err(node.unknown("a paginator")),
        }
        let token = match node.get("page_token_option") {
            None => Token::None,
            Some(option) if option.kind() == "RequestPath" => Token::Path,
            Some(option) => Token::Option(Injection::new(&option)?),
        };
        let size = node.get("page_size_option");
        Ok(Some(Self {
            strategy: strategy(env, &node.need("pagination_strategy")?)?,
            size: size.map(|size| Injection::new(&size)).transpose()?,
            token,
        }))
    }

    pub(crate) fn is_offset(&self) -> bool {
        matches!(self.strategy, Strategy::Offset { .. })
    }

    /// The declared size, where it is a plain number.
    pub(crate) fn fixed_size(&self) -> Option<i64> {
        match &self.strategy {
            Strategy::Page { size, .. } | Strategy::Cursor { size, .. } => *size,
            Strategy::Offset { size, .. } => size.as_ref().and_then(|text| text.source().parse().ok()),
        }
    }

    /// A fixed count of records below which the stop condition takes a page for the last.
    pub(crate) fn counts_against(&self) -> Option<i64> {
        let Strategy::Cursor { stop: Some(stop), .. } = &self.strategy else {
            return None;
        };
        let (_, rest) = stop.source().split_once("last_page_size")?;
        let rest = rest.trim_start();
        let rest = rest
            .strip_prefix(['<', '!'])?
            .trim_start_matches('=')
            .trim_start();
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    /// Why pages cannot be asked for again with fewer records; None where they can.
    pub(crate) fn keeps_size(&self) -> Option<&'static str> {
        match (&self.size, &self.token, &self.strategy) {
            (None, ..) => Some("the paginator needs page_size_option"),
            (_, Token::Path, _) => Some("a URL as page token carries the page size already"),
            (.., Strategy::Page { .. }) => Some("a smaller page would shift the numbers of all that follow"),
            (.., Strategy::Offset { size: None, .. } | Strategy::Cursor { size: None, .. }) => {
                Some("the pagination strategy needs page_size")
            }
            _ => None,
        }
    }

    /// Whether deciding takes the last record.
    pub(crate) fn wants_record(&self) -> bool {
        match &self.strategy {
            Strategy::Cursor { value, stop, .. } => {
                value.uses("last_record") || stop.as_ref().is_some_and(|stop| stop.uses("last_record"))
            }
            _ => false,
        }
    }

    pub(crate) fn first(&self) -> Option<Value> {
        match &self.strategy {
            Strategy::Page {
                first, at_once: true, ..
            } => Some(Value::from(*first)),
            Strategy::Offset { at_once: true, .. } => Some(Value::from(0)),
            _ => None,
        }
    }

    /// The path or URL that the token is.
    pub(crate) fn path(&self, token: Option<&Value>) -> Option<String> {
        let token = token.filter(|token| json_is_true(token))?;
        matches!(self.token, Token::Path).then(|| py_text(token))
    }

    /// `size` stands for the declared page size where pages had to be made smaller.
    pub(crate) fn options(&self, env: &Env, token: Option<&Value>, size: Option<i64>) -> Result<Options> {
        let mut options = Options::default();
        if let (Token::Option(injection), Some(token)) = (&self.token, token) {
            injection.put(env, &mut options, token.clone())?;
        }
        if let Some(injection) = &self.size
            && let Some(size) = size.map_or_else(|| self.page_size(env), |size| Ok(Some(size)))?
        {
            injection.put(env, &mut options, Value::from(size))?;
        }
        Ok(options)
    }

    pub(crate) fn page_size(&self, env: &Env) -> Result<Option<i64>> {
        let size = match &self.strategy {
            Strategy::Page { size, .. } | Strategy::Cursor { size, .. } => *size,
            Strategy::Offset { size: Some(text), .. } => {
                let value = text.eval(&env.scope(), Takes::Anything)?;
                Some(value.as_i64().ok_or_else(|| not_a_size(&value))?)
            }
            Strategy::Offset { size: None, .. } => None,
        };
        Ok(size.filter(|size| *size != 0))
    }

    /// The next page's token; None at the end.
    pub(crate) fn next(&self, env: &Env, end: &PageEnd<'_>) -> Result<Option<Value>> {
        let extracted = i64::try_from(end.extracted).unwrap_or(i64::MAX);
        let is_short =
            |size: Option<i64>| extracted == 0 || size.is_some_and(|size| size != 0 && extracted < size);
        match &self.strategy {
            Strategy::Page { size, first, .. } => {
                if is_short(*size) {
                    return Ok(None);
                }
                let last = whole(end.token, "PageIncrement")?;
                Ok(Some(Value::from(last.unwrap_or(*first) + 1)))
            }
            Strategy::Offset { size, .. } => {
                let size = match size {
                    _ if end.size.is_some() => end.size,
                    Some(text) => {
                        let response = response(end, text.uses("response"))?;
                        let scope = env.scope().with_json("response", &response);
                        text.eval(&scope, Takes::Anything)?.as_i64()
                    }
                    None => None,
                };
                if is_short(size) {
                    return Ok(None);
                }
                let last = whole(end.token, "OffsetIncrement")?;
                Ok(Some(Value::from(last.unwrap_or(0) + extracted)))
            }
            Strategy::Cursor { value, stop, size } => {
                cursor(env, end, value, stop.as_ref(), end.size.or(*size))
            }
        }
    }
}

fn cursor(
    env: &Env,
    end: &PageEnd<'_>,
    value: &Text,
    stop: Option<&Condition>,
    size: Option<i64>,
) -> Result<Option<Value>> {
    let uses = |name: &str| value.uses(name) || stop.is_some_and(|stop| stop.uses(name));
    let response = response(end, uses("response"))?;
    let mut headers = headers_value(end.answer);
    if let Some(headers) = headers.as_object_mut() {
        headers.insert("link".to_owned(), links(end.answer));
    }
    let kept = Value::from(end.kept);
    let size = size.map_or(Value::Null, Value::from);
    let record = end.last_record.as_ref();
    let scope = env
        .scope()
        .with_slice(Some(&end.slice.view))
        .with_json("response", &response)
        .with_headers(&headers)
        .with_maybe("last_record", record)
        .with_json("last_page_size", &kept)
        .with_json("page_size", &size);
    if let Some(stop) = stop
        && stop.holds(&scope)?
    {
        return Ok(None);
    }
    let token = value.eval(&scope, Takes::Anything)?;
    Ok(Some(token).filter(json_is_true))
}

/// A list's first element stands for the whole answer, as in the reference.
fn response(end: &PageEnd<'_>, is_used: bool) -> Result<Value> {
    let nothing = || Value::Object(Map::new());
    let Some(document) = end.document.filter(|_| is_used) else {
        return Ok(nothing());
    };
    let value: Value = serde_json::from_slice(document).map_err(|error| {
        Error::decode("the answer is not valid JSON")
            .caused_by(error)
            .hint("check that the URL answers JSON, and the manifest's decoder")
    })?;
    Ok(match value {
        Value::Array(items) => items.into_iter().next().unwrap_or_else(nothing),
        other => other,
    })
}

/// The Link header: `{rel: {url, rel}}`.
fn links(answer: &Answer) -> Value {
    let mut found = Map::new();
    let header = answer.header("link").unwrap_or_default();
    for part in header.split(",<").flat_map(|part| part.split(", <")) {
        let Some((url, rest)) = part.trim().trim_start_matches('<').split_once('>') else {
            continue;
        };
        let mut link = json!({ "url": url });
        let mut name = url.to_owned();
        for parameter in rest.split(';') {
            let Some((key, value)) = parameter.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches(['"', '\'']);
            if let Some(link) = link.as_object_mut() {
                link.insert(key.trim().to_owned(), Value::from(value));
            }
            if key.trim() == "rel" {
                value.clone_into(&mut name);
            }
        }
        found.insert(name, link);
    }
    Value::Object(found)
}

fn whole(token: Option<&Value>, strategy: &str) -> Result<Option<i64>> {
    token
        .map(|token| {
            token.as_i64().ok_or_else(|| {
                Error::spec(format!(
                    "{strategy} was given '{}', which is no whole number",
                    py_text(token)
                ))
                .hint("start_from_page must be a number")
            })
        })
        .transpose()
}

/// What is no template must be a number.
fn plain_size(node: &Node<'_>) -> Result<Option<Text>> {
    let size = node.text("page_size")?;
    let is_bad = |text: &Text| !text.source().contains('{') && text.source().trim().parse::<i64>().is_err();
    match size.as_ref().filter(|text| is_bad(text)) {
        Some(text) => Err(node.manifest.locate(
            &format!("{}.page_size", node.path),
            not_a_size(&Value::from(text.source())),
        )),
        None => Ok(size),
    }
}

fn not_a_size(value: &Value) -> Error {
    Error::spec(format!(
        "the page size is '{}', which is no whole number",
        py_text(value)
    ))
    .hint("check page_size of the paginator, and what config holds for it")
}

fn strategy(env: &Arc<Env>, node: &Node<'_>) -> Result<Strategy> {
    let size = || -> Result<Option<i64>> {
        let Some(text) = node.text("page_size")? else {
            return Ok(None);
        };
        let value = text.eval(&env.scope(), Takes::Anything)?;
        value
            .as_i64()
            .map(Some)
            .ok_or_else(|| node.manifest.locate(&node.path, not_a_size(&value)))
    };
    Ok(match node.kind() {
        "PageIncrement" => Strategy::Page {
            size: size()?,
            first: node.int("start_from_page").unwrap_or(0),
            at_once: node.flag("inject_on_first_request"),
        },
        "OffsetIncrement" => Strategy::Offset {
            size: plain_size(node)?,
            at_once: node.flag("inject_on_first_request"),
        },
        "CursorPagination" => {
            let (value, stop) = (node.need_text("cursor_value")?, node.condition("stop_condition")?);
            let size = size()?;
            let asks = value.uses("page_size") || stop.as_ref().is_some_and(|stop| stop.uses("page_size"));
            if asks && size.is_none() {
                return Err(
                    node.error("a template names page_size, which the pagination strategy does not declare")
                );
            }
            Strategy::Cursor { value, stop, size }
        }
        _ => return Err(node.unknown("a pagination strategy")),
    })
}
