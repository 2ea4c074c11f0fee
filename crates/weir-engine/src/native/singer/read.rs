//! Reading a stream: a process, its records and its states.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use weir_protocol::state::WHOLE;
use weir_protocol::{Error, ReadMode, ReadRequest, Result, StreamDescriptor, SyncMode};

use super::super::process::{Argument, Batches, Events, Line, Running, SharedRedactor, described};
use super::Inner;
use super::catalog::{Catalog, Stream};
use super::messages::{Message, told};

pub(super) async fn run(tap: Arc<Inner>, request: ReadRequest, out: Events) {
    if let Err(error) = read(&tap, request, &out).await {
        // A closed channel means that nobody reads any more.
        let _closed = out.send(Err(error)).await;
    }
}

async fn read(tap: &Inner, request: ReadRequest, out: &Events) -> Result<()> {
    if request.from.is_some() {
        return Err(Error::usage("a tap cannot be told where to begin")
            .with("stream", &request.stream)
            .hint("set a state that it wrote with `weir state set --file`, or begin anew with `weir state reset`"));
    }
    let catalog = tap.catalog().await?;
    let stream = catalog.stream(&request.stream)?;
    let chosen = described(&[stream.declared()], &tap.choices)?.pop();
    let chosen = chosen.ok_or_else(|| {
        Error::not_found(format!(
            "the connection does not choose stream '{}'",
            request.stream
        ))
        .hint("name it under streams:")
    })?;
    if stream.is_log_based() {
        return Err(
            Error::spec("the tap reads this stream from a database's log, which is not available")
                .with("stream", &request.stream)
                .hint("let the tap's settings choose INCREMENTAL or FULL_TABLE for it"),
        );
    }
    // A stream that is usually read on is read by its cursor even when all of it is wanted, so that
    // the state it leaves is one to read on from.
    let asks = chosen.mode.map_or(request.mode, SyncMode::read);
    let running = start(tap, catalog, &chosen, &request, asks)?;
    let batches = Batches::new(
        out.clone(),
        tap.clock.clone(),
        &request,
        chosen.cursor_field.as_deref(),
    );
    let mut reading = Reading {
        redactor: tap.program.redactor(),
        alias: stream.alias(),
        keys: &chosen.primary_key,
        is_keyed: tap
            .choices
            .get(&chosen.name)
            .is_some_and(|choice| choice.primary_key.is_some()),
        is_full: request.mode == ReadMode::FullRefresh,
        advances: request.mode == ReadMode::Incremental
            || (asks == ReadMode::Incremental && !chosen.primary_key.is_empty() && !request.skip_edge),
        keeps_state: asks == ReadMode::Incremental,
        appends: request.skip_edge,
        batches,
        known: properties(stream),
        version: None,
        others: 0,
    };
    let done = reading.drive(running).await;
    if reading.batches.is_stopped() {
        return Ok(());
    }
    done.map_err(|error| error.with("stream", &request.stream))
}

fn properties(stream: &Stream) -> Map<String, Value> {
    let found = stream
        .schema()
        .and_then(|schema| schema["properties"].as_object());
    found.cloned().unwrap_or_default()
}

fn start(
    tap: &Inner,
    catalog: &Catalog,
    chosen: &StreamDescriptor,
    request: &ReadRequest,
    asks: ReadMode,
) -> Result<Running> {
    let folder = tap.program.folder()?;
    folder.write("config.json", &tap.settings)?;
    let cursor = chosen.cursor_field.as_deref();
    let selected = catalog.selecting(&chosen.name, asks, cursor, &chosen.primary_key);
    folder.write("catalog.json", &selected)?;
    let mut arguments = vec![
        Argument::Word("--config"),
        Argument::File("config.json"),
        Argument::Word(tap.own.catalog_argument.as_str()),
        Argument::File("catalog.json"),
    ];
    let kept = request.state.as_ref().and_then(|state| state.cursor_of(WHOLE));
    if let Some(kept) = kept.filter(|_| asks == ReadMode::Incremental) {
        folder.write("state.json", kept)?;
        arguments.extend([Argument::Word("--state"), Argument::File("state.json")]);
    }
    tap.program.start(folder, &arguments)
}

struct Reading<'a> {
    redactor: &'a SharedRedactor,
    /// The stream's name in messages.
    alias: &'a str,
    keys: &'a [String],
    /// The connection names the key.
    is_keyed: bool,
    is_full: bool,
    /// Whether a state ends a checkpoint.
    advances: bool,
    keeps_state: bool,
    /// Rows are appended without a key to tell them apart.
    appends: bool,
    batches: Batches,
    /// The schema's properties as they were told last.
    known: Map<String, Value>,
    /// Version of the table that records belong to.
    version: Option<String>,
    others: u64,
}

impl Reading<'_> {
    async fn drive(&mut self, mut running: Running) -> Result<()> {
        let redactor = self.redactor;
        loop {
            let noise = {
                let (line, is_cut) = match running.next_line().await? {
                    None => break,
                    Some(Line::Whole(line)) => (line, false),
                    Some(Line::Cut(line)) => (line, true),
                };
                match told(line, is_cut, |line| redactor.excerpt(line, 200))? {
                    Some(message) => {
                        self.take(&message).await?;
                        continue;
                    }
                    None => line.to_vec(),
                }
            };
            tracing::info!(target: "weir::process", "{}", running.note(&noise));
        }
        running.end().await?;
        if self.others > 0 {
            tracing::warn!(
                records = self.others,
                "the tap gave records of streams that were not asked for"
            );
        }
        self.batches.complete(self.keeps_state).await
    }

    async fn take(&mut self, message: &Message<'_>) -> Result<()> {
        let is_ours = message
            .stream
            .as_deref()
            .is_none_or(|stream| stream == self.alias);
        match message.kind.as_ref() {
            "RECORD" if !is_ours => {
                self.others += 1;
                Ok(())
            }
            "RECORD" => self.record(message).await,
            "STATE" => match message.value {
                Some(value) => self.state(value).await,
                None => Err(part_missing("STATE", "value")),
            },
            "SCHEMA" if is_ours => self.schema(message).await,
            "ACTIVATE_VERSION" if is_ours => self.activate(message.version()).await,
            "BATCH" => Err(Error::decode(
                "the tap hands its records over in files (BATCH), which weir does not read",
            )
            .hint("remove batch_config from the tap's settings")),
            other => {
                tracing::debug!(kind = other, "a message that a read does not need");
                Ok(())
            }
        }
    }

    async fn record(&mut self, message: &Message<'_>) -> Result<()> {
        let record = message.record.ok_or_else(|| part_missing("RECORD", "record"))?;
        let at = message.time_extracted();
        if let Some(version) = message.version()
            && self.version.as_deref() != Some(version)
        {
            self.version = Some(version.to_owned());
        }
        self.batches.record(record.get().as_bytes(), at).await
    }

    async fn state(&mut self, value: &RawValue) -> Result<()> {
        let value: Value = serde_json::from_str(value.get()).map_err(|error| {
            Error::decode("a STATE message holds no JSON")
                .caused_by(error)
                .hint("report it to the tap's makers")
        })?;
        // Appended rows that are read again would stand there twice.
        let is_sure = !self.appends || !has_markers(&value);
        if self.advances && is_sure {
            self.batches.advance(value).await
        } else {
            self.batches.keep(value);
            Ok(())
        }
    }

    /// The table follows the records; a person is told what the tap announces.
    async fn schema(&mut self, message: &Message<'_>) -> Result<()> {
        let Some(raw) = message.schema else {
            return Err(part_missing("SCHEMA", "schema"));
        };
        let schema: Value = serde_json::from_str(raw.get()).map_err(|error| {
            Error::decode("a SCHEMA message holds no JSON")
                .caused_by(error)
                .hint("report it to the tap's makers")
        })?;
        let told = schema["properties"].as_object().cloned().unwrap_or_default();
        let is_first = self.known.is_empty();
        let changed: Vec<&str> = told
            .iter()
            .filter(|(name, property)| {
                self.known
                    .get(*name)
                    .is_none_or(|known| is_other(known, property))
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if !is_first && !changed.is_empty() {
            let message = format!(
                "the tap announces other types than its catalog: {}",
                changed.join(", ")
            );
            let hint = "the table follows the records as the stream's contract says";
            self.batches.notice(message, hint).await?;
        }
        self.known.extend(told);
        if let Some(keys) = &message.key_properties
            && !self.is_keyed
            && !keys.is_empty()
            && keys != self.keys
        {
            let message = format!("the tap names another key than its catalog: {}", keys.join(", "));
            let hint =
                "name the key in the connection's file, as in streams: { NAME: { primary_key: [id] } }";
            self.batches.notice(message, hint).await?;
            self.is_keyed = true;
        }
        Ok(())
    }

    /// Rows of other versions are gone at the source. A full read leaves them out by itself.
    async fn activate(&mut self, version: Option<&str>) -> Result<()> {
        let is_same = self.version.is_none() || self.version.as_deref() == version;
        if is_same && (self.is_full || self.version.is_some()) {
            return Ok(());
        }
        self.batches
            .notice(
                "the tap replaced the table at the source; rows that vanished there stay here".to_owned(),
                "read all of it with `weir sync CONNECTION --full`",
            )
            .await
    }
}

/// Whether a state says that it is none to read on from: the tap reads unsorted records again.
fn has_markers(state: &Value) -> bool {
    match state {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name == "progress_markers" || has_markers(value)),
        Value::Array(items) => items.iter().any(has_markers),
        _ => false,
    }
}

/// Whether two properties allow other values; their descriptions do not matter.
fn is_other(known: &Value, told: &Value) -> bool {
    ["type", "format", "anyOf", "oneOf", "items", "properties", "$ref"]
        .iter()
        .any(|word| known.get(*word) != told.get(*word))
}

fn part_missing(kind: &str, field: &str) -> Error {
    Error::decode(format!("a {kind} message has no {field}")).hint("look whether the program is a Singer tap")
}
