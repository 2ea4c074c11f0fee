//! The records of an answer. Where nothing changes them they stay spans of it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::slices::Slice;
use super::super::template::Condition;
use super::extractor::{Extracted, Extractor, Found};
use super::texts::{Texts, parsed};
use super::{Decoder, Transform, normalise};
use crate::decode::Decoded;
use crate::extract::Exact;
use crate::http::Answer;

pub(crate) struct Selector {
    extractor: Extractor,
    filter: Option<Condition>,
    transforms: Vec<Transform>,
    normalises: bool,
    transforms_first: bool,
}

/// One part of an answer.
pub(crate) struct Selected {
    pub(crate) body: Bytes,
    pub(crate) records: Vec<Range<u32>>,
    /// Records before any filter.
    pub(crate) extracted: u64,
    /// The document they come from.
    pub(crate) document: Option<Bytes>,
}

/// What records are judged and changed by besides the selector.
pub(crate) struct Around<'r> {
    pub(crate) env: &'r Env,
    pub(crate) slice: &'r Slice,
    pub(crate) token: Option<&'r Value>,
    pub(crate) schema: Option<&'r Value>,
    /// Client-side incremental reading.
    pub(crate) keeps: Option<&'r (dyn Fn(&Value) -> bool + Sync)>,
}

impl<'r> Around<'r> {
    /// Nothing but the slice.
    pub(crate) fn bare(env: &'r Env, slice: &'r Slice) -> Self {
        Self {
            env,
            slice,
            token: None,
            schema: None,
            keeps: None,
        }
    }
}

impl Selected {
    pub(crate) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.records
            .iter()
            .map(move |span| &self.body[span.start as usize..span.end as usize])
    }

    pub(crate) fn values(&self) -> Result<Vec<Value>> {
        self.texts()
            .map(|text| {
                Exact::value(text).map_err(|error| {
                    Error::decode("a part of the answer is not valid JSON")
                        .caused_by(error)
                        .hint("check what the source answers")
                })
            })
            .collect()
    }
}

impl Selector {
    pub(crate) fn new(
        env: &Arc<Env>,
        node: &Node<'_>,
        transforms: &[Node<'_>],
        client_side: bool,
    ) -> Result<Self> {
        if node.kind() != "RecordSelector" {
            return Err(node.unknown("a record selector"));
        }
        let extractor = Extractor::new(env, &node.need("extractor")?)?;
        let filter = match node.get("record_filter") {
            Some(filter) if filter.kind() == "RecordFilter" => filter.condition("condition")?,
            Some(filter) => return Err(filter.unknown("a record filter")),
            None => None,
        };
        let normalises = match node.get("schema_normalization") {
            Some(how) if how.value.is_object() => return Err(how.unknown("a schema normalisation")),
            Some(how) => how.value.as_str() == Some("Default"),
            None => false,
        };
        let first = node
            .value
            .get("transform_before_filtering")
            .and_then(Value::as_bool);
        Ok(Self {
            extractor,
            filter,
            transforms: Transform::all(env, transforms)?,
            normalises,
            transforms_first: first.unwrap_or(client_side),
        })
    }

    /// Records as they are found, neither filtered nor changed.
    pub(crate) fn plain(extractor: Extractor) -> Self {
        Self {
            extractor,
            filter: None,
            transforms: Vec::new(),
            normalises: false,
            transforms_first: false,
        }
    }

    /// Whether the stream's schema is needed.
    pub(crate) fn normalises(&self) -> bool {
        self.normalises
    }

    pub(crate) fn extractor(&self) -> &Extractor {
        &self.extractor
    }

    pub(crate) async fn select(
        &self,
        decoder: &Decoder,
        answer: &Answer,
        around: &Around<'_>,
    ) -> Result<Vec<Selected>> {
        let parts = decoder.decode(answer, around.env.response_bytes_max())?;
        let mut selected = Vec::with_capacity(parts.len());
        for part in &parts {
            let extracted = self.extractor.extract(around.env, part).await?;
            selected.push(self.part(part, extracted, decoder, around)?);
        }
        Ok(selected)
    }

    fn part(
        &self,
        part: &Decoded,
        extracted: Extracted,
        decoder: &Decoder,
        around: &Around<'_>,
    ) -> Result<Selected> {
        let dropped = extracted.dropped;
        let Found {
            text: body,
            spans: records,
        } = extracted.found;
        let document = match part {
            Decoded::Document(document) if decoder.is_document() => Some(document.clone()),
            _ => None,
        };
        let extracted = records.len() as u64 + dropped;
        let is_plain =
            self.filter.is_none() && self.transforms.is_empty() && !self.normalises && around.keeps.is_none();
        if is_plain {
            return Ok(Selected {
                body,
                records,
                extracted,
                document,
            });
        }
        let mut kept = Texts::with_capacity(body.len());
        for span in records {
            let text = &body[span.start as usize..span.end as usize];
            let exact = Exact::of(&[text]);
            let record = parsed(text, &exact)?;
            if let Some(record) = self.change(record, around, &exact)? {
                kept.push(&record, &exact)?;
            }
        }
        let (body, records) = kept.finish();
        Ok(Selected {
            body,
            records,
            extracted,
            document,
        })
    }

    /// None where a filter leaves the record out. `exact` is what it was parsed by.
    pub(crate) fn change(
        &self,
        mut record: Value,
        around: &Around<'_>,
        exact: &Exact,
    ) -> Result<Option<Value>> {
        if self.transforms_first {
            self.transform(&mut record, around)?;
        }
        if !self.keeps(&record, around)? {
            return Ok(None);
        }
        if !self.transforms_first {
            self.transform(&mut record, around)?;
        }
        if let Some(schema) = around.schema.filter(|_| self.normalises) {
            normalise::normalise(&mut record, schema, exact);
        }
        Ok(Some(record))
    }

    fn transform(&self, record: &mut Value, around: &Around<'_>) -> Result<()> {
        let scope = around.env.scope().with_slice(Some(&around.slice.view));
        self.transforms
            .iter()
            .try_for_each(|transform| transform.apply(record, &scope))
    }

    fn keeps(&self, record: &Value, around: &Around<'_>) -> Result<bool> {
        if around.keeps.is_some_and(|keeps| !keeps(record)) {
            return Ok(false);
        }
        let Some(filter) = &self.filter else {
            return Ok(true);
        };
        let nothing = Value::Object(serde_json::Map::new());
        let scope = around.env.scope().with_slice(Some(&around.slice.view));
        let scope = scope.with_maybe("next_page_token", around.token);
        filter.holds(
            &scope
                .with_json("record", record)
                .with_json("stream_state", &nothing),
        )
    }
}
