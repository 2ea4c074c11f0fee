//! `Link: <…>; rel="next"` (RFC 8288).

use weir_protocol::Result;

use super::next_url::{carry_url, resolve};
use super::{Carried, PageFacts, PageState, Paginator};
use crate::interpolate::Scope;

#[derive(Debug)]
pub(super) struct LinkHeader {
    pub(super) rel: String,
}

impl Paginator for LinkHeader {
    fn first(&self, _scope: &Scope) -> Result<PageState> {
        Ok(PageState::First)
    }

    fn next(&self, facts: &PageFacts<'_>, _state: &PageState) -> Result<Option<PageState>> {
        let headers = facts.headers.get_all("link");
        for header in headers.iter().filter_map(|header| header.to_str().ok()) {
            let links = parse_links(header);
            if let Some(link) = links.iter().find(|link| link.has_rel(&self.rel)) {
                return resolve(facts, &link.target).map(Some);
            }
        }
        Ok(None)
    }

    fn carry(&self, state: &PageState) -> Carried {
        carry_url(state)
    }
}

/// One link of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// As written; may be relative.
    pub target: String,
    /// Names in lower case, in the order they are written.
    pub params: Vec<(String, String)>,
}

impl Link {
    /// Relation types are lists separated by spaces, compared without case; only the first `rel` counts.
    pub fn has_rel(&self, wanted: &str) -> bool {
        let rel = self.params.iter().find(|(name, _)| name == "rel");
        rel.is_some_and(|(_, value)| {
            value
                .split_ascii_whitespace()
                .any(|one| one.eq_ignore_ascii_case(wanted))
        })
    }
}

/// All links of one header line. What cannot be read ends the list, as the RFC's parsing rules do.
pub fn parse_links(header: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while let Some(inside) = rest.strip_prefix('<') {
        let Some((target, after)) = inside.split_once('>') else {
            break;
        };
        let (params, after) = parse_params(after);
        links.push(Link {
            target: target.trim().to_owned(),
            params,
        });
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    links
}

/// `; name=value; name="quoted"` up to the comma that ends the link.
fn parse_params(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut params = Vec::new();
    loop {
        rest = rest.trim_start();
        let Some(after) = rest.strip_prefix(';') else {
            // Anything else before the comma is skipped, so that one bad link does not hide the next.
            return (params, rest.split_once(',').map_or("", |(_, next)| next));
        };
        let after = after.trim_start();
        let name_end = after.find(['=', ';', ',']).unwrap_or(after.len());
        let (name, after) = after.split_at(name_end);
        let name = name.trim().to_ascii_lowercase();
        let (value, after) = match after.strip_prefix('=').map(str::trim_start) {
            None => (String::new(), after),
            Some(after) => match after.strip_prefix('"') {
                Some(quoted) => parse_quoted(quoted),
                None => {
                    let end = after.find([';', ',']).unwrap_or(after.len());
                    let (value, after) = after.split_at(end);
                    (value.trim().to_owned(), after)
                }
            },
        };
        if !name.is_empty() {
            params.push((name, value));
        }
        rest = after;
    }
}

/// The text up to the closing quote, and what follows it.
fn parse_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, text.split_at(at + 1).1),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}
