//! What was received, read like any other stream.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::hook::{Inbox, Received};
use weir_protocol::slices::{SliceReaders, SliceTask};
use weir_protocol::source::Progress;
use weir_protocol::spec::{HookSpec, StreamPolicy};
use weir_protocol::state::WHOLE;
use weir_protocol::{
    Batch, Error, ForeignState, ReadEvent, ReadMode, ReadRequest, Record, Result, SliceState, Source,
    StateChange, StreamDescriptor, StreamState, SyncMode,
};

/// Messages that are read at once.
const PAGE: u32 = 500;

/// The stream that messages land in: a row each, by the sender's id.
pub(crate) fn descriptor(spec: &HookSpec, connection: &ConnectionSpec) -> StreamDescriptor {
    let text = || json!({ "type": ["string", "null"] });
    let choice = connection.streams.get(&spec.stream);
    let mut policy = StreamPolicy::default();
    if let Some(choice) = choice {
        policy.contract = choice.contract.unwrap_or(policy.contract);
        policy.pii.extend(choice.pii.clone().unwrap_or_default());
        policy.partition_by = choice.partition_by.clone().unwrap_or_default();
    }
    StreamDescriptor {
        name: spec.stream.clone(),
        entity: spec.stream.clone(),
        description: Some("What the system sent by itself, as it was received.".to_owned()),
        schema: Some(json!({
            "type": "object",
            "properties": {
                "id": { "type": "string" },
                "type": text(),
                "received_at": { "type": "string", "format": "date-time" },
                "place": { "type": "integer" },
                // As text: what messages of one system have in common is little.
                "body": { "type": "string" },
            },
        })),
        primary_key: vec!["id".to_owned()],
        cursor_field: Some("place".to_owned()),
        mode: Some(SyncMode::IncrementalMerge),
        is_received: true,
        policy,
    }
}

/// A source, and the stream of what it sends by itself.
pub(crate) struct WithInbox {
    pub(crate) inner: Arc<dyn Source>,
    pub(crate) inbox: Option<Arc<dyn Inbox>>,
    pub(crate) stream: StreamDescriptor,
    /// Whether there is anything else to read: a check of it asks the system.
    pub(crate) has_more: bool,
}

impl WithInbox {
    fn begin(&self, request: &ReadRequest) -> Result<Reading> {
        let name = &self.stream.name;
        if request.mode == ReadMode::FullRefresh {
            return Err(Error::usage(format!(
                "stream '{name}' cannot be read in full: what was received is not sent again"
            ))
            .hint("use incremental_merge; `weir lake rebuild` makes the table anew from Bronze"));
        }
        let inbox = self.inbox.clone().ok_or_else(|| {
            Error::usage(format!("what stream '{name}' received is not kept here"))
                .hint("sync the connection where the control store is, as `weir sync` and `weir serve` do")
        })?;
        let stored = request.state.as_ref().map_or(Ok(0), place_in)?;
        let place = request
            .from
            .as_deref()
            .map_or(Ok(stored), |from| Ok(place_of(from)?.saturating_sub(1)))?;
        Ok(Reading {
            inbox,
            // A state is what was committed with the rows it covers.
            landed: (place == stored && stored > 0).then_some(stored),
            place,
            left: request.records_max,
            until: request.to.as_deref().map(place_of).transpose()?,
            progress: Progress::default(),
            is_over: false,
        })
    }
}

fn place_of(text: &str) -> Result<i64> {
    text.parse().map_err(|_| {
        Error::usage("the place of a received message is a whole number")
            .with("given", text)
            .hint("as in 1")
    })
}

fn place_in(state: &StreamState) -> Result<i64> {
    match state.cursor_of(WHOLE) {
        None => Ok(0),
        Some(place) => place.as_i64().ok_or_else(|| {
            Error::usage("the stream's state is not that of received messages")
                .with("cursor", place.to_string())
                .hint("`weir state reset` lets it be read from the first message that is kept")
        }),
    }
}

struct Reading {
    inbox: Arc<dyn Inbox>,
    place: i64,
    /// Still to be told to whoever keeps the messages.
    landed: Option<i64>,
    /// Records that are still wanted, where not all are.
    left: Option<u64>,
    until: Option<i64>,
    progress: Progress,
    is_over: bool,
}

impl Reading {
    /// The events of one page; none after the last.
    async fn page(&mut self) -> Result<Vec<ReadEvent>> {
        if self.is_over {
            return Ok(Vec::new());
        }
        if let Some(place) = self.landed.take() {
            self.inbox.landed(place).await?;
        }
        let wanted = u32::try_from(self.left.unwrap_or(u64::from(PAGE)))
            .unwrap_or(PAGE)
            .min(PAGE);
        let mut page = self.inbox.after(self.place, wanted).await?;
        let found = page.len();
        if let Some(until) = self.until {
            page.retain(|message| message.place <= until);
        }
        let mut events = Vec::new();
        if let Some(last) = page.last() {
            self.place = last.place;
            self.progress.pages += 1;
            let batch = batch(&page)?;
            self.progress.bytes += batch.body.len() as u64;
            self.left = self.left.map(|left| left.saturating_sub(page.len() as u64));
            events.push(ReadEvent::Batch(batch));
            events.push(ReadEvent::Progress(self.progress));
        }
        let state = SliceState {
            cursor: (self.place > 0).then(|| Value::from(self.place)),
            ..SliceState::default()
        };
        let is_cut = self.left == Some(0);
        // A page may be short where its messages are large.
        self.is_over = is_cut || found == 0 || page.len() < found;
        if self.is_over && !is_cut {
            events.push(ReadEvent::Advance(StateChange::Complete {
                floor: None,
                groups: Vec::new(),
                slices: [(Arc::from(WHOLE), state)].into(),
            }));
        } else {
            events.push(ReadEvent::Advance(StateChange::Slice {
                key: Arc::from(WHOLE),
                state,
            }));
        }
        Ok(events)
    }
}

/// One line a message; its body is text in it.
fn batch(page: &[Received]) -> Result<Batch> {
    let mut body = String::new();
    let mut records = Vec::with_capacity(page.len());
    for message in page {
        let start = body.len();
        let at = Timestamp::from_millisecond(message.received_at_ms).map_err(|error| {
            Error::internal("the time of a received message cannot be")
                .caused_by(error)
                .hint("report it")
        })?;
        // A String takes everything.
        write!(body, "{{\"place\":{}", message.place).unwrap_or_default();
        let cursor = start + "{\"place\":".len()..body.len();
        let (id, kind) = (
            Value::from(message.id.as_str()),
            Value::from(message.kind.clone()),
        );
        let text = Value::from(message.body.as_str());
        writeln!(
            body,
            ",\"id\":{id},\"type\":{kind},\"received_at\":\"{at}\",\"body\":{text}}}"
        )
        .unwrap_or_default();
        records.push(Record {
            start: offset(start)?,
            len: offset(body.len() - 1 - start)?,
            cursor_start: offset(cursor.start)?,
            cursor_len: offset(cursor.len())?,
        });
    }
    Ok(Batch {
        slice: Arc::from(WHOLE),
        body: Bytes::from(body),
        records,
        filtered: 0,
        deduplicated: 0,
        emitted_at: Timestamp::now(),
    })
}

fn offset(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|error| {
        Error::internal("a page of received messages is larger than 4 GiB")
            .caused_by(error)
            .hint("report it")
    })
}

#[async_trait]
impl Source for WithInbox {
    async fn check(&self) -> Result<()> {
        if self.has_more {
            return self.inner.check().await;
        }
        Ok(())
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        let mut all = self.inner.discover().await?;
        all.push(self.stream.clone());
        Ok(all)
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        if request.stream != self.stream.name {
            return self.inner.read(request);
        }
        let reading = match self.begin(&request) {
            Ok(reading) => reading,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        stream::try_unfold(reading, async |mut reading| {
            let events = reading.page().await?;
            Ok((!events.is_empty()).then_some((events, reading)))
        })
        .map(|page: Result<Vec<ReadEvent>>| match page {
            Ok(events) => stream::iter(events.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        })
        .flatten()
        .boxed()
    }

    fn read_with(
        &self,
        request: ReadRequest,
        others: Arc<dyn SliceReaders>,
    ) -> BoxStream<'static, Result<ReadEvent>> {
        if request.stream == self.stream.name {
            return self.read(request);
        }
        self.inner.read_with(request, others)
    }

    fn may_be_outdated(&self, stream: &str) -> bool {
        stream != self.stream.name && self.inner.may_be_outdated(stream)
    }

    async fn outdated(&self, stream: &str, state: &StreamState) -> Result<Option<String>> {
        if stream == self.stream.name {
            return Ok(None);
        }
        self.inner.outdated(stream, state).await
    }

    fn slices_at_once(&self, stream: &str) -> usize {
        self.inner.slices_at_once(stream)
    }

    fn read_slice(&self, task: SliceTask) -> BoxStream<'static, Result<ReadEvent>> {
        self.inner.read_slice(task)
    }

    fn foreign_state(&self, stream: &str, state: &ForeignState) -> Result<StreamState> {
        self.inner.foreign_state(stream, state)
    }

    fn cursor_value(&self, stream: &str, written: &str) -> Result<Value> {
        if stream == self.stream.name {
            return place_of(written).map(Value::from);
        }
        self.inner.cursor_value(stream, written)
    }
}
