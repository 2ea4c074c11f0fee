//! From an answer's text to where its records lie in it: one pass, no values are built.

mod exact;
mod path;
mod scan;
mod select;
#[cfg(test)]
mod tests;
mod value;

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;
use weir_protocol::Result;

pub use exact::Exact;
pub use path::{Path, Step};
pub use select::{Page, Selector};

pub(crate) use exact::is_inexact;
pub(crate) use scan::Scanner;
use scan::key_is;
pub(crate) use value::value_at;

/// A JSON text whose records were selected: it is known to be whole, and where its records end.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub body: Bytes,
    /// The list of the records, with its brackets, where they lie in one.
    pub list: Option<Range<usize>>,
}

impl Document {
    /// The value at `path`, parsed. What lies between the records is not looked at again.
    pub fn value_at(&self, path: &Path) -> Result<Option<Value>> {
        let mut at = 0..self.body.len();
        for step in &path.steps {
            let Step::Key(key) = step else {
                return Ok(None);
            };
            match child(&self.body, &at, key, self.list.as_ref())? {
                Some(found) => at = found,
                None => return Ok(None),
            }
        }
        parse(&self.body[at]).map(Some)
    }
}

/// The place of the value that `path` leads to within the value at `within`. Wildcards find nothing here. Of a member
/// that is there twice the last counts, as it does for whoever types the record.
pub fn find(text: &[u8], within: &Range<usize>, path: &Path) -> Result<Option<Range<usize>>> {
    let mut at = within.clone();
    for step in &path.steps {
        let Step::Key(key) = step else {
            return Ok(None);
        };
        match child(text, &at, key, None)? {
            Some(found) => at = found,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// A record without those of its own members that are null; None where it has no such.
pub fn without_nulls(record: &[u8]) -> Result<Option<Vec<u8>>> {
    if memchr::memmem::find(record, b"null").is_none() {
        return Ok(None);
    }
    let mut scanner = Scanner::new(record);
    if !scanner.take(b'{') {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(record.len());
    let mut seen = 0_usize;
    let mut kept = 0_usize;
    out.push(b'{');
    while let Some(key) = scanner.key(seen == 0)? {
        seen += 1;
        let value = scanner.value()?;
        if &record[value.clone()] == b"null" {
            continue;
        }
        if kept > 0 {
            out.push(b',');
        }
        kept += 1;
        out.extend_from_slice(&record[key]);
        out.push(b':');
        out.extend_from_slice(&record[value]);
    }
    out.push(b'}');
    Ok((kept < seen).then_some(out))
}

/// A small piece of an answer as a value. A number by itself that no value holds is given as the text of its digits:
/// a cursor, a token or an id goes back to the source as it came.
pub fn parse(text: &[u8]) -> Result<Value> {
    if let Some(digits) = exact::lone_inexact(text) {
        return Ok(Value::from(digits));
    }
    serde_json::from_slice(text).map_err(|error| {
        weir_protocol::Error::decode("a part of the answer is not valid JSON")
            .with("text", String::from_utf8_lossy(&text[..text.len().min(200)]))
            .caused_by(error)
            .hint("check what the source answers with `weir preview --verbose`")
    })
}

/// Whether `key` stands in quotes somewhere in `rest`, `known` left out: a cheap look that spares nearly every record a
/// scan to its end.
fn is_named_again(text: &[u8], rest: Range<usize>, key: &str, known: Option<&Range<usize>>) -> bool {
    let is_in = |range: Range<usize>| {
        let part = text.get(range).unwrap_or_default();
        let named = memchr::memmem::find_iter(part, key.as_bytes()).any(|at| {
            let before = at.checked_sub(1).and_then(|before| part.get(before));
            before == Some(&b'"') && part.get(at + key.len()) == Some(&b'"')
        });
        // Letters of a name may be written by their numbers.
        named || memchr::memmem::find(part, b"\\u00").is_some()
    };
    match known.filter(|known| known.start >= rest.start && known.end <= rest.end) {
        Some(known) => is_in(rest.start..known.start) || is_in(known.end..rest.end),
        None => is_in(rest),
    }
}

/// One step down: a member by name, or an element by index. The end of `known` need not be looked for.
fn child(
    text: &[u8],
    at: &Range<usize>,
    key: &str,
    known: Option<&Range<usize>>,
) -> Result<Option<Range<usize>>> {
    let mut scanner = Scanner::over(text, at);
    let mut found = None;
    if scanner.take(b'{') {
        let mut first = true;
        while let Some(name) = scanner.key(first)? {
            first = false;
            let value = scanner.value_or(known)?;
            if !key_is(text, &name, key) {
                continue;
            }
            let rest = value.end..at.end;
            found = Some(value);
            if !is_named_again(text, rest, key, known) {
                break;
            }
        }
    } else if scanner.take(b'[') {
        let Ok(wanted) = key.parse::<usize>() else {
            return Ok(None);
        };
        let mut index = 0;
        while scanner.element(index == 0)? {
            let value = scanner.value_or(known)?;
            if index == wanted {
                return Ok(Some(value));
            }
            index += 1;
        }
    }
    Ok(found)
}
