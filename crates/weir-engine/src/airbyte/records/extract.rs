//! Which parts of an answer are its records, by a field path. Nothing is parsed but where it leads.

use std::ops::Range;

use bytes::Bytes;
use weir_protocol::Result;

use super::decode::offset;
use crate::decode::Decoded;
use crate::extract::{Path, Scanner, Step, find};

/// The records of one part: spans of its text.
pub(super) fn extract(part: &Decoded, path: &[String]) -> Result<(Bytes, Vec<Range<u32>>)> {
    let (text, bodies) = match part {
        Decoded::Document(text) => (text, bodies(text)?),
        Decoded::Lines(text, lines) => {
            let spans = lines.iter().map(|line| line.start as usize..line.end as usize);
            (text, spans.collect())
        }
    };
    let steps: Vec<Step> = path
        .iter()
        .map(|step| {
            if step == "*" {
                Step::Any
            } else {
                Step::Key(step.clone())
            }
        })
        .collect();
    let mut found = Vec::new();
    for body in bodies {
        if steps.contains(&Step::Any) {
            expand(text, body, &steps, &mut found)?;
            continue;
        }
        let path = Path { steps: steps.clone() };
        let Some(at) = find(text, &body, &path)? else {
            continue;
        };
        match elements(text, &at)? {
            Some(items) => found.extend(items),
            None if is_true(text, &at) => found.push(at),
            None => {}
        }
    }
    let spans = found.into_iter().map(|at| Ok(offset(at.start)?..offset(at.end)?));
    Ok((text.clone(), spans.collect::<Result<_>>()?))
}

/// A document that is a list stands for its elements.
fn bodies(text: &Bytes) -> Result<Vec<Range<usize>>> {
    let mut scanner = Scanner::new(text);
    if scanner.peek().is_none() {
        return Ok(Vec::new());
    }
    let whole = scanner.value()?;
    if scanner.peek().is_some() {
        return Err(scanner
            .broken("the end of the answer")
            .hint("several JSON documents after each other need a JsonlDecoder"));
    }
    match elements(text, &whole)? {
        Some(items) => Ok(items),
        None => Ok(vec![whole]),
    }
}

/// The elements of a list; None for anything else.
fn elements(text: &[u8], at: &Range<usize>) -> Result<Option<Vec<Range<usize>>>> {
    let mut scanner = Scanner::over(text, at);
    if !scanner.take(b'[') {
        return Ok(None);
    }
    let mut items = Vec::new();
    while scanner.element(items.is_empty())? {
        items.push(scanner.value()?);
    }
    Ok(Some(items))
}

fn members(text: &[u8], at: &Range<usize>) -> Result<Vec<Range<usize>>> {
    let mut scanner = Scanner::over(text, at);
    let mut values = Vec::new();
    if scanner.take(b'{') {
        while scanner.key(values.is_empty())?.is_some() {
            values.push(scanner.value()?);
        }
    }
    Ok(values)
}

fn expand(text: &[u8], at: Range<usize>, steps: &[Step], found: &mut Vec<Range<usize>>) -> Result<()> {
    let Some((first, rest)) = steps.split_first() else {
        found.push(at);
        return Ok(());
    };
    if let Step::Any = first {
        let below = match elements(text, &at)? {
            Some(items) => items,
            None => members(text, &at)?,
        };
        for at in below {
            expand(text, at, rest, found)?;
        }
        return Ok(());
    }
    let one = Path {
        steps: vec![first.clone()],
    };
    match find(text, &at, &one)? {
        Some(at) => expand(text, at, rest, found),
        None => Ok(()),
    }
}

/// What counts as nothing is no record.
fn is_true(text: &[u8], at: &Range<usize>) -> bool {
    let value = &text[at.clone()];
    let is_empty_object = value.first() == Some(&b'{')
        && value
            .get(1..value.len().saturating_sub(1))
            .is_some_and(|inner| inner.trim_ascii().is_empty());
    !is_empty_object && !matches!(value, b"null" | b"false" | b"0" | b"\"\"" | b"0.0")
}
