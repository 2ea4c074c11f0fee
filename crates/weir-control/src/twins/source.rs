use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use weir_protocol::source::{Notice, Progress};
use weir_protocol::state::WHOLE;
use weir_protocol::*;

use super::Death;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) updated: u64,
    pub(crate) text: String,
}

/// An API with one page token that counts items, in ascending order of `updated`.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) items: Arc<Mutex<Vec<Item>>>,
    pub(crate) page_size: usize,
    /// Pages before each move of state.
    pub(crate) pages_per_advance: usize,
    pub(crate) death: Arc<Death>,
    /// Fails instead of giving this page.
    pub(crate) fails_at_page: Option<usize>,
    /// Never gives this page.
    pub(crate) hangs_at_page: Option<usize>,
    pub(crate) forgets_to_complete: bool,
    /// Which version it is of something that is read only as a whole, as a file is.
    pub(crate) version: Option<u64>,
}

impl Api {
    pub(crate) fn new(items: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let item = |(id, updated)| Item {
            id,
            updated,
            text: format!("v{updated}"),
        };
        Self {
            items: Arc::new(Mutex::new(items.into_iter().map(item).collect())),
            page_size: 3,
            pages_per_advance: 1,
            death: Death::never(),
            fails_at_page: None,
            hangs_at_page: None,
            forgets_to_complete: false,
            version: None,
        }
    }

    fn batch(items: &[Item]) -> Batch {
        let mut body = Vec::new();
        let mut records = Vec::new();
        for item in items {
            let text = json!({"id": item.id, "updated": item.updated, "text": item.text}).to_string();
            let start = u32::try_from(body.len()).unwrap();
            let len = u32::try_from(text.len()).unwrap();
            body.extend_from_slice(text.as_bytes());
            records.push(Record {
                start,
                len,
                cursor_start: 0,
                cursor_len: 0,
            });
        }
        Batch {
            slice: WHOLE.into(),
            body: Bytes::from(body),
            records,
            filtered: 0,
            deduplicated: 0,
            emitted_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// What is to be read, and how much of it an earlier read has acknowledged.
    fn events(&self, request: &ReadRequest) -> Vec<Result<ReadEvent>> {
        let state = request.state.clone().unwrap_or_default();
        let since = match request.mode {
            ReadMode::Incremental => state.cursor_of(WHOLE).and_then(Value::as_u64),
            ReadMode::FullRefresh => None,
        };
        let mut items = self.items.lock().unwrap().clone();
        items.sort_by_key(|item| (item.updated, item.id));
        items.retain(|item| since.is_none_or(|since| item.updated > since));
        let whole = state.slices.get(WHOLE);
        let read = match request.mode {
            ReadMode::FullRefresh => whole
                .and_then(|slice| slice.page.as_ref())
                .and_then(Value::as_u64),
            ReadMode::Incremental => None,
        };
        let rest = &items[usize::try_from(read.unwrap_or(0)).unwrap()..];
        let mut given = read.unwrap_or(0);
        let mut events = Vec::new();
        for (page, chunk) in rest.chunks(self.page_size).enumerate() {
            if self.fails_at_page == Some(page) {
                events.push(Err(Error::unavailable("the twin is down").hint("wait")));
                return events;
            }
            given += chunk.len() as u64;
            let pages = page as u64 + 1;
            events.push(Ok(ReadEvent::Batch(Self::batch(chunk))));
            events.push(Ok(ReadEvent::Progress(Progress {
                pages,
                requests: pages,
                ..Progress::default()
            })));
            if (page + 1) % self.pages_per_advance == 0 {
                events.push(Ok(ReadEvent::Advance(StateChange::Slice {
                    key: WHOLE.into(),
                    state: SliceState {
                        cursor: chunk.last().map(|item| item.updated.into()),
                        page: Some(given.into()),
                        pending: self.version.map(Value::from),
                        ..SliceState::default()
                    },
                })));
            }
        }
        events.push(Ok(ReadEvent::Notice(Notice {
            message: "all read".to_owned(),
            hint: None,
        })));
        if !self.forgets_to_complete {
            let newest = items.last().map(|item| item.updated).or(since);
            events.push(Ok(ReadEvent::Advance(StateChange::Complete {
                floor: newest.map(Value::from),
                groups: Vec::new(),
                slices: Default::default(),
            })));
        }
        events
    }
}

#[async_trait]
impl Source for Api {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        Ok(vec![StreamDescriptor {
            name: "items".to_owned(),
            entity: "items".to_owned(),
            ..StreamDescriptor::default()
        }])
    }

    fn may_be_outdated(&self, _stream: &str) -> bool {
        self.version.is_some()
    }

    async fn outdated(&self, _stream: &str, state: &StreamState) -> Result<Option<String>> {
        self.death.step().await;
        let whole = state.slices.get(WHOLE);
        let read = whole
            .and_then(|slice| slice.pending.as_ref())
            .and_then(Value::as_u64);
        Ok((read != self.version).then(|| "it is another version".to_owned()))
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        let (death, hangs) = (self.death.clone(), self.hangs_at_page);
        let mut pages = 0;
        stream::iter(self.events(&request))
            .then(move |event| {
                let is_batch = matches!(event, Ok(ReadEvent::Batch(_)));
                let hang = is_batch && hangs == Some(pages);
                pages += usize::from(is_batch);
                let death = death.clone();
                async move {
                    death.step().await;
                    if hang {
                        std::future::pending::<()>().await;
                    }
                    event
                }
            })
            .boxed()
    }
}
