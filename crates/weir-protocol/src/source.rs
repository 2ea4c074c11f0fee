//! What every outside system that is read looks like.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::record::Batch;
use crate::slices::{SliceReaders, SliceTask};
use crate::spec::StreamPolicy;
use crate::state::{StateChange, StreamState};
use crate::sync_mode::{ReadMode, SyncMode};

/// A connection that can be read.
///
/// # Contract
///
/// - `read` yields the batches of one stream; a [`ReadEvent::Advance`] covers all batches that came
///   before it on the same stream, and no other.
/// - Given the state that covers some batches, `read` yields at least every record after them. It
///   may yield records again; the destination makes that harmless.
/// - The last event of a read that came to its end is `Advance(StateChange::Complete { .. })`.
/// - Dropping the stream stops the reading. An error is the stream's last item.
#[async_trait]
pub trait Source: Send + Sync {
    /// Proves that the credential and the settings work, with one cheap request.
    async fn check(&self) -> Result<()>;

    /// The streams that can be read, in the order they are declared.
    async fn discover(&self) -> Result<Vec<StreamDescriptor>>;

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>>;

    /// As [`Self::read`], with others that may take slices off its hands. What they read comes with the
    /// same events as if it was read here.
    fn read_with(
        &self,
        request: ReadRequest,
        _others: Arc<dyn SliceReaders>,
    ) -> BoxStream<'static, Result<ReadEvent>> {
        self.read(request)
    }

    /// Whether [`Self::outdated`] may say so of a full refresh of this stream that was cut off.
    fn may_be_outdated(&self, _stream: &str) -> bool {
        false
    }

    /// Why a full refresh that was cut off at `state` cannot be gone on with, if so: the source holds other records in the
    /// place of those that it gave, and where no key tells records apart both would stand in the table.
    async fn outdated(&self, _stream: &str, _state: &StreamState) -> Result<Option<String>> {
        Ok(None)
    }

    /// Slices of a stream that one process reads at once; 0 where they cannot be read one by one.
    fn slices_at_once(&self, _stream: &str) -> usize {
        0
    }

    /// Reads one slice for whoever holds its stream. Its events end with the slice's own end, never
    /// with `Complete`.
    fn read_slice(&self, task: SliceTask) -> BoxStream<'static, Result<ReadEvent>> {
        let error = Error::usage(format!(
            "slices of stream '{}' cannot be read one by one",
            task.stream
        ))
        .hint("read the stream as a whole");
        stream::once(async { Err(error) }).boxed()
    }

    /// A state of elsewhere as this source's own. Refused where the source keeps states of another kind.
    fn foreign_state(&self, stream: &str, _state: &ForeignState) -> Result<StreamState> {
        Err(
            Error::usage(format!("stream '{stream}' keeps its state in another form"))
                .hint("begin anew with `weir sync --full`, or set a cursor with `weir state set`"),
        )
    }

    /// A cursor that a person wrote, as the stream's state keeps it. Refused where the stream is not
    /// read by a cursor that people can write, or where this is no value of it.
    fn cursor_value(&self, stream: &str, written: &str) -> Result<Value> {
        Err(Error::usage(format!(
            "stream '{stream}' has no cursor that can be written by hand"
        ))
        .with("cursor", written)
        .hint("set a whole state with `weir state set … --file`, or begin anew with `weir state reset`"))
    }
}

/// A stream's state as another program kept it that ran the same kind of source.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignState {
    /// The stream's own name, without its namespace.
    pub name: String,
    pub namespace: Option<String>,
    pub state: Value,
    /// What all streams of the source share.
    pub shared: Option<Value>,
}

/// What is known of a stream before it is read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StreamDescriptor {
    pub name: String,
    /// The entity part of its Silver table's name.
    pub entity: String,
    pub description: Option<String>,
    /// JSON Schema of a record; none where the type is inferred from data.
    pub schema: Option<Value>,
    /// Paths of the primary key's fields, outermost first in each.
    pub primary_key: Vec<String>,
    /// Path of the cursor field.
    pub cursor_field: Option<String>,
    pub mode: Option<SyncMode>,
    /// The system sent it by itself and does not send it again: a wish to read everything leaves it as it is.
    #[serde(default)]
    pub is_received: bool,
    /// How the stream is typed and written, as far as the connector says.
    pub policy: StreamPolicy,
}

/// A wish to read one stream.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    pub stream: String,
    pub mode: ReadMode,
    /// State to read on from: of the interrupted read for a full refresh, of the last one otherwise.
    pub state: Option<StreamState>,
    /// Keep digests of the records at the cursor in the state's `edge`, and leave out records that it
    /// names. Asked for where no key tells a record apart from the same one read again; of a full
    /// refresh too, because an incremental read goes on from its state.
    pub skip_edge: bool,
    /// Overrides the stream's start (a cursor value, inclusive).
    pub from: Option<String>,
    /// The state that `from` sets aside. A `from` beyond a cursor of it is refused: what lies
    /// between them would never be read.
    pub set_aside: Option<StreamState>,
    /// Leave out what lies after this cursor value (inclusive), and stop where nothing else can follow.
    pub to: Option<String>,
    /// Stop after about so many records (preview); the read then ends without `Complete`.
    pub records_max: Option<u64>,
}

impl ReadRequest {
    pub fn full(stream: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            mode: ReadMode::FullRefresh,
            state: None,
            skip_edge: false,
            from: None,
            set_aside: None,
            to: None,
            records_max: None,
        }
    }
}

#[derive(Debug, Clone)]
pub enum ReadEvent {
    Batch(Batch),
    Advance(StateChange),
    Progress(Progress),
    /// Something a person should know though the read goes on.
    Notice(Notice),
}

/// How far a stream's read is; all counts are since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub pages: u64,
    pub requests: u64,
    pub bytes: u64,
    pub slices_done: u64,
    /// 0 while unknown.
    pub slices_total: u64,
    /// Records expected in all, 0 where the source does not say.
    pub records_total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub message: String,
    pub hint: Option<String>,
}
