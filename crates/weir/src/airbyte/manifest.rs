//! A low-code manifest as a source that speaks the protocol: its own spec, its catalog, and states in
//! the format that such connectors have.

use std::collections::BTreeMap;
use std::path::Path;

use futures::StreamExt as _;
use futures::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use weir_engine::airbyte::{AirbyteSource, Configured as OfCatalog, Manifest};
use weir_engine::extract::without_nulls;
use weir_protocol::state::WHOLE;
use weir_protocol::{
    Error, ErrorKind, ReadEvent, ReadMode, ReadRequest, Result, SliceState, Source, StreamState,
};

use super::catalog::{self, Configured};
use super::messages::Messages;
use super::read_json;
use crate::engine::{self, Reader};
use crate::errors;

/// Streams read at once.
const STREAMS_AT_ONCE: usize = 4;

/// The manifest at a path, where it is one.
pub(crate) fn at(path: &Path) -> Result<Option<Manifest>> {
    let text = std::fs::read_to_string(path).map_err(|error| errors::file("read", path, error))?;
    if !Manifest::is_one(&text) {
        return Ok(None);
    }
    Manifest::parse(&path.display().to_string(), &text).map(Some)
}

pub(crate) fn spec(manifest: &Manifest, out: &mut Messages) -> Result<()> {
    let mut spec = AirbyteSource::specification(manifest);
    if let Value::Object(members) = &mut spec {
        members.insert("protocol_version".to_owned(), "0.2.0".into());
    }
    out.write(&json!({ "type": "SPEC", "spec": spec }))
}

pub(crate) async fn check(manifest: &Manifest, path: &Path, config: &Path, out: &mut Messages) -> Result<()> {
    let checked = match open(manifest, path, config) {
        Ok(source) => source.check().await,
        Err(error) => Err(error),
    };
    super::status(checked, out)
}

pub(crate) async fn discover(
    manifest: &Manifest,
    path: &Path,
    config: &Path,
    out: &mut Messages,
) -> Result<()> {
    let streams = open(manifest, path, config)?.discover().await?;
    let streams: Vec<_> = streams.iter().map(catalog::describe).collect();
    out.write(&json!({ "type": "CATALOG", "catalog": { "streams": streams } }))
}

/// The files of one read.
pub(crate) struct ReadFiles<'a> {
    pub(crate) manifest: &'a Path,
    pub(crate) config: &'a Path,
    pub(crate) catalog: &'a Path,
    pub(crate) state: Option<&'a Path>,
}

/// A stream that fails does not keep the others from being read; the first failure is the result.
pub(crate) async fn read(manifest: &Manifest, files: ReadFiles<'_>, out: &mut Messages) -> Result<()> {
    let configured: Configured = read_json(files.catalog)?;
    let reader = Reader {
        catalog: chosen(&configured),
        on_settings: Some(Messages::on_settings()),
    };
    let source = open_for(manifest, files.manifest, files.config, reader)?;
    let stated: Vec<Stated> = files.state.map(read_json).transpose()?.unwrap_or_default();
    let states = states(stated)?;
    tell_unused(&states, &configured);
    let requests: Vec<ReadRequest> = configured
        .streams
        .into_iter()
        .map(|chosen| request(chosen.sync_mode.into(), &chosen.stream.name, &states))
        .collect();
    let source = &source;
    let reads = requests.into_iter().map(|request| {
        let name = request.stream.clone();
        let began = stream::once(async { Told::Began });
        let events = source.read(request).map(|event| match event {
            Ok(event) => Told::Event(Box::new(event)),
            Err(error) => Told::Failed(error),
        });
        let ended = stream::once(async { Told::Ended });
        began
            .chain(events)
            .chain(ended)
            .map(move |told| (name.clone(), told))
    });
    let mut told = stream::iter(reads).flat_map_unordered(STREAMS_AT_ONCE, Box::pin);
    let mut telling = Telling::default();
    while let Some((name, told)) = told.next().await {
        telling.tell(&name, told, out)?;
    }
    telling.failed.map_or(Ok(()), Err)
}

fn open(manifest: &Manifest, path: &Path, config: &Path) -> Result<AirbyteSource> {
    let reader = Reader {
        on_settings: Some(Messages::on_settings()),
        ..Reader::default()
    };
    open_for(manifest, path, config, reader)
}

fn open_for(manifest: &Manifest, path: &Path, config: &Path, reader: Reader) -> Result<AirbyteSource> {
    let config: Map<String, Value> = read_json(config)?;
    engine::open_manifest(manifest, path, config, reader)
}

/// What the catalog says of streams besides how they are read.
fn chosen(configured: &Configured) -> BTreeMap<String, OfCatalog> {
    let streams = configured.streams.iter().map(|chosen| {
        let of_catalog = OfCatalog {
            schema: chosen.stream.json_schema.clone(),
            cursor_field: chosen.cursor_field.clone().unwrap_or_default(),
        };
        (chosen.stream.name.clone(), of_catalog)
    });
    streams.collect()
}

/// Characters of a state that an error shows.
const STATE_CHARS: usize = 200;

#[derive(Debug, Deserialize)]
struct Stated {
    #[serde(default)]
    stream: Option<OfStream>,
}

#[derive(Debug, Deserialize)]
struct OfStream {
    stream_descriptor: Descriptor,
    #[serde(default)]
    stream_state: Value,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    name: String,
}

/// States by stream; one without content is none.
fn states(stated: Vec<Stated>) -> Result<BTreeMap<String, Value>> {
    let mut states = BTreeMap::new();
    for stream in stated.into_iter().filter_map(|stated| stated.stream) {
        let name = stream.stream_descriptor.name;
        match &stream.stream_state {
            Value::Null => {}
            Value::Object(members) if members.is_empty() => {}
            Value::Object(_) => {
                states.insert(name, stream.stream_state);
            }
            other => {
                let excerpt: String = other.to_string().chars().take(STATE_CHARS).collect();
                return Err(Error::state("the state of a stream must be an object")
                    .with("stream", name)
                    .with("state", excerpt)
                    .hint("give the state that an earlier read printed, or leave it out to read from the beginning"));
            }
        }
    }
    Ok(states)
}

/// A platform may keep states of streams that are not read any more; those of a mistaken file look alike.
fn tell_unused(states: &BTreeMap<String, Value>, configured: &Configured) {
    let is_read = |name: &&String| {
        configured
            .streams
            .iter()
            .any(|chosen| chosen.stream.name == **name)
    };
    let unused: Vec<&str> = states
        .keys()
        .filter(|name| !is_read(name))
        .map(String::as_str)
        .collect();
    if !unused.is_empty() {
        tracing::warn!(
            "the state file also holds the state of {}, which the catalog does not name; it is not used",
            unused.join(", ")
        );
    }
}

fn request(mode: ReadMode, name: &str, states: &BTreeMap<String, Value>) -> ReadRequest {
    let state = states.get(name).map(|state| {
        let slice = SliceState {
            cursor: Some(state.clone()),
            ..SliceState::default()
        };
        StreamState {
            slices: [(WHOLE.into(), slice)].into(),
            ..StreamState::default()
        }
    });
    ReadRequest {
        mode,
        state,
        ..ReadRequest::full(name)
    }
}

/// What is told of a stream.
enum Told {
    Began,
    Event(Box<ReadEvent>),
    Failed(Error),
    Ended,
}

#[derive(Default)]
struct Telling {
    failed: Option<Error>,
    /// Records since the last state, and whether any came, by stream.
    records: BTreeMap<String, (u64, bool)>,
    broken: Vec<String>,
}

impl Telling {
    fn tell(&mut self, name: &str, told: Told, out: &mut Messages) -> Result<()> {
        match told {
            Told::Began => out.status(name, "STARTED"),
            Told::Event(_) if self.broken.iter().any(|broken| broken == name) => Ok(()),
            Told::Event(event) => match self.event(name, *event, out) {
                // What the source gives is wrong; the other streams may be well.
                Err(error) if error.kind() == ErrorKind::Decode => self.tell(name, Told::Failed(error), out),
                told => told,
            },
            Told::Failed(error) => {
                let error = error.with("stream", name);
                self.broken.push(name.to_owned());
                if self.failed.is_some() {
                    out.failed(&error, Some(name))?;
                }
                self.failed.get_or_insert(error);
                Ok(())
            }
            Told::Ended if self.broken.iter().any(|broken| broken == name) => out.status(name, "INCOMPLETE"),
            Told::Ended => out.status(name, "COMPLETE"),
        }
    }

    fn event(&mut self, name: &str, event: ReadEvent, out: &mut Messages) -> Result<()> {
        match event {
            ReadEvent::Batch(batch) => {
                let counts = self.records.entry(name.to_owned()).or_default();
                if !batch.records.is_empty() && !std::mem::replace(&mut counts.1, true) {
                    out.status(name, "RUNNING")?;
                }
                for record in &batch.records {
                    // The reference leaves a record's own nulls out.
                    let json = batch.json(record);
                    let lean = without_nulls(json)?;
                    counts.0 +=
                        u64::from(out.record(name, lean.as_deref().unwrap_or(json), batch.emitted_at)?);
                }
                Ok(())
            }
            ReadEvent::Advance(change) => {
                let mut state = StreamState::default();
                state.apply(change);
                let blob = state.cursor_of(WHOLE).cloned().unwrap_or_else(|| json!({}));
                let counts = self.records.entry(name.to_owned()).or_default();
                let count = std::mem::take(&mut counts.0);
                out.write(&json!({
                    "type": "STATE",
                    "state": {
                        "type": "STREAM",
                        "stream": { "stream_descriptor": { "name": name }, "stream_state": blob },
                        "sourceStats": { "recordCount": count },
                    }
                }))
            }
            ReadEvent::Notice(notice) => out.log("WARN", &format!("{name}: {}", notice.message)),
            ReadEvent::Progress(_) => Ok(()),
        }
    }
}
