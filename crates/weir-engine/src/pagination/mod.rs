//! The rules that find the next page. Each is pure: answer in, page out. Loop detection and the
//! page limit belong to the caller, so that no rule can forget them.

mod link_header;
mod next_url;
mod offset;
mod page_number;
mod page_token;
mod rounds;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use weir_protocol::spec::{PageSize, Paginate, Placed};
use weir_protocol::{Error, Result};

use crate::extract::Document;
use crate::http::HeaderMap;
use crate::interpolate::{Scope, Templates};

pub use link_header::{Link, parse_links};
pub(crate) use page_token::headers_value;
pub(crate) use rounds::Rounds;

/// What leads to a page; kept in the state while a slice is partly read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageState {
    /// The first page of a rule that needs nothing for it.
    First,
    Number(u64),
    Offset(u64),
    Token(Value),
    Url(String),
}

impl PageState {
    /// Whether it leads to a place in a list, at which other records stand once the list changes. Only
    /// a token that is no count can be the source's own mark; a URL may carry either.
    pub fn is_position(&self) -> bool {
        let is_count = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::First => false,
            Self::Number(_) | Self::Offset(_) | Self::Url(_) | Self::Token(Value::Number(_)) => true,
            Self::Token(Value::String(text)) => is_count(text),
            Self::Token(_) => false,
        }
    }
}

/// What is known of the page just read.
#[derive(Debug, Clone, Copy)]
pub struct PageFacts<'a> {
    /// Records before any filter.
    pub records: u64,
    /// The answer, where it is one JSON document.
    pub document: Option<&'a Document>,
    pub headers: &'a HeaderMap,
    /// Where the answer came from.
    pub url: &'a Url,
    pub last_record: Option<&'a [u8]>,
    /// What templates may name besides `response`, `headers`, `record` and `page`.
    pub scope: &'a Scope,
}

/// What a request carries for its page.
#[derive(Debug, Clone, PartialEq)]
pub enum Carried {
    Nothing,
    Put(Placed, Value),
    /// The whole URL; the stream's parameters are in it already.
    Url(String),
}

pub trait Paginator: fmt::Debug + Send + Sync {
    fn first(&self, scope: &Scope) -> Result<PageState>;

    /// None after the last page.
    fn next(&self, facts: &PageFacts<'_>, state: &PageState) -> Result<Option<PageState>>;

    fn carry(&self, state: &PageState) -> Carried;

    /// The number of records in all, where the answer says it.
    fn total(&self, _facts: &PageFacts<'_>) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// A stream's `paginate`, compiled.
#[derive(Debug, Clone)]
pub struct Pagination {
    rule: Arc<dyn Paginator>,
    size: Option<PageSize>,
}

impl Pagination {
    pub fn new(templates: &Templates, field: &str, spec: &Paginate) -> Result<Self> {
        let field = format!("{field}: paginate");
        let (rule, size): (Arc<dyn Paginator>, _) = match spec {
            Paginate::None => (Arc::new(OnePage), None),
            Paginate::PageNumber { size, .. } => {
                (Arc::new(page_number::PageNumber::new(spec)?), size.clone())
            }
            Paginate::Offset { size, .. } => (Arc::new(offset::Offset::new(spec)?), Some(size.clone())),
            Paginate::PageToken { size, .. } => (
                Arc::new(page_token::PageToken::new(templates, &field, spec)?),
                size.clone(),
            ),
            Paginate::NextUrl { path, size } => (Arc::new(next_url::NextUrl::new(path)?), size.clone()),
            Paginate::LinkHeader { rel, size } => (
                Arc::new(link_header::LinkHeader { rel: rel.clone() }),
                size.clone(),
            ),
        };
        if let Some(size) = &size {
            check_size(size)?;
        }
        Ok(Self { rule, size })
    }

    pub fn rule(&self) -> &dyn Paginator {
        self.rule.as_ref()
    }

    /// Where the page size goes, unless the page's URL has it already.
    pub fn size(&self) -> Vec<(Placed, Value)> {
        let Some(size) = &self.size else {
            return Vec::new();
        };
        let places = [
            size.param.clone().map(Placed::Param),
            size.header.clone().map(Placed::Header),
            size.body.clone().map(Placed::Body),
        ];
        let places = places.into_iter().flatten();
        places.map(|place| (place, Value::from(size.value))).collect()
    }

    /// `page` of templates.
    pub fn scope_value(&self, state: &PageState) -> Value {
        let size = self.size.as_ref().map(|size| size.value);
        match state {
            PageState::First => json!({ "size": size }),
            PageState::Number(number) => json!({ "size": size, "number": number }),
            PageState::Offset(offset) => json!({ "size": size, "offset": offset }),
            PageState::Token(token) => json!({ "size": size, "token": token }),
            PageState::Url(url) => json!({ "size": size, "url": url }),
        }
    }
}

fn check_size(size: &PageSize) -> Result<()> {
    if size.value == 0 {
        return Err(Error::spec("paginate.size.value is 0").hint("ask for at least one record a page"));
    }
    Ok(())
}

/// One page is all there is.
#[derive(Debug)]
struct OnePage;

impl Paginator for OnePage {
    fn first(&self, _scope: &Scope) -> Result<PageState> {
        Ok(PageState::First)
    }

    fn next(&self, _facts: &PageFacts<'_>, _state: &PageState) -> Result<Option<PageState>> {
        Ok(None)
    }

    fn carry(&self, _state: &PageState) -> Carried {
        Carried::Nothing
    }
}

/// A whole number at a path of the answer.
fn number_at(facts: &PageFacts<'_>, path: Option<&crate::extract::Path>) -> Result<Option<u64>> {
    let (Some(path), Some(document)) = (path, facts.document) else {
        return Ok(None);
    };
    Ok(match document.value_at(path)? {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    })
}

/// A rule was built from another rule's spec: a defect.
fn wrong_spec() -> Error {
    Error::internal("a paginator was built from another one's spec").hint("report this as a bug of weir")
}
