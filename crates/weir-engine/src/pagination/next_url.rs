//! The next page's URL at a path in the body.

use serde_json::Value;
use weir_protocol::{Error, Result};

use super::{Carried, PageFacts, PageState, Paginator};
use crate::extract::Path;
use crate::interpolate::Scope;

#[derive(Debug)]
pub(super) struct NextUrl {
    path: Path,
}

impl NextUrl {
    pub(super) fn new(path: &str) -> Result<Self> {
        Ok(Self {
            path: Path::parse(path)?,
        })
    }
}

impl Paginator for NextUrl {
    fn first(&self, _scope: &Scope) -> Result<PageState> {
        Ok(PageState::First)
    }

    fn next(&self, facts: &PageFacts<'_>, _state: &PageState) -> Result<Option<PageState>> {
        let found = facts.document.map(|document| document.value_at(&self.path));
        match found.transpose()?.flatten() {
            None | Some(Value::Null | Value::Bool(false)) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => resolve(facts, &text).map(Some),
            Some(other) => Err(Error::decode(format!("the next page's URL is {other}, not text"))
                .with("path", &self.path)
                .hint("point paginate.path at the URL")),
        }
    }

    fn carry(&self, state: &PageState) -> Carried {
        carry_url(state)
    }
}

pub(super) fn carry_url(state: &PageState) -> Carried {
    match state {
        PageState::Url(url) => Carried::Url(url.clone()),
        _ => Carried::Nothing,
    }
}

/// A URL that may be relative to the answer's own.
pub(super) fn resolve(facts: &PageFacts<'_>, text: &str) -> Result<PageState> {
    let url = facts.url.join(text).map_err(|error| {
        Error::decode("the next page's URL cannot be read")
            .with("url", text)
            .caused_by(error)
            .hint("check paginate: does the API answer a URL there, or a token (by: page_token)?")
    })?;
    Ok(PageState::Url(url.into()))
}
