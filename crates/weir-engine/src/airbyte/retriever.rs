//! How a stream's pages are asked for, and what they give.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use weir_protocol::Result;

use super::env::Env;
use super::jobs::{JobPages, Jobs};
use super::node::Node;
use super::page_reader::PageReader;
use super::patience::{Reduction, Reset, Splitting, check_actions};
use super::records::{Decoder, Selector, parsed};
use super::request::{Paginator, Properties, Requester, SliceOption};
use super::slices::{CursorPlan, Slice};
use crate::extract::Exact;

/// Decides by a record whether client-side incremental reading keeps it.
pub(crate) type Keeps = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

pub(crate) struct Retriever {
    pub(super) requester: Requester,
    pub(super) paginator: Option<Paginator>,
    pub(super) selector: Selector,
    pub(super) decoder: Decoder,
    pub(super) properties: Option<Properties>,
    /// What slices put into requests.
    pub(crate) options: Vec<SliceOption>,
    pub(super) first_page_only_options: bool,
    pub(crate) reads_lazily: bool,
    /// The stream's cursor, for slices that are cut to what is left of them.
    pub(crate) cursor: Option<Arc<CursorPlan>>,
    pub(super) reduction: Option<Reduction>,
    pub(super) reset: Option<Reset>,
    pub(super) splitting: Option<Splitting>,
}

/// Records of one page.
pub(crate) struct Page {
    pub(crate) body: Bytes,
    pub(crate) records: Vec<Range<u32>>,
    pub(crate) filtered: u64,
    pub(crate) received_at: Timestamp,
    pub(crate) bytes: u64,
}

impl Page {
    pub(crate) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.records
            .iter()
            .map(move |span| &self.body[span.start as usize..span.end as usize])
    }

    /// Each with the numbers that it does not hold.
    pub(crate) fn values(&self) -> Result<Vec<(Value, Exact)>> {
        let values = self.texts().map(|text| {
            let exact = Exact::of(&[text]);
            Ok((parsed(text, &exact)?, exact))
        });
        values.collect()
    }
}

/// A record as a value that is looked at and not written again.
pub(super) fn value_of(body: &Bytes, span: &Range<u32>) -> Result<Value> {
    let text = &body[span.start as usize..span.end as usize];
    parsed(text, &Exact::of(&[text]))
}

impl Retriever {
    /// Outside of a stream: no slices, no transformations.
    pub(crate) fn simple(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        Self::new(env, node, &[], false, false)
    }

    pub(crate) fn new(
        env: &Arc<Env>,
        node: &Node<'_>,
        transforms: &[Node<'_>],
        client_side: bool,
        keeps_answers: bool,
    ) -> Result<Self> {
        if node.kind() != "SimpleRetriever" {
            return Err(node.unknown("a retriever"));
        }
        let requester = node.need("requester")?;
        let paginator = node.get("paginator");
        let paginator = paginator
            .map(|node| Paginator::new(env, &node))
            .transpose()?
            .flatten();
        let selector = node.need("record_selector")?;
        let decoder = Decoder::new(node.get("decoder").as_ref())?;
        let made = Self {
            reduction: node
                .get("page_size_reduction")
                .map(|node| Reduction::new(&node, paginator.as_ref()))
                .transpose()?,
            reset: node
                .get("pagination_reset")
                .map(|node| Reset::new(&node, selector.get("record_filter").is_some()))
                .transpose()?,
            splitting: node
                .get("request_window_splitting")
                .map(|node| Splitting::new(&node))
                .transpose()?,
            properties: Properties::new(env, &requester)?,
            first_page_only_options: node.flag("ignore_stream_slicer_parameters_on_paginated_requests"),
            ..Self::of(
                Requester::new(env, &requester, keeps_answers)?,
                paginator,
                Selector::new(env, &selector, transforms, client_side)?,
                decoder,
            )
        };
        made.check(node)?;
        Ok(made)
    }

    /// Refuses what would lose or double records.
    fn check(&self, node: &Node<'_>) -> Result<()> {
        let rules = (self.reduction.is_some(), self.splitting.is_some());
        check_actions(node, &self.requester, rules)?;
        let repeats = rules.0 || rules.1;
        if repeats && self.properties.is_some() {
            return Err(node.error(
                "query properties do not go with page_size_reduction or request_window_splitting: parts of a page would come twice",
            ));
        }
        let extractor = self.selector.extractor();
        if extractor.is_combined() && self.decoder.is_streamed() {
            return Err(node.error(
                "a CombinedExtractor reads an answer several times, which this decoder does not allow",
            ));
        }
        let is_offset = self.paginator.as_ref().is_some_and(Paginator::is_offset);
        if is_offset && extractor.adds_up() {
            return Err(node.error(
                "OffsetIncrement does not go with a CombinedExtractor of mode union: offsets would skip records",
            ));
        }
        Ok(())
    }

    /// From components that are at hand already.
    pub(crate) fn of(
        requester: Requester,
        paginator: Option<Paginator>,
        selector: Selector,
        decoder: Decoder,
    ) -> Self {
        Self {
            requester,
            paginator,
            selector,
            decoder,
            properties: None,
            options: Vec::new(),
            first_page_only_options: false,
            reads_lazily: false,
            cursor: None,
            reduction: None,
            reset: None,
            splitting: None,
        }
    }

    /// The cursor by which slices are cut to what is left of them.
    pub(crate) fn cut_by(&mut self, node: &Node<'_>, cursor: Option<Arc<CursorPlan>>) -> Result<()> {
        if self.splitting.is_some() {
            let why = match &cursor {
                Some(cursor) => cursor.keeps_whole(),
                None => Some("the stream has no cursor"),
            };
            if let Some(why) = why {
                return Err(node.error(format!("request_window_splitting is not possible here: {why}")));
            }
        }
        self.cursor = cursor;
        Ok(())
    }

    /// Asks only for what a reader's catalog lists, where the manifest wants that.
    pub(crate) fn choose(&mut self, env: &Env, schema: &Value) -> Result<()> {
        match &mut self.properties {
            Some(properties) => properties.choose(env, schema),
            None => Ok(()),
        }
    }

    pub(crate) fn normalises(&self) -> bool {
        self.selector.normalises()
    }

    /// All records without slice, as values.
    pub(crate) async fn all(&self, env: &Arc<Env>) -> Result<Vec<Value>> {
        self.of_slice(env, Arc::new(Slice::whole())).await
    }

    /// All records of a slice, as values.
    pub(crate) async fn of_slice(&self, env: &Arc<Env>, slice: Arc<Slice>) -> Result<Vec<Value>> {
        let mut reader = PageReader::new(env.clone(), slice);
        let mut all = Vec::new();
        while let Some(page) = reader.next(self).await? {
            all.extend(page.values()?.into_iter().map(|(record, _)| record));
        }
        Ok(all)
    }

    /// The same as they came, to be parsed together with what they are written beside.
    pub(crate) async fn pages_of(&self, env: &Arc<Env>, slice: Arc<Slice>) -> Result<Vec<Page>> {
        let mut reader = PageReader::new(env.clone(), slice);
        let mut pages = Vec::new();
        while let Some(page) = reader.next(self).await? {
            pages.push(page);
        }
        Ok(pages)
    }
}

/// How a stream's slices are read.
#[derive(Clone)]
pub(crate) enum Reading {
    Pages(Arc<Retriever>),
    Jobs(Arc<Jobs>),
}

impl Reading {
    pub(crate) fn normalises(&self) -> bool {
        match self {
            Self::Pages(retriever) => retriever.normalises(),
            Self::Jobs(jobs) => jobs.normalises(),
        }
    }
}

/// The pages of a slice of a stream.
pub(crate) enum Pages {
    Paged(Arc<Retriever>, Box<PageReader>),
    Job(Box<JobPages>),
}

impl Pages {
    pub(crate) async fn next(&mut self) -> Result<Option<Page>> {
        match self {
            Self::Paged(retriever, reader) => reader.next(retriever).await,
            Self::Job(pages) => pages.next().await,
        }
    }
}
