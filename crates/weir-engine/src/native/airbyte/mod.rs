//! A program that speaks the Airbyte protocol: JSON messages on its standard output, one a line.
//!
//! A stream is read by a process of its own, which gets a catalog of that one stream and the state
//! that the stream's last checkpoint holds; each state that the process tells ends a checkpoint.

mod ask;
mod catalog;
mod failure;
mod messages;
mod read;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use weir_protocol::connection::{ConnectionSpec, StreamChoice};
use weir_protocol::{
    Error, ForeignState, ReadEvent, ReadRequest, Result, Secret, Source, StreamDescriptor, StreamState,
};

use super::process::{self, Declared, ProcessSettings, Program, marked, named};
use crate::EngineSettings;
use crate::clock::Clock;
use catalog::Catalog;

/// What happens where a process says that it gave other records than arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Counts {
    #[default]
    Strict,
    Warn,
}

/// A connection whose source is such a program.
#[derive(Clone)]
pub(super) struct AirbyteProcess(Arc<Inner>);

struct Inner {
    program: Program,
    /// The program's own settings; it may change them while it runs.
    settings: RwLock<Map<String, Value>>,
    /// Values of the environment that the connection's file names.
    variables: Vec<Secret>,
    counts: Counts,
    choices: BTreeMap<String, StreamChoice>,
    clock: Clock,
    /// The program's specification of its settings.
    specified: OnceCell<Value>,
    catalog: OnceCell<Catalog>,
}

impl AirbyteProcess {
    pub(super) fn new(connection: &ConnectionSpec, engine: &EngineSettings) -> Result<Self> {
        let given = ProcessSettings::of(connection)?;
        let counts = connection
            .config
            .get("counts")
            .cloned()
            .map(serde_json::from_value);
        let counts = counts.transpose().map_err(|error| {
            Error::spec("config.counts is unknown")
                .caused_by(error)
                .hint("write strict or warn")
        })?;
        Ok(Self(Arc::new(Inner {
            program: Program::new(&given, connection, engine)?,
            settings: RwLock::new(given.settings),
            variables: connection.variables.clone(),
            counts: counts.unwrap_or_default(),
            choices: connection.streams.clone(),
            clock: engine.clock.clone(),
            specified: OnceCell::new(),
            catalog: OnceCell::new(),
        })))
    }
}

impl Inner {
    fn settings(&self) -> Map<String, Value> {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace_settings(&self, settings: Map<String, Value>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Judges the settings by the program's own specification, once.
    async fn specify(&self) -> Result<&Value> {
        self.specified
            .get_or_try_init(|| async {
                let schema = ask::specification(&self.program).await?;
                let settings = self.settings();
                let secrets = marked(&schema, &Value::Object(settings.clone()));
                for (path, secret) in &secrets {
                    if !secret.expose().is_empty() && !self.is_from_outside(secret) {
                        tracing::warn!(
                            "the secret config.settings{path} stands in the connection's file; write ${{NAME}} there and set the variable"
                        );
                    }
                }
                self.program.hide(secrets.into_iter().map(|(_, secret)| secret));
                if let Err(error) = jsonschema::validator_for(&schema) {
                    tracing::warn!(%error, "the program's specification is no JSON Schema; its settings are not judged by it");
                    return Ok(schema);
                }
                let filled = crate::config::validate_at("config.settings", Some(&schema), &settings)?;
                self.replace_settings(filled);
                Ok(schema)
            })
            .await
    }

    /// Blots out the secrets of settings that the program changed.
    fn hide(&self, changed: &Map<String, Value>) {
        let changed = Value::Object(changed.clone());
        let mut secrets = named(&changed);
        if let Some(schema) = self.specified.get() {
            secrets.extend(marked(schema, &changed).into_iter().map(|(_, secret)| secret));
        }
        self.program.hide(secrets);
    }

    fn is_from_outside(&self, secret: &Secret) -> bool {
        let held =
            |variable: &Secret| !variable.expose().is_empty() && secret.expose().contains(variable.expose());
        self.variables.iter().any(held)
    }

    async fn catalog(&self) -> Result<&Catalog> {
        self.catalog
            .get_or_try_init(|| async {
                self.specify().await?;
                ask::catalog(&self.program, &self.settings()).await
            })
            .await
    }
}

#[async_trait]
impl Source for AirbyteProcess {
    async fn check(&self) -> Result<()> {
        self.0.specify().await?;
        ask::check(&self.0.program, &self.0.settings()).await
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        let catalog = self.0.catalog().await?;
        let declared: Vec<Declared> = catalog.streams.iter().map(catalog::Stream::declared).collect();
        process::described(&declared, &self.0.choices)
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        let source = self.0.clone();
        process::events(move |out| read::run(source, request, out))
    }

    fn foreign_state(&self, stream: &str, state: &ForeignState) -> Result<StreamState> {
        state::taken(stream, state, self.0.choices.len() == 1)
    }
}
