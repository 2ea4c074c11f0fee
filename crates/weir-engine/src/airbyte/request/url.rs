//! URLs as the reference joins them, and query strings as it writes them.

use serde_json::{Map, Value};
use url::Url;
use weir_protocol::{Error, Result};

use super::super::template::{py_text, quote};

/// A path onto a base: empty segments vanish, an absolute URL replaces the base.
pub(super) fn join(base: &str, path: &str) -> String {
    if path.is_empty() {
        return base.to_owned();
    }
    let base = if base.ends_with('/') {
        base.to_owned()
    } else {
        format!("{base}/")
    };
    if path.contains("://") && path.split("://").next().is_some_and(is_scheme) {
        return path.to_owned();
    }
    let (base, _) = split(&base, '#');
    let (base, _) = split(base, '?');
    let (scheme, rest) = base.split_once("://").unwrap_or(("", base));
    let (host, base_path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let prefix = if scheme.is_empty() {
        host.to_owned()
    } else {
        format!("{scheme}://{host}")
    };
    if let Some(rest) = path.strip_prefix("//") {
        return format!("{scheme}://{rest}");
    }
    let (path, fragment) = split(path, '#');
    let (path, query) = split(path, '?');
    let tail = format!("{}{}", with('?', query), with('#', fragment));
    if path.is_empty() {
        return format!("{prefix}{base_path}{tail}");
    }
    let mut segments: Vec<&str> = base_path.split('/').collect();
    if path.starts_with('/') {
        segments = path.split('/').collect();
    } else {
        segments.pop();
        segments.extend(path.split('/'));
    }
    let last = segments.len().saturating_sub(1);
    let mut resolved: Vec<&str> = Vec::with_capacity(segments.len());
    for (index, segment) in segments.iter().enumerate() {
        match *segment {
            "" if index > 0 && index < last => {}
            ".." => {
                resolved.pop();
            }
            "." => {}
            segment => resolved.push(segment),
        }
    }
    if segments.last().is_some_and(|last| matches!(*last, "." | "..")) {
        resolved.push("");
    }
    let joined = resolved.join("/");
    let joined = if joined.is_empty() { "/" } else { &joined };
    let slash = if joined.starts_with('/') { "" } else { "/" };
    format!("{prefix}{slash}{joined}{tail}")
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn with(mark: char, part: Option<&str>) -> String {
    part.map_or_else(String::new, |part| format!("{mark}{part}"))
}

/// The URL with its parameters. One that the URL already has with the same value is not added again.
pub(super) fn with_params(url: &str, params: &Map<String, Value>) -> Result<Url> {
    let bad = || {
        Error::spec("the request's URL is no URL")
            .with("url", url.split('?').next().unwrap_or_default())
            .hint("check url_base and path of the requester, and what config holds for them")
    };
    let mut parsed = Url::parse(&mended(url)).map_err(|error| bad().caused_by(error))?;
    let there: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
    let mut pairs = Vec::new();
    for (name, value) in params {
        let first = there
            .iter()
            .find(|(known, value)| known == name && !value.is_empty());
        if first.is_some_and(|(_, known)| *known == py_text(value)) {
            continue;
        }
        match value {
            Value::Object(_) => {
                return Err(Error::spec(format!("request parameter '{name}' is an object"))
                    .hint("a parameter is text, a number or a list; use the filter `tojson` for JSON text"));
            }
            Value::Array(items) => {
                pairs.extend(
                    items
                        .iter()
                        .filter(|item| !item.is_null())
                        .map(|item| (name, py_text(item))),
                );
            }
            Value::Null => {}
            value => pairs.push((name, py_text(value))),
        }
    }
    if pairs.is_empty() {
        return Ok(parsed);
    }
    let encoded = encode(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let query = match parsed.query().filter(|query| !query.is_empty()) {
        Some(query) => format!("{query}&{encoded}"),
        None => encoded,
    };
    parsed.set_query(Some(&query));
    Ok(parsed)
}

/// Where a percent sign of the path or of the query begins no escape, all of that part are escaped.
fn mended(url: &str) -> std::borrow::Cow<'_, str> {
    let is_escape = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let is_sound = |part: &str| part.split('%').skip(1).all(is_escape);
    if is_sound(url) {
        return url.into();
    }
    let parts = url.split_inclusive(['?', '#']);
    let mended = parts.map(|part| {
        if is_sound(part) {
            part.to_owned()
        } else {
            part.replace('%', "%25")
        }
    });
    mended.collect::<String>().into()
}

/// `a=1&b=2`, encoded as forms are.
pub(super) fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.map(|(name, value)| format!("{}={}", quote(name, "", true), quote(value, "", true)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A form's fields; lists give their field several times.
pub(super) fn form(fields: &Map<String, Value>) -> String {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Array(items) => {
                pairs.extend(
                    items
                        .iter()
                        .filter(|item| !item.is_null())
                        .map(|item| (name.as_str(), py_text(item))),
                );
            }
            Value::Object(members) => pairs.extend(members.keys().map(|key| (name.as_str(), key.clone()))),
            Value::Null => {}
            value => pairs.push((name, py_text(value))),
        }
    }
    encode(pairs.iter().map(|(name, value)| (*name, value.as_str())))
}
