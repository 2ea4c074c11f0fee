//! A Singer tap: a program that writes SCHEMA, RECORD and STATE messages to its standard output.
//!
//! As with other programs, a stream is read by a process of its own: its catalog selects that one
//! stream, and the state is what the tap told in that stream's reads.

mod catalog;
mod messages;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use weir_protocol::connection::{ConnectionSpec, StreamChoice};
use weir_protocol::{Error, ReadEvent, ReadRequest, Result, Source, StreamDescriptor};

use super::process::{self, Argument, Declared, Line, ProcessSettings, Program};
use crate::EngineSettings;
use crate::clock::Clock;
use catalog::Catalog;

/// Largest catalog that is read.
const CATALOG_BYTES_MAX: usize = 128 << 20;

/// What a connection says beyond how the program is run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Own {
    /// How the tap is told of the catalog.
    catalog_argument: CatalogArgument,
    /// A catalog to use instead of asking the tap.
    catalog_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum CatalogArgument {
    #[default]
    #[serde(rename = "--catalog")]
    Catalog,
    /// Taps of the first years.
    #[serde(rename = "--properties")]
    Properties,
}

impl CatalogArgument {
    fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "--catalog",
            Self::Properties => "--properties",
        }
    }
}

/// A connection whose source is a tap.
#[derive(Clone)]
pub(super) struct Tap(Arc<Inner>);

struct Inner {
    program: Program,
    settings: Map<String, Value>,
    own: Own,
    choices: BTreeMap<String, StreamChoice>,
    clock: Clock,
    catalog: OnceCell<Catalog>,
}

impl Tap {
    pub(super) fn new(connection: &ConnectionSpec, engine: &EngineSettings) -> Result<Self> {
        let given = ProcessSettings::of(connection)?;
        let own: Own = serde_json::from_value(Value::Object(connection.config.clone())).map_err(|error| {
            Error::spec("config is not as a tap's should be")
                .caused_by(error)
                .hint("`weir connector show` prints what config may hold")
        })?;
        Ok(Self(Arc::new(Inner {
            program: Program::new(&given, connection, engine)?,
            settings: given.settings,
            own,
            choices: connection.streams.clone(),
            clock: engine.clock.clone(),
            catalog: OnceCell::new(),
        })))
    }
}

impl Inner {
    async fn catalog(&self) -> Result<&Catalog> {
        self.catalog
            .get_or_try_init(|| async {
                let text = match &self.own.catalog_file {
                    Some(file) => tokio::fs::read(file).await.map_err(|error| {
                        Error::spec(format!("config.catalog_file {} cannot be read", file.display()))
                            .caused_by(error)
                            .hint("name a catalog as the tap's --discover prints it")
                    })?,
                    None => self.discover().await?,
                };
                Catalog::parse(&text)
            })
            .await
    }

    async fn discover(&self) -> Result<Vec<u8>> {
        let folder = self.program.folder()?;
        folder.write("config.json", &self.settings)?;
        let arguments = [
            Argument::Word("--config"),
            Argument::File("config.json"),
            Argument::Word("--discover"),
        ];
        let mut running = self.program.start(folder, &arguments)?;
        let mut text = Vec::new();
        while let Some(Line::Whole(line) | Line::Cut(line)) = running.next_line().await? {
            text.extend_from_slice(line);
            text.push(b'\n');
            if text.len() > CATALOG_BYTES_MAX {
                return Err(Error::limit("the tap's catalog is too large")
                    .with("bytes_max", CATALOG_BYTES_MAX)
                    .hint("let the tap's settings leave streams out, or set config.catalog_file"));
            }
        }
        running.end().await?;
        Ok(text)
    }

    fn declared(&self, catalog: &Catalog) -> Vec<Declared> {
        catalog.streams.iter().map(catalog::Stream::declared).collect()
    }
}

#[async_trait]
impl Source for Tap {
    /// A catalog is often built in, so that only a record proves that the settings work.
    async fn check(&self) -> Result<()> {
        let streams = self.discover().await?;
        let first = streams.first().ok_or_else(|| {
            Error::not_found("the tap offers no stream")
                .hint("look at its settings; many taps take the streams from there")
        })?;
        let mut events = self.read(ReadRequest {
            records_max: Some(1),
            ..ReadRequest::full(&first.name)
        });
        while let Some(event) = events.next().await {
            event?;
        }
        Ok(())
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        let catalog = self.0.catalog().await?;
        process::described(&self.0.declared(catalog), &self.0.choices)
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        let tap = self.0.clone();
        process::events(move |out| read::run(tap, request, out))
    }
}
