//! Which requests a rule of a manifest is about.

use regex::Regex;
use weir_protocol::{Error, Result};

use super::super::node::Node;
use super::super::template::{Scope, py_text};
use crate::http::Outgoing;

pub(crate) struct Matcher {
    method: Option<String>,
    base: Option<String>,
    path: Option<Regex>,
    params: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    /// How many calls one request counts for.
    weight: usize,
}

impl Matcher {
    pub(crate) fn new(scope: &Scope<'_>, node: &Node<'_>) -> Result<Self> {
        if node.kind() != "HttpRequestRegexMatcher" {
            return Err(node.unknown("a matcher of requests"));
        }
        let pairs = |field: &str| {
            let members = node.get(field).map(|node| node.members()).unwrap_or_default();
            let pair = |(name, value): (&str, Node<'_>)| (name.to_owned(), py_text(value.value));
            members.into_iter().map(pair).collect()
        };
        let path = node.str("url_path_pattern").map(Regex::new).transpose();
        let weight = match node.text("weight")? {
            Some(text) => whole(&node.need("weight")?, &text.eval_text(scope)?)?,
            None => 1,
        };
        Ok(Self {
            method: node.str("method").map(str::to_uppercase),
            base: node
                .str("url_base")
                .map(|base| base.trim_end_matches('/').to_owned()),
            path: path.map_err(|error| regex_refused(node, error))?,
            params: pairs("params"),
            headers: pairs("headers"),
            weight,
        })
    }

    /// The matchers of a field's list.
    pub(crate) fn all(scope: &Scope<'_>, node: &Node<'_>) -> Result<Vec<Self>> {
        let matchers = node.list("matchers");
        matchers.iter().map(|node| Self::new(scope, node)).collect()
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn matches(&self, out: &Outgoing) -> bool {
        let has_param = |(name, value): &(String, String)| {
            out.url
                .query_pairs()
                .any(|(known, there)| known == *name && there == *value)
        };
        let has_header = |(name, value): &(String, String)| {
            out.headers
                .iter()
                .any(|(known, there)| known.eq_ignore_ascii_case(name) && there == value)
        };
        self.method
            .as_ref()
            .is_none_or(|method| out.method.as_str() == method)
            && self
                .base
                .as_ref()
                .is_none_or(|base| out.url[..url::Position::BeforePath] == **base)
            && self
                .path
                .as_ref()
                .is_none_or(|path| path.is_match(out.url.path().trim_end_matches('/')))
            && self.params.iter().all(has_param)
            && self.headers.iter().all(has_header)
    }
}

fn regex_refused(node: &Node<'_>, error: regex::Error) -> Error {
    node.error("url_path_pattern is no regex")
        .caused_by(error)
        .hint("mend the pattern; look-around and back-references are not available")
}

/// A whole number of at least 1.
pub(super) fn whole(node: &Node<'_>, text: &str) -> Result<usize> {
    let number = text.trim().parse::<usize>().ok().filter(|number| *number >= 1);
    number.ok_or_else(|| {
        node.error(format!("'{text}' is no whole number of at least 1"))
            .hint("write the number, or a template that gives one")
    })
}
