//! Which parts of an answer are its records, by a field path. Nothing is parsed but where it leads.

use std::ops::Range;

use bytes::Bytes;
use weir_protocol::{Error, Result};

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
    if found.is_empty() {
        check_kind(part, &steps)?;
    }
    let spans = found.into_iter().map(|at| Ok(offset(at.start)?..offset(at.end)?));
    Ok((text.clone(), spans.collect::<Result<_>>()?))
}

/// Tells an answer that cannot hold the records from one that has none.
fn check_kind(part: &Decoded, steps: &[Step]) -> Result<()> {
    let (Decoded::Document(text), Some(Step::Key(first))) = (part, steps.first()) else {
        return Ok(());
    };
    let refused = |what: &str| {
        Err(Error::decode(format!(
            "the answer is {what}, but the records are looked for under '{first}'"
        ))
        .hint("check field_path of the extractor, and what the URL answers"))
    };
    let mut scanner = Scanner::new(text);
    match scanner.peek() {
        Some(b'{' | b'n') | None => Ok(()),
        Some(b'"') => refused("a text"),
        Some(b'[') if first.parse::<i64>().is_err() => {
            let items = bodies(text)?;
            let path = Path {
                steps: vec![Step::Key(first.clone())],
            };
            for item in &items {
                if find(text, item, &path)?.is_some() {
                    return Ok(());
                }
            }
            match items.is_empty() {
                true => Ok(()),
                false => refused("a list of values that have no such member"),
            }
        }
        Some(b'[') => Ok(()),
        Some(_) => refused("a single value"),
    }
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
