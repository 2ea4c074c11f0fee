//! Which parts of an answer are its records: along a path, along several, or lists within records.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use weir_protocol::Result;

use super::super::env::Env;
use super::super::node::Node;
use super::super::template::{Text, json_is_true};
use super::expand::Expander;
use super::extract::extract;
use super::texts::{Texts, parsed};
use crate::decode::Decoded;
use crate::extract::Exact;

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

/// What an extractor finds, as parts of a text: of the answer's own where nothing had to be made anew.
#[derive(Default)]
pub(super) struct Found {
    pub(super) text: Bytes,
    pub(super) spans: Vec<Range<u32>>,
}

pub(super) struct Extracted {
    pub(super) found: Found,
    /// Empty records that were left out; they count as part of their page.
    pub(super) dropped: u64,
}

impl Found {
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.spans
            .iter()
            .map(move |span| &self.text[span.start as usize..span.end as usize])
    }
}

impl From<Texts> for Found {
    fn from(texts: Texts) -> Self {
        let (text, spans) = texts.finish();
        Self { text, spans }
    }
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
                    Some(expander) => expander.expand(&found).await?,
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
    Ok(Found { text, spans })
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
                (found, empty) = without_empty(&found)?;
            }
            if first_match && found.spans.is_empty() {
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

fn without_empty(found: &Found) -> Result<(Found, u64)> {
    let mut texts = Texts::default();
    let mut dropped = 0;
    for text in found.texts() {
        let exact = Exact::of(&[text]);
        let record = parsed(text, &exact)?;
        if json_is_true(&record) {
            texts.push(&record, &exact)?;
        } else {
            dropped += 1;
        }
    }
    if dropped > 0 {
        tracing::warn!(
            dropped,
            "empty records were left out; the answer may tell why in a field of errors"
        );
    }
    Ok((texts.into(), dropped))
}

/// One after the other; parts of one text stay parts of it.
fn together(all: Vec<Found>) -> Result<Found> {
    let mut sources = all.iter().map(|found| found.text.as_ptr());
    let first = sources.next();
    if sources.all(|source| Some(source) == first) {
        let mut one = Found::default();
        for found in all {
            one.text = found.text;
            one.spans.extend(found.spans);
        }
        return Ok(one);
    }
    let mut texts = Texts::default();
    for text in all.iter().flat_map(Found::texts) {
        texts.copy(text)?;
    }
    Ok(texts.into())
}
