//! Slices of a stream that others read for whoever holds it (`docs/decisions/20261122-slices-on-several-workers.md`).

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::source::ReadEvent;

/// A slice as it is handed to another reader of the same connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliceTask {
    pub stream: String,
    /// Its key in the stream's state.
    pub key: Arc<str>,
    /// Names the connector, settings and credential that the stream is read with: who has others must not
    /// read it. Empty where the source does not say.
    #[serde(default)]
    pub read_as: String,
    /// All that the source needs to read it, in the source's own form.
    pub detail: Value,
}

/// Others who read slices of one stream, as its source sees them.
#[async_trait]
pub trait SliceReaders: Send + Sync {
    /// Slices that may be offered or read at once, by all together.
    fn out_max(&self) -> usize;

    /// Lets others have a slice. It stays the caller's to see to until it is settled or taken back.
    async fn offer(&self, task: SliceTask) -> Result<Arc<dyn Offer>>;
}

/// A slice that others may read.
#[async_trait]
pub trait Offer: Send + Sync {
    /// Waits until nobody is at it, as far as is known. May be dropped and asked again.
    async fn free(&self) -> Result<()>;

    /// Makes it the caller's own again; false where somebody is at it.
    async fn take_back(&self) -> Result<bool>;

    /// Waits until somebody came to an end with it. May be dropped and asked again.
    async fn settled(&self) -> Result<Settled>;

    /// What was read of it is in good hands: nothing more has to be kept.
    async fn forget(&self) -> Result<()>;
}

/// What came of a slice elsewhere.
pub enum Settled {
    /// Its events, in order, to its end: those that [`crate::Source::read_slice`] gave.
    Read(BoxStream<'static, Result<ReadEvent>>),
    /// Nobody can read it there: it is the caller's own.
    Failed,
}

/// One reading of one slice. What was read for another term or attempt lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolPlace {
    pub connection: String,
    pub stream: String,
    pub run: String,
    pub term: i64,
    /// Of the offer, not the slice's key.
    pub slice: String,
    pub attempt: i64,
}

/// Keeps what was read of slices until whoever holds the stream takes it in.
#[async_trait]
pub trait Spools: Send + Sync {
    /// Keeps all of it, or fails; nothing can be read before all of it is there. An error of the events
    /// is the call's error.
    async fn write(&self, place: &SpoolPlace, events: BoxStream<'static, Result<ReadEvent>>) -> Result<()>;

    /// What was kept, in order. What is damaged is an error before anything of that part is given.
    fn read(&self, place: &SpoolPlace) -> BoxStream<'static, Result<ReadEvent>>;

    async fn remove(&self, place: &SpoolPlace) -> Result<()>;

    /// Removes all that is kept of a stream, for whichever run.
    async fn sweep(&self, connection: &str, stream: &str) -> Result<()>;
}
