//! Reads the shop as an engine would: pages by key, a cursor with lookback, an edge where no key tells
//! records apart.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use weir_protocol::state::WHOLE;
use weir_protocol::{
    Batch, Error, ReadEvent, ReadMode, ReadRequest, Record, Result, SliceState, Source, StateChange,
    StreamDescriptor,
};

use super::desk::{Kind, Verdict, pass};
use super::shop::{Item, LOOKBACK, Shared};

#[derive(Clone)]
pub(super) struct Api(pub(super) Shared);

#[async_trait]
impl Source for Api {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        Ok(Vec::new())
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        stream::unfold(Reader::new(self.0.clone(), &request), |mut reader| async move {
            let event = reader.next()?;
            Some((event, reader))
        })
        .boxed()
    }
}

struct Reader {
    shop: Shared,
    is_full: bool,
    /// Where pages begin: cursor and id, or only the id of a full read.
    after: Option<(u64, u64)>,
    first: u64,
    /// The newest cursor of which all is read once the read ends.
    floor: u64,
    /// The cursor and the ids at it, where no key tells records apart.
    edge: (u64, Vec<String>),
    pages: u64,
    waiting: VecDeque<Result<ReadEvent>>,
    is_over: bool,
}

fn number(value: Option<&Value>) -> Option<u64> {
    value.and_then(Value::as_u64)
}

impl Reader {
    fn new(shop: Shared, request: &ReadRequest) -> Self {
        let state = request.state.clone().unwrap_or_default();
        let slice = state.slices.get(WHOLE).cloned().unwrap_or_default();
        let is_full = request.mode == ReadMode::FullRefresh;
        let (is_log, newest) = {
            let shop = shop.lock().unwrap();
            (shop.is_log, shop.newest())
        };
        let cursor = number(state.cursor_of(WHOLE));
        let page = number(slice.page.as_ref());
        let since = cursor.unwrap_or(0);
        // A read that goes on knows less than the shop does now.
        let begun = number(slice.pending.as_ref()).unwrap_or(newest);
        Self {
            is_full,
            after: page.filter(|_| is_full).map(|id| (0, id)),
            first: if is_log {
                since
            } else {
                since.saturating_sub(LOOKBACK)
            },
            floor: if is_full && !is_log { begun } else { since },
            edge: (
                since,
                if is_full && page.is_none() {
                    Vec::new()
                } else {
                    slice.edge
                },
            ),
            pages: 0,
            waiting: VecDeque::new(),
            is_over: false,
            shop,
        }
    }

    fn next(&mut self) -> Option<Result<ReadEvent>> {
        if self.waiting.is_empty() && !self.is_over {
            match pass(Kind::Page, || format!("page {}", self.pages + 1)) {
                Verdict::Fail => {
                    self.is_over = true;
                    return Some(Err(Error::unavailable("the shop does not answer").hint("wait")));
                }
                _ => self.page(),
            }
        }
        self.waiting.pop_front()
    }

    fn page(&mut self) {
        let shop = self.shop.clone();
        let mut shop = shop.lock().unwrap();
        let page = match (self.is_full, self.after) {
            (true, after) => shop.all(after.map_or(0, |(_, id)| id)),
            (false, after) => shop.since(self.first, after),
        };
        self.pages += 1;
        let is_last = page.len() < shop.page_size;
        let is_log = shop.is_log;
        let times = if shop.repeats() { 2 } else { 1 };
        for _ in 0..times {
            shop.given += 1;
            let batch = self.batch(&page, shop.given, is_log);
            self.waiting.push_back(Ok(ReadEvent::Batch(batch)));
        }
        if let Some(last) = page.last() {
            self.after = Some((last.at, last.id));
        }
        if !self.is_full || is_log {
            self.floor = page.iter().map(|item| item.at).fold(self.floor, u64::max);
        }
        if is_last {
            self.is_over = true;
            self.waiting
                .push_back(Ok(ReadEvent::Advance(self.complete(is_log))));
        } else if self.pages.is_multiple_of(shop.pages_per_advance) {
            let state = self.slice(is_log);
            let advance = StateChange::Slice {
                key: WHOLE.into(),
                state,
            };
            self.waiting.push_back(Ok(ReadEvent::Advance(advance)));
        }
    }

    /// Leaves out what was acknowledged at the edge, and moves the edge along.
    fn batch(&mut self, page: &[Item], number: u64, is_log: bool) -> Batch {
        let mut fresh = Vec::new();
        for item in page {
            let digest = item.version.to_string();
            if is_log {
                if item.at > self.edge.0 {
                    self.edge = (item.at, Vec::new());
                }
                if self.edge.1.contains(&digest) {
                    continue;
                }
                self.edge.1.push(digest);
            }
            fresh.push(item);
        }
        let mut body = Vec::new();
        let mut records = Vec::new();
        for item in &fresh {
            let (start, text) = (body.len(), item.json().to_string());
            let cursor = format!("\"at\":{}", item.at);
            let place = text.find(&cursor).unwrap() + "\"at\":".len();
            body.extend_from_slice(text.as_bytes());
            let number = |count: usize| u32::try_from(count).unwrap();
            records.push(Record {
                start: number(start),
                len: number(text.len()),
                cursor_start: number(start + place),
                cursor_len: number(item.at.to_string().len()),
            });
        }
        Batch {
            slice: WHOLE.into(),
            body: Bytes::from(body),
            records,
            filtered: 0,
            deduplicated: (page.len() - fresh.len()) as u64,
            emitted_at: arrival(number),
        }
    }

    fn slice(&self, is_log: bool) -> SliceState {
        let cursor = match (self.is_full, is_log) {
            (true, false) => None,
            (_, true) => Some(json!(self.edge.0)),
            (false, false) => self.after.map(|(at, _)| json!(at)),
        };
        SliceState {
            cursor,
            page: self.after.filter(|_| self.is_full).map(|(_, id)| json!(id)),
            pending: (self.is_full && !is_log).then(|| json!(self.floor)),
            edge: if is_log { self.edge.1.clone() } else { Vec::new() },
            ..SliceState::default()
        }
    }

    fn complete(&self, is_log: bool) -> StateChange {
        let edge = SliceState {
            page: None,
            ..self.slice(true)
        };
        StateChange::Complete {
            floor: (!is_log).then(|| json!(self.floor)),
            groups: Vec::new(),
            slices: is_log.then(|| (WHOLE.into(), edge)).into_iter().collect(),
        }
    }
}

/// Each page has its own time of arrival, by which it is found again.
fn arrival(number: u64) -> Timestamp {
    let start: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_millis(i64::try_from(number).unwrap())
}
