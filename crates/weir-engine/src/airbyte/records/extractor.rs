//! Which parts of an answer are its records: along a path, along several, or lists within records.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::Value;
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::template::{Text, json_is_true};
use super::decode::offset;
use super::expand::Expander;
use super::extract::extract;
use crate::decode::Decoded;

pub(crate) enum Extractor {
    Path {
        steps: Vec<Text>,
        expander: Option<Box<Expander>>,
    },
    /// Several, over the same answer.
    Combined {
        parts: Vec<Self>,
        /// Only the first that finds something.
        first_match: bool,
        skips_empty: bool,
    },
}

/// What an extractor finds: parts of a text where nothing had to be made anew.
pub(super) enum Found {
    Spans(Bytes, Vec<Range<u32>>),
    Values(Vec<Value>),
}

pub(super) struct Extracted {
    pub(super) found: Found,
    /// Empty records that were left out; they count as part of their page.
    pub(super) dropped: u64,
}

impl Found {
    fn is_empty(&self) -> bool {
        match self {
            Self::Spans(_, spans) => spans.is_empty(),
            Self::Values(values) => values.is_empty(),
        }
    }

    fn into_values(self) -> Result<Vec<Value>> {
        match self {
            Self::Values(values) => Ok(values),
            Self::Spans(text, spans) => spans.iter().map(|span| value(&text, span)).collect(),
        }
    }

    /// As one text and where the records lie in it.
    pub(super) fn into_text(self) -> Result<(Bytes, Vec<Range<u32>>)> {
        let values = match self {
            Self::Spans(text, spans) => return Ok((text, spans)),
            Self::Values(values) => values,
        };
        let mut text = Vec::new();
        let mut spans = Vec::with_capacity(values.len());
        for value in &values {
            let start = offset(text.len())?;
            serde_json::to_writer(&mut text, value).map_err(|error| {
                Error::internal("a record cannot be written as JSON")
                    .caused_by(error)
                    .hint("report this as a bug of weir")
            })?;
            spans.push(start..offset(text.len())?);
        }
        Ok((text.into(), spans))
    }
}

fn value(text: &Bytes, span: &Range<u32>) -> Result<Value> {
    serde_json::from_slice(&text[span.start as usize..span.end as usize]).map_err(|error| {
        Error::decode("a record is not valid JSON")
            .caused_by(error)
            .hint("check what the source answers")
    })
}

impl Extractor {
    pub(crate) fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        match node.kind() {
            "DpathExtractor" => Ok(Self::Path {
                steps: node.texts("field_path")?,
                expander: node
                    .get("record_expander")
                    .map(|node| Expander::new(env, &node).map(Box::new))
                    .transpose()?,
            }),
            "CombinedExtractor" => Self::combined(env, node),
            _ => Err(node.unknown("an extractor")),
        }
    }

    fn combined(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let parts = node.list("extractors");
        if parts.is_empty() {
            return Err(node.error("a CombinedExtractor needs at least one extractor"));
        }
        let first_match = match node.str("mode") {
            None | Some("union") => false,
            Some("first_match") => true,
            Some(other) => {
                return Err(node.error(format!("the mode '{other}' is none of union, first_match")));
            }
        };
        Ok(Self::Combined {
            parts: parts
                .iter()
                .map(|part| Self::new(env, part))
                .collect::<Result<_>>()?,
            first_match,
            skips_empty: node.flag("skip_empty_records"),
        })
    }

    /// Records as they are found, at the root or along a path.
    pub(crate) fn path(steps: Vec<Text>) -> Self {
        Self::Path {
            steps,
            expander: None,
        }
    }

    pub(crate) fn is_combined(&self) -> bool {
        matches!(self, Self::Combined { .. })
    }

    /// Whether a page's count is the sum of several lists.
    pub(crate) fn adds_up(&self) -> bool {
        match self {
            Self::Path { .. } => false,
            Self::Combined {
                parts, first_match, ..
            } => !first_match || parts.iter().any(Self::adds_up),
        }
    }

    pub(super) async fn extract(&self, env: &Env, part: &Decoded) -> Result<Extracted> {
        match self {
            Self::Path { steps, expander } => {
                let found = along(env, steps, part)?;
                let found = match expander {
                    Some(expander) => Found::Values(expander.expand(found.into_values()?).await?),
                    None => found,
                };
                Ok(Extracted { found, dropped: 0 })
            }
            Self::Combined {
                parts,
                first_match,
                skips_empty,
            } => several(env, parts, part, *first_match, *skips_empty).await,
        }
    }
}

fn along(env: &Env, steps: &[Text], part: &Decoded) -> Result<Found> {
    let scope = env.scope();
    let steps = steps.iter().map(|step| step.eval_text(&scope));
    let steps: Vec<String> = steps.collect::<Result<_>>()?;
    let (text, spans) = extract(part, &steps)?;
    Ok(Found::Spans(text, spans))
}

fn several<'e>(
    env: &'e Env,
    parts: &'e [Extractor],
    part: &'e Decoded,
    first_match: bool,
    skips_empty: bool,
) -> BoxFuture<'e, Result<Extracted>> {
    Box::pin(async move {
        let mut all = Vec::new();
        let mut dropped = 0;
        for extractor in parts {
            let one = extractor.extract(env, part).await?;
            let mut found = one.found;
            let mut empty = 0;
            if skips_empty {
                (found, empty) = without_empty(found)?;
            }
            if first_match && found.is_empty() {
                continue;
            }
            dropped += one.dropped + empty;
            if first_match {
                return Ok(Extracted { found, dropped });
            }
            all.push(found);
        }
        let found = together(all)?;
        Ok(Extracted { found, dropped })
    })
}

fn without_empty(found: Found) -> Result<(Found, u64)> {
    let mut values = found.into_values()?;
    let before = values.len();
    values.retain(json_is_true);
    let dropped = (before - values.len()) as u64;
    if dropped > 0 {
        tracing::warn!(
            dropped,
            "empty records were left out; the answer may tell why in a field of errors"
        );
    }
    Ok((Found::Values(values), dropped))
}

/// One after the other; spans stay spans where all are of the same text.
fn together(all: Vec<Found>) -> Result<Found> {
    let mut texts = all.iter().map(|found| match found {
        Found::Spans(text, _) => Some(text.as_ptr()),
        Found::Values(_) => None,
    });
    let first = texts.next().flatten();
    let is_one_text = first.is_some() && texts.all(|text| text == first);
    let mut spans = Vec::new();
    let mut values = Vec::new();
    let mut body = Bytes::new();
    for found in all {
        match found {
            Found::Spans(text, more) if is_one_text => {
                body = text;
                spans.extend(more);
            }
            other => values.extend(other.into_values()?),
        }
    }
    Ok(if is_one_text {
        Found::Spans(body, spans)
    } else {
        Found::Values(values)
    })
}
