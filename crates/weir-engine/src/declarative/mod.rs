//! Reads any API that a spec describes.

mod context;
mod copies;
mod descriptor;
mod drive;
mod elsewhere;
mod fold;
mod groups;
mod job;
mod page;
mod plan;
mod producer;
mod rules;
mod share;
mod slice_reader;
#[cfg(test)]
mod tests;
mod tracker;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use weir_protocol::slices::{SliceReaders, SliceTask};
use weir_protocol::{Error, ReadEvent, ReadRequest, Result, Source, StreamDescriptor};

use crate::clock::Clock;
use crate::http::{Answer, Client};
use crate::interpolate::{Scope, Templates};
use crate::request::RequestPlan;
use context::{Events, ReadContext};
pub(crate) use copies::Copies;
use plan::{StreamPlan, no_such_stream};
pub(crate) use rules::Rules;

pub(crate) use descriptor::describe;

/// Pages that wait for the reader; each may be large.
const PAGES_WAITING: usize = 8;
/// Pages of one slice where nothing else is set.
const PAGES_MAX: u64 = 1_000_000;

/// A connection that is read by its spec.
pub struct DeclarativeSource {
    inner: Arc<Inner>,
    check: Option<RequestPlan>,
    /// What answers to the check mean: a refusal may come with a good status.
    check_rules: Rules,
    descriptors: Vec<StreamDescriptor>,
}

pub(crate) struct Inner {
    plans: BTreeMap<String, Arc<StreamPlan>>,
    /// In the order they are declared.
    names: Vec<String>,
    client: Arc<Client>,
    clock: Clock,
    /// `config` and `credential`.
    scope: Scope,
    /// Slices read at once.
    concurrency: usize,
    response_bytes_max: u64,
    /// By what all is read, for those who read slices elsewhere.
    read_as: String,
}

/// What a declarative source is made from.
pub(crate) struct Parts<'a> {
    pub(crate) spec: &'a weir_protocol::spec::ConnectorSpec,
    pub(crate) templates: &'a Templates,
    pub(crate) scope: Scope,
    pub(crate) client: Arc<Client>,
    pub(crate) clock: Clock,
    pub(crate) pages_max: Option<u64>,
    pub(crate) descriptors: Vec<StreamDescriptor>,
    pub(crate) read_as: String,
}

impl DeclarativeSource {
    pub(crate) fn new(parts: Parts<'_>) -> Result<Self> {
        let spec = parts.spec;
        let pages_max = parts.pages_max.unwrap_or(PAGES_MAX);
        let mut plans = BTreeMap::new();
        for stream in &spec.streams {
            let plan = StreamPlan::new(parts.templates, &spec.http, stream, pages_max)?;
            plans.insert(stream.name.clone(), Arc::new(plan));
        }
        let check = spec.check.as_ref();
        let check = check.map(|check| RequestPlan::new(parts.templates, "check", &spec.http, check));
        let patience = parts.client.patience();
        let inner = Inner {
            plans,
            names: spec.streams.iter().map(|stream| stream.name.clone()).collect(),
            concurrency: patience.concurrency,
            response_bytes_max: patience.response_max_bytes,
            client: parts.client,
            clock: parts.clock,
            scope: parts.scope,
            read_as: parts.read_as,
        };
        Ok(Self {
            inner: Arc::new(inner),
            check: check.transpose()?,
            check_rules: Rules::new(parts.templates, "check", &[], &spec.http)?,
            descriptors: parts.descriptors,
        })
    }

    /// The client that all requests of this connection go through.
    pub fn client(&self) -> &Arc<Client> {
        &self.inner.client
    }

    /// The first page of the first stream that stands on its own.
    async fn check_by_reading(&self) -> Result<()> {
        let names = &self.inner.names;
        let is_alone = |name: &&String| {
            let plan = self.inner.plans.get(*name);
            plan.is_some_and(|plan| plan.slicing.parents.is_empty())
        };
        let Some(name) = names.iter().find(is_alone) else {
            return Ok(());
        };
        let request = ReadRequest {
            records_max: Some(1),
            ..ReadRequest::full(name)
        };
        let mut events = self.read(request);
        while let Some(event) = events.next().await {
            if matches!(event?, ReadEvent::Batch(_)) {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Source for DeclarativeSource {
    async fn check(&self) -> Result<()> {
        let Some(check) = &self.check else {
            return self.check_by_reading().await;
        };
        let now = self.inner.clock.now().to_string();
        let scope = self.inner.scope.clone().with("now", now);
        let outgoing = check.build(&scope, &[], None)?;
        let classify = |answer: &Answer| self.check_rules.classify(answer, &scope);
        self.inner.client.send(outgoing, &classify).await.map(drop)
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        Ok(self.descriptors.clone())
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        self.inner.clone().read(request)
    }

    fn read_with(
        &self,
        request: ReadRequest,
        others: Arc<dyn SliceReaders>,
    ) -> BoxStream<'static, Result<ReadEvent>> {
        self.inner.clone().read_by(request, Some(others))
    }

    fn slices_at_once(&self, stream: &str) -> usize {
        match self.inner.plan(stream) {
            Ok(plan) if !plan.slicing.is_whole() => self.inner.concurrency,
            _ => 0,
        }
    }

    fn read_slice(&self, task: SliceTask) -> BoxStream<'static, Result<ReadEvent>> {
        let (out, waiting) = mpsc::channel(PAGES_WAITING);
        let reading = share::read_handed(self.inner.clone(), task, out);
        Reading::of(reading, waiting)
    }

    fn cursor_value(&self, stream: &str, written: &str) -> Result<Value> {
        match &self.inner.plan(stream)?.cursor {
            Some(cursor) => cursor
                .written(written)
                .map_err(|error| error.with("stream", stream)),
            None => Err(Error::usage(format!(
                "stream '{stream}' has no cursor: it is read in full each time"
            ))
            .hint("begin anew with `weir state reset`, or declare a cursor")),
        }
    }
}

impl Inner {
    fn plan(&self, name: &str) -> Result<&Arc<StreamPlan>> {
        self.plans
            .get(name)
            .ok_or_else(|| no_such_stream(name, self.names.iter().map(String::as_str)))
    }

    /// Reads in a task of its own, which ends when the events are dropped.
    pub(crate) fn read(self: Arc<Self>, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        self.read_by(request, None)
    }

    fn read_by(
        self: Arc<Self>,
        request: ReadRequest,
        others: Option<Arc<dyn SliceReaders>>,
    ) -> BoxStream<'static, Result<ReadEvent>> {
        let (out, waiting) = mpsc::channel(PAGES_WAITING);
        let context = ReadContext::new(self, request, out);
        Reading::start(context.map(|context| context.with_others(others)), waiting)
    }

    /// Lists the parents of another read's slices. No cursor moves past `until`.
    fn read_parents(
        self: Arc<Self>,
        request: ReadRequest,
        until: Timestamp,
    ) -> BoxStream<'static, Result<ReadEvent>> {
        let (out, waiting) = mpsc::channel(PAGES_WAITING);
        let context = ReadContext::new(self, request, out);
        Reading::start(context.map(|context| context.moving_until(until)), waiting)
    }
}

/// The receiving end of a read.
struct Reading {
    waiting: mpsc::Receiver<Result<Events>>,
    task: AbortOnDropHandle<()>,
}

impl Reading {
    fn start(
        context: Result<ReadContext>,
        waiting: mpsc::Receiver<Result<Events>>,
    ) -> BoxStream<'static, Result<ReadEvent>> {
        match context {
            Ok(context) => Self::of(drive::drive(Arc::new(context)), waiting),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    /// The events that a task sends, which ends when they are dropped.
    fn of(
        work: impl Future<Output = ()> + Send + 'static,
        waiting: mpsc::Receiver<Result<Events>>,
    ) -> BoxStream<'static, Result<ReadEvent>> {
        let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
        stream::unfold(Self { waiting, task }, Self::next)
            .flat_map(stream::iter)
            .boxed()
    }

    async fn next(mut self) -> Option<(Vec<Result<ReadEvent>>, Self)> {
        if let Some(events) = self.waiting.recv().await {
            let events = match events {
                Ok(events) => events.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            return Some((events, self));
        }
        // The channel is closed: the task ended, or it broke off without a word.
        let (_, closed) = mpsc::channel(1);
        let ended = std::mem::replace(&mut self.task, AbortOnDropHandle::new(tokio::spawn(async {})));
        self.waiting = closed;
        let error = ended.await.err()?;
        let error = Error::internal("the read broke off")
            .caused_by(error)
            .hint("report this as a bug of weir; running again reads on");
        Some((vec![Err(error)], self))
    }
}
