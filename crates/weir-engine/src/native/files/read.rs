//! Reading one stream: file after file, each from where its state says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use weir_protocol::{Error, ReadMode, ReadRequest, Result, SliceState, StateChange, StreamState};

use crate::clock::Clock;

use super::config::FilesConfig;
use super::csv::Rows;
use super::format::{Compression, Format};
use super::parquet::Position;
use super::place::{File, Place};
use super::sink::{Events, Sink};
use super::streams::{self, Stream, Typed};
use super::{bytes, csv, document, json, jsonl, parquet, schema};
use crate::native::documents::Reader;

pub(super) struct Job {
    pub(super) place: Place,
    pub(super) clock: Clock,
    pub(super) config: Arc<FilesConfig>,
    /// Takes documents apart.
    pub(super) reader: Option<Arc<Reader>>,
    /// Schema that the connection sets in place of the inferred one.
    pub(super) schema: Option<Value>,
    pub(super) request: ReadRequest,
}

/// What is to be done with one file.
enum Plan {
    /// Nothing: it was read already, in this version.
    Skip,
    /// Read it, from this page on where there is one.
    Read(Option<Value>),
}

impl Job {
    pub(super) async fn run(mut self, out: Events) {
        let failure = match self.prepare().await {
            Ok(stream) => {
                let events = out.clone();
                let runtime = Handle::current();
                let work = tokio::task::spawn_blocking(move || self.read_all(&runtime, &stream, events));
                match work.await {
                    Ok(result) => result,
                    Err(error) => Err(Error::internal("the reading thread failed")
                        .caused_by(error)
                        .hint("report this as a bug of weir, with the file that was read")),
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = failure
            && out.send(Err(error)).await.is_err()
        {
            tracing::debug!("nobody reads the error");
        }
    }

    async fn prepare(&mut self) -> Result<Stream> {
        let streams = streams::find(&self.place, &self.config).await?;
        let stream = streams::pick(streams, &self.request.stream)?;
        if self.schema.is_none() {
            self.schema = schema::infer(&self.place, &stream).await?;
        }
        Ok(stream)
    }

    fn read_all(&self, runtime: &Handle, stream: &Stream, out: Events) -> Result<()> {
        let mut sink = Sink::new(
            out,
            self.clock.clone(),
            self.request.records_max,
            stream.files.len() as u64,
        );
        let result = self.read_files(runtime, stream, &mut sink);
        if sink.stopped() { Ok(()) } else { result }
    }

    /// A whole read that was cut off goes on only with the files as they were. Whoever asks for it has looked, but a
    /// file may have changed since.
    fn refuse_changed(&self, stream: &Stream) -> Result<()> {
        let is_whole = self.request.mode == ReadMode::FullRefresh && self.request.skip_edge;
        let state = self.request.state.as_ref().filter(|_| is_whole);
        match state.and_then(|state| changed(stream, state)) {
            None => Ok(()),
            Some((file, now)) => Err(Error::source_failed(
                "a file changed while a whole read of it was interrupted",
            )
            .with("file", file)
            .with("now", now)
            .hint("sync again: the next run begins the read anew")),
        }
    }

    fn read_files(&self, runtime: &Handle, stream: &Stream, sink: &mut Sink) -> Result<()> {
        self.refuse_changed(stream)?;
        let mut slices = BTreeMap::new();
        for typed in &stream.files {
            let key: Arc<str> = Arc::from(key_of(&typed.file));
            let state = SliceState {
                cursor: Some(Value::String(typed.file.version.clone())),
                ..SliceState::default()
            };
            match self.plan(&key, &typed.file) {
                Plan::Skip => sink.skip(),
                Plan::Read(page) => {
                    sink.begin(Arc::clone(&key), &typed.file.version);
                    self.read_file(runtime, stream, typed, page.as_ref(), sink)?;
                }
            }
            slices.insert(key, state);
        }
        sink.complete(StateChange::Complete {
            floor: None,
            groups: Vec::new(),
            slices,
        })
    }

    fn plan(&self, key: &str, file: &File) -> Plan {
        let state = self.request.state.as_ref().filter(|state| self.goes_on(state));
        let Some(slice) = state.and_then(|state| state.slices.get(key)) else {
            return Plan::Read(None);
        };
        let is_now =
            |version: &Option<Value>| version.as_ref().and_then(Value::as_str) == Some(&file.version);
        if is_now(&slice.cursor) {
            return Plan::Skip;
        }
        Plan::Read(slice.page.clone().filter(|_| is_now(&slice.pending)))
    }

    /// A full refresh goes on only where it was cut off.
    fn goes_on(&self, state: &StreamState) -> bool {
        self.request.mode == ReadMode::Incremental || !state.complete
    }

    fn read_file(
        &self,
        runtime: &Handle,
        stream: &Stream,
        typed: &Typed,
        page: Option<&Value>,
        sink: &mut Sink,
    ) -> Result<()> {
        let file = &typed.file;
        let number = |name: &str| page.and_then(|page| page[name].as_u64()).unwrap_or(0);
        let cursor = stream.cursor.as_deref();
        if typed.format == Format::Parquet {
            let row = |name| usize::try_from(number(name)).unwrap_or(usize::MAX);
            let from = Position {
                row_group: row("row_group"),
                row: row("row"),
            };
            return parquet::read(runtime, &self.place, file, from, cursor, sink);
        }
        if typed.format == Format::Document {
            return document::read(runtime, &self.place, file, self.reader.as_deref(), sink);
        }
        let offset = number("offset");
        let open = |offset| bytes::open(runtime, &self.place, file, typed.compression, offset);
        match typed.format {
            Format::Csv => {
                let columns = csv::columns(open(0)?, &typed.csv, &file.name)?;
                let rows = Rows {
                    options: &typed.csv,
                    columns,
                    schema: self.schema.as_ref(),
                    cursor,
                    file: &file.name,
                };
                csv::read(open(offset)?, offset, &rows, sink)
            }
            Format::Json => json::read(open(offset)?, offset, &file.name, cursor, sink),
            _ => jsonl::read(open(offset)?, offset, &file.name, cursor, sink),
        }
        .map_err(|error| describe(error, typed))
    }
}

/// The first file that a whole read which was cut off at `state` had read, or begun to, and that is not as it was:
/// its key, and how it is now. Rows of a version that is no more have been read already, and where no key tells them
/// apart they would stand there beside those of the new one.
pub(super) fn changed<'a>(stream: &Stream, state: &'a StreamState) -> Option<(&'a str, &'static str)> {
    if state.complete {
        return None;
    }
    let files = stream.files.iter().map(|typed| &typed.file);
    let files: HashMap<String, &str> = files.map(|file| (key_of(file), file.version.as_str())).collect();
    state.slices.iter().find_map(|(key, slice)| {
        let read = slice.cursor.as_ref().or(slice.pending.as_ref());
        let version = read.and_then(Value::as_str)?;
        match files.get(&**key) {
            Some(now) if *now == version => None,
            Some(_) => Some((&**key, "another version")),
            None => Some((&**key, "gone")),
        }
    })
}

/// The slice that a file is.
fn key_of(file: &File) -> String {
    json!({ "file": file.name }).to_string()
}

fn describe(error: Error, typed: &Typed) -> Error {
    match typed.compression {
        Compression::None => error,
        Compression::Gzip => error.with("compression", "gzip"),
        Compression::Zstd => error.with("compression", "zstd"),
    }
}
