//! Files in a folder or an S3 bucket: CSV, JSON Lines, JSON and Parquet.
//!
//! A slice is a file; its cursor is the file's version (a digest of what the store says of it), so
//! that an incremental read takes new and changed files only. A read that was cut off goes on in
//! the middle of the file: by byte offset, or by row in Parquet.

mod bytes;
mod column;
mod config;
mod csv;
mod document;
mod failure;
mod format;
mod json;
mod jsonl;
mod parquet;
mod parquet_kind;
pub(super) mod place;
mod read;
mod schema;
mod sink;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::Instrument as _;
use weir_protocol::connection::{ConnectionSpec, StreamChoice};
use weir_protocol::spec::StreamPolicy;
use weir_protocol::{ReadEvent, ReadRequest, Result, Source, StreamDescriptor, StreamState, SyncMode};

use super::documents::Reader;
use crate::clock::Clock;
use config::FilesConfig;
use place::Place;
use streams::Stream;

/// Events that wait between reading and the lake.
const EVENTS_AHEAD: usize = 4;

/// Reads the files that a connection names.
#[derive(Debug)]
pub struct FilesSource {
    config: Arc<FilesConfig>,
    place: Place,
    reader: Option<Arc<Reader>>,
    choices: Arc<std::collections::BTreeMap<String, StreamChoice>>,
    clock: Clock,
}

impl FilesSource {
    pub fn new(connection: &ConnectionSpec, clock: Clock) -> Result<Self> {
        Self::made(FilesConfig::of(connection)?, connection, clock)
    }

    /// The source whose one stream is what stands in a folder's documents.
    pub(super) fn of_documents(
        connection: &ConnectionSpec,
        clock: Clock,
        reader: Arc<Reader>,
    ) -> Result<Self> {
        let config = FilesConfig::of_documents(connection)?;
        Ok(Self {
            reader: Some(reader),
            ..Self::made(config, connection, clock)?
        })
    }

    fn made(config: FilesConfig, connection: &ConnectionSpec, clock: Clock) -> Result<Self> {
        Ok(Self {
            place: Place::of(&config, connection)?,
            config: Arc::new(config),
            reader: None,
            choices: Arc::new(connection.streams.clone()),
            clock,
        })
    }
}

#[async_trait]
impl Source for FilesSource {
    async fn check(&self) -> Result<()> {
        streams::find(&self.place, &self.config).await.map(drop)
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        let mut found = Vec::new();
        for stream in streams::find(&self.place, &self.config).await? {
            if !self.choices.is_empty() && !self.choices.contains_key(&stream.name) {
                continue;
            }
            let choice = self.choices.get(&stream.name).cloned().unwrap_or_default();
            choice
                .keeps_cursor(stream.cursor.as_deref())
                .map_err(|error| error.with("stream", &stream.name))?;
            let schema = match choice.schema.clone() {
                Some(schema) => Some(schema),
                None => schema::infer(&self.place, &stream).await?,
            };
            found.push(descriptor(stream, schema, choice));
        }
        Ok(found)
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        let (out, incoming) = mpsc::channel(EVENTS_AHEAD);
        let job = read::Job {
            place: self.place.clone(),
            clock: self.clock.clone(),
            config: Arc::clone(&self.config),
            reader: self.reader.clone(),
            schema: self
                .choices
                .get(&request.stream)
                .and_then(|choice| choice.schema.clone()),
            request,
        };
        Handle::current().spawn(job.run(out).in_current_span());
        // Dropping the receiver makes the next send fail, which ends the reading.
        futures::stream::unfold(incoming, |mut incoming| async move {
            incoming.recv().await.map(|event| (event, incoming))
        })
        .boxed()
    }

    fn may_be_outdated(&self, _stream: &str) -> bool {
        true
    }

    async fn outdated(&self, stream: &str, state: &StreamState) -> Result<Option<String>> {
        let streams = streams::find(&self.place, &self.config).await?;
        let stream = streams::pick(streams, stream)?;
        let changed = read::changed(&stream, state);
        Ok(changed.map(|(file, now)| format!("{file} is not as it was read (now: {now})")))
    }
}

fn descriptor(stream: Stream, schema: Option<serde_json::Value>, choice: StreamChoice) -> StreamDescriptor {
    let primary_key = choice.primary_key.unwrap_or(stream.primary_key);
    // Without a key, a changed file can only be taken anew as a whole.
    let mode = SyncMode::default_for(!primary_key.is_empty(), !primary_key.is_empty());
    StreamDescriptor {
        is_received: false,
        entity: stream.name.clone(),
        description: Some(format!("{} files", stream.files.len())),
        name: stream.name,
        schema,
        primary_key,
        cursor_field: stream.cursor,
        mode: Some(choice.mode.unwrap_or(mode)),
        policy: StreamPolicy {
            contract: choice.contract.unwrap_or_default(),
            pii: choice.pii.unwrap_or_default(),
            partition_by: choice.partition_by.unwrap_or_default(),
            explode: choice.explode.unwrap_or_default(),
            ..StreamPolicy::default()
        },
    }
}
