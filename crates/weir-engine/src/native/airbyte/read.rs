//! Reading a stream: a process, its records and its states.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use weir_protocol::state::WHOLE;
use weir_protocol::{Error, ReadMode, ReadRequest, Result, StreamDescriptor, SyncMode};

use super::super::process::{Argument, Batches, Events, Line, Running, described};
use super::catalog::Stream;
use super::failure::Failures;
use super::messages::{Control, Descriptor, Message, RecordMessage, Trace, log, part, told};
use super::{Counts, Inner, state};

pub(super) async fn run(source: Arc<Inner>, request: ReadRequest, out: Events) {
    if let Err(error) = read(&source, request, &out).await {
        // A closed channel means that nobody reads any more.
        let _closed = out.send(Err(error)).await;
    }
}

async fn read(source: &Inner, request: ReadRequest, out: &Events) -> Result<()> {
    if request.from.is_some() {
        return Err(Error::usage("the program cannot be told where to begin")
            .with("stream", &request.stream)
            .hint("set a state that it wrote with `weir state set --file`, or begin anew with `weir state reset`"));
    }
    let stream = source.catalog().await?.stream(&request.stream)?;
    let chosen = described(&[stream.declared()], &source.choices)?.pop();
    let chosen = chosen.ok_or_else(|| {
        Error::not_found(format!(
            "the connection does not choose stream '{}'",
            request.stream
        ))
        .hint("name it under streams:")
    })?;
    // A stream that is usually read on is read by its cursor even when all of it is wanted, so that
    // the state it leaves is one to read on from.
    let asks = chosen.mode.map_or(request.mode, SyncMode::read);
    let running = start(source, stream, &chosen, &request, asks)?;
    let batches = Batches::new(
        out.clone(),
        source.clock.clone(),
        &request,
        chosen.cursor_field.as_deref(),
    );
    let is_alone = source.choices.len() == 1;
    let mut reading = Reading {
        source,
        stream: &stream.descriptor,
        batches,
        // A full read that is begun anew must not find half of an earlier one in its place.
        advances: request.mode == ReadMode::Incremental
            || ((stream.is_resumable() || asks == ReadMode::Incremental)
                && !chosen.primary_key.is_empty()
                && !request.skip_edge),
        keeps_state: asks == ReadMode::Incremental,
        is_alone,
        since_state: 0,
        failures: Failures::default(),
        is_incomplete: false,
        others: 0,
    };
    let done = reading.drive(running).await;
    if reading.batches.is_stopped() {
        return Ok(());
    }
    done.map_err(|error| error.with("stream", &request.stream))
}

fn start(
    source: &Inner,
    stream: &Stream,
    chosen: &StreamDescriptor,
    request: &ReadRequest,
    asks: ReadMode,
) -> Result<Running> {
    let folder = source.program.folder()?;
    folder.write("config.json", &source.settings())?;
    let cursor = chosen.cursor_field.as_deref();
    folder.write(
        "catalog.json",
        &stream.configured(asks, cursor, &chosen.primary_key),
    )?;
    let mut arguments = vec![
        Argument::Word("read"),
        Argument::Word("--config"),
        Argument::File("config.json"),
        Argument::Word("--catalog"),
        Argument::File("catalog.json"),
    ];
    let kept = request.state.as_ref().and_then(|state| state.cursor_of(WHOLE));
    if let Some(kept) = kept {
        folder.write("state.json", &state::file(kept))?;
        arguments.extend([Argument::Word("--state"), Argument::File("state.json")]);
    }
    source.program.start(folder, &arguments)
}

struct Reading<'a> {
    source: &'a Inner,
    stream: &'a Descriptor,
    batches: Batches,
    /// Whether a state ends a checkpoint.
    advances: bool,
    keeps_state: bool,
    /// The connection chooses this stream only.
    is_alone: bool,
    /// Records since the last state.
    since_state: u64,
    failures: Failures,
    is_incomplete: bool,
    /// Records of streams that nobody asked for.
    others: u64,
}

impl Reading<'_> {
    async fn drive(&mut self, mut running: Running) -> Result<()> {
        let redactor = self.source.program.redactor();
        loop {
            let later = {
                let (line, is_cut) = match running.next_line().await? {
                    None => break,
                    Some(Line::Whole(line)) => (line, false),
                    Some(Line::Cut(line)) => (line, true),
                };
                match told(line, is_cut, |line| redactor.excerpt(line, 200))? {
                    Some(message) => match self.take(message).await? {
                        None => continue,
                        Some(later) => later,
                    },
                    None => Later::Noise(line.to_vec()),
                }
            };
            match later {
                Later::Noise(line) => tracing::info!(target: "weir::process", "{}", running.note(&line)),
                Later::Log(raw) => log(&running, &raw),
            }
        }
        let ended = running.end().await;
        std::mem::take(&mut self.failures).result(ended, redactor)?;
        if self.is_incomplete {
            return Err(running.with_tail(
                Error::source_failed("the program says that the stream is incomplete, and not why")
                    .hint("run again; what was committed stays"),
            ));
        }
        if self.others > 0 {
            tracing::warn!(
                records = self.others,
                "the program gave records of streams that were not asked for"
            );
        }
        self.batches.complete(self.keeps_state).await
    }

    /// Takes a message; gives back what needs the process itself.
    async fn take(&mut self, message: Message<'_>) -> Result<Option<Later>> {
        match message.kind.as_ref() {
            "RECORD" => match message.record {
                Some(record) => self.record(&record).await?,
                None => return Err(part_missing("RECORD")),
            },
            "STATE" => match message.state {
                Some(raw) => self.state(part("STATE", raw)?).await?,
                None => return Err(part_missing("STATE")),
            },
            "LOG" => return Ok(message.log.map(|raw| Later::Log(raw.to_owned()))),
            "TRACE" => {
                if let Some(raw) = message.trace {
                    self.trace(Trace::of(raw));
                }
            }
            "CONTROL" => {
                if let Some(raw) = message.control {
                    self.control(part("CONTROL", raw)?).await?;
                }
            }
            other => tracing::debug!(kind = other, "a message that a read does not need"),
        }
        Ok(None)
    }

    async fn record(&mut self, record: &RecordMessage<'_>) -> Result<()> {
        let namespace = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
        if record.stream != self.stream.name
            || namespace(record.namespace.as_deref()) != namespace(self.stream.namespace.as_deref())
        {
            self.others += 1;
            return Ok(());
        }
        self.since_state += 1;
        let at = record
            .emitted_at()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        self.batches.record(record.data.get().as_bytes(), at).await
    }

    async fn state(&mut self, state: Value) -> Result<()> {
        let told = state::Told::parse(&state)?;
        if !told.is_of(self.stream) {
            tracing::debug!("a state of a stream that was not asked for");
            return Ok(());
        }
        if told.is_shared() && !self.is_alone {
            return Err(state::shared_state(&self.stream.name));
        }
        self.count(told.records()).await?;
        let kept = state::kept(state);
        if self.advances {
            self.batches.advance(kept).await
        } else {
            self.batches.keep(kept);
            Ok(())
        }
    }

    /// Compares what arrived since the last state with what the program says it gave.
    async fn count(&mut self, given: Option<u64>) -> Result<()> {
        let taken = std::mem::take(&mut self.since_state);
        let Some(given) = given.filter(|given| *given != taken) else {
            return Ok(());
        };
        let message =
            format!("the program says that it gave {given} records since its last state; {taken} arrived");
        if given > taken && self.source.counts == Counts::Strict {
            return Err(Error::decode(message).hint(
                "records were lost on the way; run again. If the program miscounts, set config.counts: warn",
            ));
        }
        self.batches
            .notice(
                message,
                "the program may miscount; `weir reconcile` compares with the source",
            )
            .await
    }

    fn trace(&mut self, trace: Trace) {
        match trace {
            Trace::Estimate(rows) => self.batches.expect(rows),
            Trace::StreamStatus { stream, status } => {
                if stream == self.stream.name {
                    self.is_incomplete = status == "INCOMPLETE";
                }
            }
            Trace::Error(_) | Trace::Other => self.failures.take(trace),
        }
    }

    /// The program changed its settings: it gets them at its next start in this run.
    async fn control(&mut self, control: Control) -> Result<()> {
        let Some(changed) = control.connector_config else {
            return Ok(());
        };
        self.source.hide(&changed.config);
        let before = self.source.settings();
        let names: Vec<&str> = changed
            .config
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(value))
            .map(|(name, _)| name.as_str())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let message = format!("the program changed its settings: {}", names.join(", "));
        let hint = "they hold for this run only; weir does not write into the connection's file. Where a token \
                    was replaced, sign in anew if the next run is refused";
        self.source.replace_settings(changed.config);
        self.batches.notice(message, hint).await
    }
}

fn part_missing(kind: &str) -> Error {
    Error::decode(format!("a {kind} message is empty"))
        .hint("look at the program's version; it may speak another protocol")
}

/// What is done when the line is no longer looked at.
enum Later {
    Noise(Vec<u8>),
    Log(Box<serde_json::value::RawValue>),
}
