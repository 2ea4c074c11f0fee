//! Reading a stream: folder after folder, each from where its state says, page after page.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr_iter;
use serde_json::json;
use tokio::sync::mpsc;
use url::Url;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{
    Batch, Error, ReadEvent, ReadMode, ReadRequest, Record, Result, SliceState, StateChange,
};

use super::imap::{PageHead, PageWish};
use super::marks::{Mark, Turn, turn};
use crate::http::{Answer, Client, Outgoing, Sent};

/// Messages of one page; the carrier takes fewer where they are large.
const MESSAGES_MAX: usize = 200;
/// Times that a folder may be begun anew within one read.
const REBUILDS_MAX: u32 = 3;

pub(super) type Events = mpsc::Sender<Result<ReadEvent>>;

/// Asks the mail servers, through the connection's client.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) client: Arc<Client>,
    /// `mail://<host>`.
    pub(super) base: Url,
}

impl Desk {
    pub(super) async fn ask(&self, path: &str, params: &[(&'static str, String)]) -> Result<Answer> {
        let mut url = self.base.clone();
        url.set_path(path);
        if !params.is_empty() {
            url.query_pairs_mut().extend_pairs(params);
        }
        match self.client.send(Outgoing::get(url), &|_| Ok(None)).await? {
            Sent::Answer(answer) | Sent::Ignored(answer) | Sent::NotModified(answer) => Ok(answer),
        }
    }
}

/// A folder as the desk lists it.
#[derive(serde::Deserialize)]
struct Listed {
    name: String,
    path: String,
    is_read: bool,
}

pub(super) struct Job {
    pub(super) desk: Desk,
    pub(super) request: ReadRequest,
    pub(super) out: Events,
    progress: Progress,
    left: Option<u64>,
}

/// Nobody reads on: no failure.
struct Stopped;

enum End {
    Stopped,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl Job {
    pub(super) fn new(desk: Desk, request: ReadRequest, out: Events) -> Self {
        Self {
            desk,
            left: request.records_max,
            request,
            out,
            progress: Progress::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let done = match self.request.stream.as_str() {
            "messages" => self.messages().await,
            "folders" => self.folders().await,
            other => Err(End::Failed(
                Error::not_found(format!("there is no stream '{other}'"))
                    .hint("streams are messages and folders"),
            )),
        };
        if let Err(End::Failed(error)) = done
            && self.out.send(Err(error)).await.is_err()
        {
            tracing::debug!("nobody reads the error");
        }
    }

    async fn folders(&mut self) -> Result<(), End> {
        let answer = self.desk.ask("/folders", &[]).await?;
        let lines = lines(&answer.body)?;
        self.batch(Arc::from(weir_protocol::state::WHOLE), &answer, lines)
            .await?;
        self.complete(BTreeMap::new()).await
    }

    async fn messages(&mut self) -> Result<(), End> {
        if self.request.from.is_some() || self.request.to.is_some() {
            return Err(End::Failed(
                Error::usage("messages are read by their numbers, not from or to a date")
                    .hint("read the stream as a whole with `weir sync --full`"),
            ));
        }
        let answer = self.desk.ask("/folders", &[]).await?;
        let mut folders = Vec::new();
        for record in lines(&answer.body)? {
            let listed: Listed =
                serde_json::from_slice(text(&answer.body, &record)).map_err(|error| unreadable(&error))?;
            folders.push(listed);
        }
        folders.retain(|folder| folder.is_read);
        self.progress.slices_total = folders.len() as u64;
        let mut slices = BTreeMap::new();
        for folder in folders {
            let key: Arc<str> = Arc::from(json!({ "folder": folder.name }).to_string());
            let mark = self.folder(&folder, &key).await?;
            slices.insert(key, state_of(mark, false));
        }
        self.complete(slices).await
    }

    /// Reads a folder to its end.
    async fn folder(&mut self, folder: &Listed, key: &Arc<str>) -> Result<Mark, End> {
        let known = self.known(key);
        let mut mark = known;
        let (mut anew, mut rebuilds) = (true, 0);
        loop {
            let wish = PageWish {
                path: folder.path.clone(),
                folder: folder.name.clone(),
                after: mark.map_or(0, |mark| mark.uid),
                validity: mark.map_or(0, |mark| mark.validity),
                anew,
                messages_max: self.page_size(),
            };
            let answer = self.desk.ask("/messages", &wish.params()).await;
            let answer = answer.map_err(|error| error.with("folder", &folder.name))?;
            let mut records = lines(&answer.body)?;
            let first = records.drain(..1.min(records.len())).next();
            let head = first.map(|head| serde_json::from_slice(text(&answer.body, &head)));
            let head: PageHead = head
                .transpose()
                .map_err(|error| unreadable(&error))?
                .ok_or_else(|| Error::internal("a page has no head").hint("report it"))?;
            anew = false;
            if let Turn::Anew { was } = turn(mark, head.validity, head.next) {
                rebuilds += 1;
                if rebuilds > REBUILDS_MAX {
                    return Err(End::Failed(keeps_changing(&folder.name)));
                }
                self.tell_of(folder, was, head.validity).await?;
                (mark, anew) = (None, true);
                continue;
            }
            let at = Mark {
                validity: head.validity,
                uid: head.covered,
            };
            let moved = mark != Some(at);
            mark = Some(at);
            self.batch(key.clone(), &answer, records).await?;
            if moved || head.is_end() {
                self.advance(key, at, head.is_end()).await?;
            }
            if head.is_end() {
                return Ok(at);
            }
        }
    }

    /// Where the folder's state says that it was read to. A full refresh goes on only where it was cut off.
    fn known(&self, key: &str) -> Option<Mark> {
        let state = self.request.state.as_ref()?;
        let goes_on = self.request.mode == ReadMode::Incremental || !state.complete;
        let slice = state.slices.get(key).filter(|_| goes_on)?;
        Mark::of(slice.cursor.as_ref()?)
    }

    fn page_size(&self) -> usize {
        let left = self
            .left
            .map_or(MESSAGES_MAX, |left| usize::try_from(left).unwrap_or(MESSAGES_MAX));
        left.clamp(1, MESSAGES_MAX)
    }

    async fn tell_of(&mut self, folder: &Listed, was: u32, now: u32) -> Result<(), Stopped> {
        let notice = Notice {
            message: format!(
                "folder '{}' was rebuilt by its server (UIDVALIDITY {was} is now {now}): all of it is read again",
                folder.name
            ),
            hint: Some("its messages come under new numbers; records of the old UIDVALIDITY stay until a full refresh".to_owned()),
        };
        self.send(ReadEvent::Notice(notice)).await
    }

    async fn batch(
        &mut self,
        slice: Arc<str>,
        answer: &Answer,
        mut records: Vec<Record>,
    ) -> Result<(), Stopped> {
        if let Some(left) = self.left {
            records.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self.progress.pages += 1;
        self.progress.requests += 1;
        self.progress.bytes += answer.body.len() as u64;
        if records.is_empty() {
            return Ok(());
        }
        let count = records.len() as u64;
        self.send(ReadEvent::Batch(Batch {
            slice,
            body: answer.body.clone(),
            records,
            filtered: 0,
            deduplicated: 0,
            emitted_at: answer.received_at,
        }))
        .await?;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(count);
            if *left == 0 {
                return Err(Stopped);
            }
        }
        Ok(())
    }

    async fn advance(&mut self, key: &Arc<str>, mark: Mark, is_end: bool) -> Result<(), Stopped> {
        self.progress.slices_done += u64::from(is_end);
        self.send(ReadEvent::Advance(StateChange::Slice {
            key: key.clone(),
            state: state_of(mark, is_end),
        }))
        .await?;
        self.send(ReadEvent::Progress(self.progress)).await
    }

    async fn complete(&mut self, slices: BTreeMap<Arc<str>, SliceState>) -> Result<(), End> {
        let change = StateChange::Complete {
            floor: None,
            groups: Vec::new(),
            slices,
        };
        Ok(self.send(ReadEvent::Advance(change)).await?)
    }

    async fn send(&mut self, event: ReadEvent) -> Result<(), Stopped> {
        self.out.send(Ok(event)).await.map_err(|_| Stopped)
    }
}

fn state_of(mark: Mark, done: bool) -> SliceState {
    SliceState {
        cursor: Some(mark.cursor()),
        done,
        ..SliceState::default()
    }
}

/// Where each line of a body lies.
fn lines(body: &Bytes) -> Result<Vec<Record>> {
    let mut start = 0;
    memchr_iter(b'\n', body)
        .map(|end| {
            let small = |number: usize| {
                u32::try_from(number).map_err(|_| {
                    Error::limit("a page is too large").hint("lower config.imap.message_bytes_max")
                })
            };
            let record = Record {
                start: small(start)?,
                len: small(end - start)?,
                cursor_start: 0,
                cursor_len: 0,
            };
            start = end + 1;
            Ok(record)
        })
        .collect()
}

fn text<'a>(body: &'a Bytes, record: &Record) -> &'a [u8] {
    let start = record.start as usize;
    body.get(start..start + record.len as usize).unwrap_or_default()
}

fn unreadable(error: &serde_json::Error) -> Error {
    Error::internal("what the mail servers were asked for is not as it should be")
        .with("problem", error)
        .hint("report it")
}

fn keeps_changing(folder: &str) -> Error {
    Error::source_failed("the mail server gives the folder's messages new numbers again and again")
        .with("folder", folder)
        .hint("look at the server: a folder's UIDVALIDITY should never change")
}
