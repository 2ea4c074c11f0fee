//! What a sync is asked to do, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_protocol::source::Progress;
use weir_protocol::{Books, Destination, Error, ErrorKind, Receipt, Source, StreamDescriptor, SyncMode};

use super::Observer;
use crate::runs::{Begin, RunStatus};
use crate::slices::Sharing;
use crate::{Connection, Owner};

/// Longer than the pauses of all tries that a source is given, and than the commits of most lakes.
pub const HUNG_AFTER: Duration = Duration::from_secs(3600);

/// Within a minute somebody can see it.
const STALLED_AFTER: Duration = Duration::from_secs(50);

/// A wish to sync streams of one connection.
pub struct SyncPlan {
    pub connection: Connection,
    pub source: Arc<dyn Source>,
    pub destination: Arc<dyn Destination>,
    /// What to sync. A stream without a mode gets the one its key and cursor allow.
    pub streams: Vec<StreamDescriptor>,
    pub options: SyncOptions,
    pub begin: Begin,
    pub owner: Owner,
    /// Stops the run: what is covered by state is committed, the rest is left to the next run.
    pub cancel: CancellationToken,
    pub observer: Arc<dyn Observer>,
    /// Other workers that may read slices of its streams; none: it reads all itself.
    pub sharing: Option<Sharing>,
}

#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Read everything, whatever the stored state says. An interrupted full read is gone on with.
    pub full: bool,
    /// Begin full reads anew instead of going on with an interrupted one.
    pub restart: bool,
    /// Overrides where reading starts (a cursor value, inclusive).
    pub from: Option<String>,
    /// Read up to this cursor value only (inclusive), and leave the state where it is: a backfill.
    pub to: Option<String>,
    /// Rows that `from` makes stand twice, in a table without a key, are meant.
    pub accept_duplicates: bool,
    /// Budget of the whole run, divided among the streams that run at once.
    pub memory_bytes: u64,
    pub streams_at_once_max: usize,
    pub bounds: Bounds,
    /// A stream whose source says nothing for so long is marked with a notice, and goes on.
    pub stalled_after: Duration,
    /// A stream that comes on no further for so long (no page, no checkpoint) has hung, and is ended.
    pub hung_after: Duration,
    /// How often a stream is opened anew after another writer changed its table first.
    pub conflict_retries_max: u32,
    /// Wait before the first new try after a conflict; doubled each time.
    pub conflict_wait: Duration,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            full: false,
            restart: false,
            from: None,
            to: None,
            accept_duplicates: false,
            memory_bytes: 256 << 20,
            streams_at_once_max: 4,
            bounds: Bounds::default(),
            stalled_after: STALLED_AFTER,
            hung_after: HUNG_AFTER,
            conflict_retries_max: 3,
            conflict_wait: Duration::from_millis(200),
        }
    }
}

/// When a checkpoint is due. The first bound that is reached counts.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub rows: u64,
    pub bytes: u64,
    pub age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // Of small records, so that what is held of them stays as small as that of large ones.
            rows: 100_000,
            // A merge at random places writes the whole table, at each checkpoint.
            bytes: 128 << 20,
            age: Duration::from_secs(30),
        }
    }
}

/// What came of one stream.
#[derive(Debug)]
pub struct StreamOutcome {
    pub stream: String,
    /// `sync_<source>_<stream>_<mode>`
    pub name: String,
    pub mode: SyncMode,
    pub status: RunStatus,
    /// Of what is committed.
    pub books: Books,
    pub progress: Progress,
    /// The last checkpoint; none where nothing was committed.
    pub receipt: Option<Receipt>,
    pub error: Option<Error>,
    pub duration: Duration,
}

/// What came of a sync.
#[derive(Debug)]
pub struct SyncOutcome {
    pub run: String,
    pub status: RunStatus,
    /// In the order of the plan.
    pub streams: Vec<StreamOutcome>,
}

impl SyncOutcome {
    /// The first thing that went wrong; cancelling counts only where nothing else did.
    pub fn first_error(&self) -> Option<&Error> {
        let errors = || self.streams.iter().filter_map(|stream| stream.error.as_ref());
        errors()
            .find(|error| error.kind() != ErrorKind::Cancelled)
            .or_else(|| errors().next())
    }

    pub fn exit_code(&self) -> u8 {
        self.first_error().map_or(0, |error| error.kind().exit_code())
    }

    pub fn books(&self) -> Books {
        let mut books = Books::default();
        for stream in &self.streams {
            books += stream.books;
        }
        books
    }
}
