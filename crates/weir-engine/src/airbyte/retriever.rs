//! One slice's pages: asked for, selected, and paged on.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use weir_protocol::{Error, Result};

use super::assemble::{deep_merge, joined, written};
use super::env::Env;
use super::jobs::{JobPages, Jobs};
use super::node::Node;
use super::records::{Around, Decoder, Selected, Selector};
use super::request::{Call, Options, Outcome, PageEnd, Paginator, Properties, Requester, SliceOption};
use super::slices::Slice;
use super::template::json_is_true;
use crate::http::Answer;

/// Pages of one slice.
const PAGES_MAX: u64 = 1_000_000;
/// Times that an error handler may begin a slice's pages anew.
const RESETS_MAX: u32 = 2;

/// Decides by a record whether client-side incremental reading keeps it.
pub(crate) type Keeps = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

pub(crate) struct Retriever {
    requester: Requester,
    paginator: Option<Paginator>,
    selector: Selector,
    decoder: Decoder,
    properties: Option<Properties>,
    /// What slices put into requests.
    pub(crate) options: Vec<SliceOption>,
    first_page_only_options: bool,
    pub(crate) reads_lazily: bool,
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
    pub(crate) fn values(&self) -> Result<Vec<Value>> {
        self.records
            .iter()
            .map(|span| value_of(&self.body, span))
            .collect()
    }
}

fn value_of(body: &Bytes, span: &Range<u32>) -> Result<Value> {
    serde_json::from_slice(&body[span.start as usize..span.end as usize]).map_err(|error| {
        Error::decode("a record is not valid JSON")
            .caused_by(error)
            .hint("check what the source answers")
    })
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
        for field in [
            "pagination_reset",
            "page_size_reduction",
            "request_window_splitting",
        ] {
            if let Some(unknown) = node.get(field) {
                return Err(unknown.error(format!("'{field}' is not available")));
            }
        }
        let requester = node.need("requester")?;
        let paginator = node.get("paginator");
        let paginator = paginator
            .map(|node| Paginator::new(env, &node))
            .transpose()?
            .flatten();
        Ok(Self {
            requester: Requester::new(env, &requester, keeps_answers)?,
            paginator,
            selector: Selector::new(env, &node.need("record_selector")?, transforms, client_side)?,
            decoder: Decoder::new(node.get("decoder").as_ref())?,
            properties: Properties::new(env, &requester)?,
            options: Vec::new(),
            first_page_only_options: node.flag("ignore_stream_slicer_parameters_on_paginated_requests"),
            reads_lazily: false,
        })
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
            all.extend(page.values()?);
        }
        Ok(all)
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

/// How far the pages of a slice are read.
pub(crate) struct PageReader {
    env: Arc<Env>,
    slice: Arc<Slice>,
    pub(crate) schema: Option<Arc<Value>>,
    pub(crate) keeps: Option<Keeps>,
    /// A data feed: reading stops at the first record that is not wanted, which is left out.
    pub(crate) feed: Option<Keeps>,
    token: Option<Value>,
    pages: u64,
    resets: u32,
    is_begun: bool,
    is_done: bool,
}

/// What the requests of one page gave.
enum Fetched {
    Page(Box<Answer>, Vec<Selected>),
    Nothing,
    Reset,
}

impl PageReader {
    pub(crate) fn new(env: Arc<Env>, slice: Arc<Slice>) -> Self {
        Self {
            env,
            slice,
            schema: None,
            keeps: None,
            feed: None,
            token: None,
            pages: 0,
            resets: 0,
            is_begun: false,
            is_done: false,
        }
    }

    pub(crate) async fn next(&mut self, retriever: &Retriever) -> Result<Option<Page>> {
        while !self.is_done {
            if !self.is_begun {
                self.is_begun = true;
                self.token = retriever.paginator.as_ref().and_then(Paginator::first);
            }
            self.pages += 1;
            if self.pages > PAGES_MAX {
                return Err(Error::limit(format!("a slice has more than {PAGES_MAX} pages"))
                    .with("slice", &self.slice.key)
                    .hint("check when the paginator should stop"));
            }
            match Box::pin(self.fetch(retriever)).await? {
                Fetched::Page(answer, parts) => return self.turn(retriever, &answer, parts).map(Some),
                Fetched::Nothing => self.is_done = true,
                Fetched::Reset => {
                    self.resets += 1;
                    if self.resets >= RESETS_MAX {
                        return Err(Error::source_failed("the source asks again to begin the pages anew")
                            .with("slice", &self.slice.key)
                            .hint("the manifest's RESET_PAGINATION rule holds for every page; check its condition"));
                    }
                    self.is_begun = false;
                }
            }
        }
        Ok(None)
    }

    async fn fetch(&self, retriever: &Retriever) -> Result<Fetched> {
        if retriever.reads_lazily
            && self.pages == 1
            && let Some(response) = self
                .slice
                .view
                .extra
                .get("child_response")
                .filter(|response| json_is_true(response))
        {
            return self.lazily(retriever, response);
        }
        let Some(properties) = &retriever.properties else {
            return Ok(match self.send(retriever, &self.slice, None).await? {
                Outcome::Answer(answer) => {
                    let parts = self.select(retriever, &answer, &self.slice)?;
                    Fetched::Page(answer, parts)
                }
                Outcome::Reset => Fetched::Reset,
                Outcome::Nothing | Outcome::Refresh => Fetched::Nothing,
            });
        };
        self.by_properties(retriever, properties).await
    }

    /// A page that came with the parent's record.
    fn lazily(&self, retriever: &Retriever, response: &Value) -> Result<Fetched> {
        let url = "http://localhost/".parse().map_err(|error: url::ParseError| {
            Error::internal("a fixed URL cannot be read")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?;
        let answer = Answer {
            status: 200,
            headers: crate::http::HeaderMap::new(),
            body: response.to_string().into(),
            url,
            received_at: self.env.clock.now(),
        };
        let parts = self.select(retriever, &answer, &self.slice)?;
        Ok(Fetched::Page(Box::new(answer), parts))
    }

    async fn send(
        &self,
        retriever: &Retriever,
        slice: &Slice,
        properties: Option<&[String]>,
    ) -> Result<Outcome> {
        let token = self
            .token
            .as_ref()
            .map(|token| json!({ "next_page_token": token }));
        let mut options = Options::default();
        let mut path = None;
        if let Some(paginator) = &retriever.paginator {
            options.merge(paginator.options(&self.env, self.token.as_ref())?)?;
            path = paginator.path(self.token.as_ref());
        }
        if token.is_none() || !retriever.first_page_only_options {
            let mut of_slice = Options::default();
            for option in &retriever.options {
                let mut one = Options::default();
                option.put(&self.env, slice, &mut one)?;
                of_slice.merge(one)?;
            }
            options.merge(of_slice)?;
        }
        let call = Call {
            slice: Some(slice),
            token: token.as_ref(),
            path,
            options,
            properties,
        };
        retriever.requester.send(call).await
    }

    fn select(&self, retriever: &Retriever, answer: &Answer, slice: &Slice) -> Result<Vec<Selected>> {
        let token = self
            .token
            .as_ref()
            .map(|token| json!({ "next_page_token": token }));
        let keeps = self.keeps.as_ref().map(|keeps| |record: &Value| keeps(record));
        let keeps = keeps
            .as_ref()
            .map(|keeps| keeps as &(dyn Fn(&Value) -> bool + Sync));
        let around = Around {
            env: &self.env,
            slice,
            token: token.as_ref(),
            schema: self.schema.as_deref(),
            keeps,
        };
        retriever.selector.select(&retriever.decoder, answer, &around)
    }

    /// The same page once for each part of the properties; parts of a record are put together.
    async fn by_properties(&self, retriever: &Retriever, properties: &Properties) -> Result<Fetched> {
        let mut alone = Vec::new();
        let mut merged: Vec<(String, Value)> = Vec::new();
        let mut last = None;
        let mut extracted = 0;
        for part in properties.parts(&self.env).await? {
            let slice = self
                .slice
                .with_extra("query_properties", Value::from(part.clone()));
            let answer = match self.send(retriever, &slice, Some(&part)).await? {
                Outcome::Answer(answer) => answer,
                Outcome::Reset => return Ok(Fetched::Reset),
                Outcome::Nothing | Outcome::Refresh => {
                    last = None;
                    continue;
                }
            };
            let parts = self.select(retriever, &answer, &slice)?;
            extracted = parts.iter().map(|part| part.extracted).sum();
            for part in &parts {
                for span in &part.records {
                    let record = value_of(&part.body, span)?;
                    let key = properties
                        .is_chunked()
                        .then(|| properties.merge_key_of(&record))
                        .flatten();
                    match key {
                        None => alone.push(record),
                        Some(key) => match merged.iter_mut().find(|(known, _)| *known == key) {
                            Some((_, there)) => deep_merge(there, record),
                            None => merged.push((key, record)),
                        },
                    }
                }
            }
            let document = parts.first().and_then(|part| part.document.clone());
            last = Some((answer, document));
        }
        let Some((answer, document)) = last else {
            return Ok(Fetched::Nothing);
        };
        alone.extend(merged.into_iter().map(|(_, record)| record));
        let mut selected = written(&alone)?;
        selected.document = document;
        selected.extracted = extracted;
        Ok(Fetched::Page(answer, vec![selected]))
    }

    /// What the page gives, and whether another follows.
    fn turn(&mut self, retriever: &Retriever, answer: &Answer, parts: Vec<Selected>) -> Result<Page> {
        let extracted = parts.iter().map(|part| part.extracted).sum();
        let kept: u64 = parts.iter().map(|part| part.records.len() as u64).sum();
        let document = parts.first().and_then(|part| part.document.clone());
        let selected = joined(parts)?;
        let wants_record =
            retriever.paginator.as_ref().is_some_and(Paginator::wants_record) || self.feed.is_some();
        let last = selected.records.last().filter(|_| wants_record);
        let last_record = last.map(|span| value_of(&selected.body, span)).transpose()?;
        let ends_feed = match (&self.feed, &last_record) {
            (Some(feed), Some(record)) => !feed(record),
            _ => false,
        };
        let next = match &retriever.paginator {
            Some(paginator) if !ends_feed => paginator.next(
                &self.env,
                &PageEnd {
                    answer,
                    document: document.as_ref(),
                    extracted,
                    kept,
                    last_record,
                    slice: &self.slice,
                    token: self.token.as_ref(),
                },
            )?,
            _ => None,
        };
        if next.is_some() && next == self.token {
            return Err(
                Error::source_failed(format!("the source repeats page {}", self.pages))
                    .with("slice", &self.slice.key)
                    .hint(
                        "the paginator is given the same token again; check cursor_value and stop_condition",
                    ),
            );
        }
        self.is_done = next.is_none();
        self.token = next;
        let records = match &self.feed {
            None => selected.records,
            Some(feed) => {
                let mut wanted = Vec::with_capacity(selected.records.len());
                for span in selected.records {
                    if feed(&value_of(&selected.body, &span)?) {
                        wanted.push(span);
                    }
                }
                wanted
            }
        };
        Ok(Page {
            filtered: extracted.saturating_sub(records.len() as u64),
            records,
            body: selected.body,
            received_at: answer.received_at,
            bytes: answer.body.len() as u64,
        })
    }
}
