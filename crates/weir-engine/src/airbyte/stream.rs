//! A stream: built from its component, and read slice by slice.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use weir_protocol::{Error, Record, Result};

use super::edges::SliceEdge;
use super::env::Env;
use super::jobs::{JobPages, Jobs};
use super::node::Node;
use super::page_reader::PageReader;
use super::retriever::{Keeps, Page, Pages, Reading, Retriever};
use super::schema::Schema;
use super::slices::{CursorPlan, NO_CURSOR, Partitioned, Router, Routing, Slice, Windows, migrations};
use super::template::py_text;
use super::time::{Moment, parse_duration};
use crate::extract::{Path, Step, find};

pub(crate) struct Stream {
    env: Arc<Env>,
    name: String,
    pub(crate) primary_key: Vec<Vec<String>>,
    reading: Reading,
    router: Option<Router>,
    cursor: Option<Arc<CursorPlan>>,
    cursor_path: Path,
    schema: Schema,
    loaded: OnceCell<Arc<Value>>,
    /// What it begins with.
    state: Value,
}

impl Stream {
    /// `state` is null or what an earlier read gave.
    pub(crate) fn new(env: &Arc<Env>, node: &Node<'_>, state: &Value, is_parent: bool) -> Result<Self> {
        if node.kind() == "StateDelegatingStream" {
            return Self::delegated(env, node, state, is_parent);
        }
        if node.kind() != "DeclarativeStream" {
            return Err(node.unknown("a stream"));
        }
        let name = node.need("name")?;
        let name = py_text(name.value);
        Self::build(env, node, &name, state, is_parent).map_err(|error| error.with("stream", &name))
    }

    fn build(env: &Arc<Env>, node: &Node<'_>, name: &str, state: &Value, is_parent: bool) -> Result<Self> {
        let state = migrations(env, node, state.clone())?;
        let component = node.need("retriever")?;
        let cursor = node.get("incremental_sync");
        let cursor = cursor
            .map(|cursor| CursorPlan::new(env, &cursor, name))
            .transpose()?
            .map(Arc::new);
        let router = component.get("partition_router");
        let router = router
            .map(|router| Router::new(env, &router, &state))
            .transpose()?;
        let is_client_side = cursor.as_ref().is_some_and(|cursor| cursor.is_client_side);
        let keeps_answers = is_parent || env.parents.iter().any(|parent| parent == name);
        let transforms = node.list("transformations");
        let reading = if component.kind() == "AsyncRetriever" {
            Reading::Jobs(Arc::new(Jobs::new(env, &component, &transforms, is_client_side)?))
        } else {
            let mut retriever = Retriever::new(env, &component, &transforms, is_client_side, keeps_answers)?;
            let is_lazy = router.as_ref().is_some_and(Router::is_lazy);
            retriever.reads_lazily = is_lazy && state.as_object().is_none_or(Map::is_empty);
            retriever.options = router.as_ref().map(Router::options).unwrap_or_default();
            if let Some(cursor) = &cursor {
                retriever.options.extend(cursor.options.iter().cloned());
            }
            retriever.cut_by(&component, cursor.clone())?;
            if let Some(configured) = env.catalog.get(name) {
                retriever.choose(env, &configured.schema)?;
            }
            Reading::Pages(Arc::new(retriever))
        };
        let field = cursor.as_ref().map(|cursor| cursor.field.clone());
        Ok(Self {
            env: env.clone(),
            name: name.to_owned(),
            primary_key: primary_key(node),
            reading,
            router,
            cursor_path: Path {
                steps: field.map(Step::Key).into_iter().collect(),
            },
            cursor,
            schema: Schema::new(env, node)?,
            loaded: OnceCell::new(),
            state,
        })
    }

    /// One stream for the first read and another for those that go on.
    fn delegated(env: &Arc<Env>, node: &Node<'_>, state: &Value, is_parent: bool) -> Result<Self> {
        let full = node.need("full_refresh_stream")?;
        if state.as_object().is_none_or(Map::is_empty) {
            return Self::new(env, &full, state, is_parent);
        }
        let incremental = Self::new(env, &node.need("incremental_stream")?, state, is_parent)?;
        let Some(retention) = node.text("api_retention_period")? else {
            return Ok(incremental);
        };
        let retention = retention.eval_text(&env.scope())?;
        let span = parse_duration(&retention)
            .ok_or_else(|| node.error(format!("api_retention_period is '{retention}', no duration")))?;
        let border = env.now().minus(span);
        if incremental
            .reached()
            .is_some_and(|reached| border.is_none_or(|border| reached >= border))
        {
            return Ok(incremental);
        }
        tracing::warn!(
            stream = incremental.name,
            "the state is older than what the source keeps; reading in full"
        );
        Self::new(env, &full, &Value::Null, is_parent)
    }

    /// How far the state says that the stream is read.
    fn reached(&self) -> Option<Moment> {
        if self.state.get(NO_CURSOR).is_some() {
            return Some(self.env.now());
        }
        let cursor = self.cursor.as_ref()?;
        let holder = self.state.get("state").unwrap_or(&self.state);
        holder.get(&cursor.field).and_then(|value| cursor.parse(value))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn cursor_field(&self) -> Option<&str> {
        self.cursor.as_ref().map(|cursor| cursor.field.as_str())
    }

    /// JSON Schema of its records.
    pub(crate) async fn schema(&self) -> Result<Arc<Value>> {
        let load = || async { Box::pin(self.schema.load(&self.env)).await.map(Arc::new) };
        self.loaded.get_or_try_init(load).await.cloned()
    }
}

fn primary_key(node: &Node<'_>) -> Vec<Vec<String>> {
    let Some(key) = node.get("primary_key") else {
        return Vec::new();
    };
    match key.value {
        Value::String(name) if name.is_empty() => Vec::new(),
        Value::String(name) => vec![vec![name.clone()]],
        _ => {
            let items = key.items().into_iter();
            items
                .map(|item| match item.value {
                    Value::Array(_) => item.items().iter().map(|step| py_text(step.value)).collect(),
                    other => vec![py_text(other)],
                })
                .collect()
        }
    }
}

/// How far a stream's cursor is.
enum Progress {
    None,
    Whole(Box<Windows>),
    Partitioned(Box<Partitioned>),
}

/// What tasks that read slices share.
#[derive(Clone)]
pub(crate) struct Tracking {
    stream: Arc<Stream>,
    progress: Arc<Mutex<Progress>>,
}

/// One reading of a stream.
pub(crate) struct StreamRead {
    tracking: Tracking,
    routing: Option<Box<dyn Routing>>,
    waiting: VecDeque<Arc<Slice>>,
    is_begun: bool,
}

impl StreamRead {
    pub(crate) fn new(stream: Arc<Stream>) -> Result<Self> {
        let routing = stream.router.as_ref().map(Router::begin).transpose()?;
        let progress = match (&stream.cursor, &stream.router) {
            (None, _) => Progress::None,
            (Some(cursor), None) => Progress::Whole(Box::new(Windows::new(cursor.clone(), &stream.state)?)),
            (Some(cursor), Some(router)) => {
                let is_global = cursor.is_global || router.is_grouping();
                Progress::Partitioned(Box::new(Partitioned::new(
                    cursor.clone(),
                    &without_mark(&stream.state),
                    is_global,
                )?))
            }
        };
        Ok(Self {
            tracking: Tracking {
                stream,
                progress: Arc::new(Mutex::new(progress)),
            },
            routing,
            waiting: VecDeque::new(),
            is_begun: false,
        })
    }

    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.tracking.stream.env
    }

    pub(crate) fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// The next slice to read; None when all have been given out.
    pub(crate) async fn next_slice(&mut self) -> Result<Option<Arc<Slice>>> {
        loop {
            if let Some(slice) = self.waiting.pop_front() {
                return Ok(Some(slice));
            }
            let Some(routing) = &mut self.routing else {
                if std::mem::replace(&mut self.is_begun, true) {
                    return Ok(None);
                }
                self.waiting = self.tracking.whole();
                continue;
            };
            let Some(partition) = routing.next().await? else {
                return Ok(None);
            };
            let mut progress = self.tracking.lock();
            match &mut *progress {
                Progress::Partitioned(partitioned) => {
                    let slices = partitioned.slices(&partition, routing.state())?;
                    self.waiting.extend(slices.into_iter().map(Arc::new));
                }
                _ => self.waiting.push_back(Arc::new(partition)),
            }
        }
    }

    /// All slices have been given out and closed.
    pub(crate) fn finish(&self) {
        if let Progress::Partitioned(partitioned) = &mut *self.tracking.lock() {
            partitioned.finish(self.routing.as_ref().and_then(|routing| routing.state()));
        }
    }
}

/// The mark of a stream that had no cursor says nothing about one that has.
fn without_mark(state: &Value) -> Value {
    let mut state = state.clone();
    if let Value::Object(members) = &mut state {
        members.shift_remove(NO_CURSOR);
    }
    state
}

impl Tracking {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Each change under this lock is complete in itself, so a panic elsewhere leaves it sound.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole(&self) -> VecDeque<Arc<Slice>> {
        let whole = Slice::whole();
        match &mut *self.lock() {
            Progress::Whole(windows) => {
                let slices = windows.slices().into_iter();
                slices.map(|window| Arc::new(whole.with_cursor(window))).collect()
            }
            _ => VecDeque::from([Arc::new(whole)]),
        }
    }

    /// The pages of a slice, not yet asked for.
    pub(crate) async fn pages(&self, slice: &Arc<Slice>) -> Result<Pages> {
        let stream = &self.stream;
        let schema = if stream.reading.normalises() {
            Some(stream.schema().await?)
        } else {
            None
        };
        let wants = |cursor: &Arc<CursorPlan>| self.wants(cursor.clone(), slice.clone());
        let cursor = stream.cursor.as_ref();
        let feed = cursor.filter(|cursor| cursor.is_data_feed).map(wants);
        let keeps = cursor
            .filter(|cursor| cursor.is_client_side && !cursor.is_data_feed)
            .map(wants);
        Ok(match &stream.reading {
            Reading::Pages(retriever) => {
                let mut reader = PageReader::new(stream.env.clone(), slice.clone());
                (reader.schema, reader.feed, reader.keeps) = (schema, feed, keeps);
                Pages::Paged(retriever.clone(), Box::new(reader))
            }
            Reading::Jobs(jobs) => {
                let mut pages = JobPages::new(jobs.clone(), stream.env.clone(), slice.clone());
                (pages.schema, pages.keeps) = (schema, keeps);
                Pages::Job(Box::new(pages))
            }
        })
    }

    fn wants(&self, cursor: Arc<CursorPlan>, slice: Arc<Slice>) -> Keeps {
        let tracking = self.clone();
        Arc::new(move |record| {
            let value = record.get(&cursor.field).filter(|value| !value.is_null());
            let at = value.and_then(|value| cursor.parse(value));
            match &*tracking.lock() {
                Progress::None => true,
                Progress::Whole(windows) => windows.wants(at),
                Progress::Partitioned(partitioned) => partitioned.wants(&slice, at),
            }
        })
    }

    /// Follows the cursor of a page's records; where each record and its cursor lie. Records that the
    /// edge knows are left out.
    pub(crate) fn observe(
        &self,
        slice: &Slice,
        page: &Page,
        mut edge: Option<&mut SliceEdge>,
    ) -> Result<Vec<Record>> {
        let mut records = Vec::with_capacity(page.records.len());
        let mut newest: Option<Moment> = None;
        for span in &page.records {
            let whole = span.start as usize..span.end as usize;
            let at = match &self.stream.cursor {
                Some(_) => find(&page.body, &whole, &self.stream.cursor_path).unwrap_or_default(),
                None => None,
            };
            if let (Some(at), Some(cursor)) = (&at, &self.stream.cursor) {
                let parsed = cursor_value(&page.body[at.clone()]).and_then(|value| cursor.parse(&value));
                newest = newest.max(parsed);
                if let (Some(edge), Some(parsed)) = (edge.as_deref_mut(), parsed)
                    && edge.knows(cursor.stored(parsed), &page.body[whole])
                {
                    continue;
                }
            }
            let at = at.unwrap_or(0..0);
            records.push(Record {
                start: span.start,
                len: span.end - span.start,
                cursor_start: place(&at)?,
                cursor_len: u32::try_from(at.len()).unwrap_or(0),
            });
        }
        if let Some(newest) = newest {
            match &mut *self.lock() {
                Progress::None => {}
                Progress::Whole(windows) => windows.observe(&slice.view.cursor, newest),
                Progress::Partitioned(partitioned) => partitioned.observe(slice, newest),
            }
        }
        Ok(records)
    }

    pub(crate) fn close(&self, slice: &Slice) {
        match &mut *self.lock() {
            Progress::None => {}
            Progress::Whole(windows) => windows.close(&slice.view.cursor),
            Progress::Partitioned(partitioned) => partitioned.close(slice),
        }
    }

    /// In the reference's format.
    pub(crate) fn state(&self) -> Value {
        match &*self.lock() {
            Progress::None => serde_json::json!({ NO_CURSOR: true }),
            Progress::Whole(windows) => windows.state(),
            Progress::Partitioned(partitioned) => partitioned.state(),
        }
    }

    /// Whether its state grows with its partitions, so that it is told only now and then.
    pub(crate) fn is_partitioned(&self) -> bool {
        matches!(&*self.lock(), Progress::Partitioned(_))
    }
}

/// A cursor's raw JSON as a value; null is none.
fn cursor_value(raw: &[u8]) -> Option<Value> {
    let value: Value = serde_json::from_slice(raw).ok()?;
    Some(value).filter(|value| !value.is_null())
}

fn place(at: &Range<usize>) -> Result<u32> {
    u32::try_from(at.start)
        .map_err(|_| Error::limit("a page is larger than 4 GiB").hint("ask for smaller pages"))
}
