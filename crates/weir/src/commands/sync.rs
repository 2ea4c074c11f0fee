use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use weir_control::permits::Urgency;
use weir_control::runs::{Begin, Trigger};
use weir_control::sync::{Bounds, wanted_mode};
use weir_control::{Owner, StreamOutcome, SyncOptions, SyncOutcome, SyncPlan};
use weir_protocol::units::{ByteSize, Span};
use weir_protocol::{Error, Result, StreamDescriptor, WriteMode};

use super::Context;
use crate::output::{Format, Sheet, line};
use crate::performer::sharing;
use crate::progress::Watcher;
use crate::wiring::{Wiring, chosen_streams, registered};
use crate::writers::refuse_shared;
use crate::{audit_trail, errors, interrupt, messenger};

/// Read a connection into the lake, and print the books
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir sync github\n  weir sync github --stream issues --stream releases\n  weir sync github --stream issues --full --memory 512MiB"
)]
pub(crate) struct SyncArgs {
    /// Name of the connection
    connection: String,
    /// Only this stream; may be given several times
    #[arg(long = "stream", value_name = "STREAM")]
    streams: Vec<String>,
    /// Read everything, whatever was read before. A merge or history stream is merged with what
    /// was read, and rows that vanished at the source are marked deleted; an append stream, which
    /// has no key to tell rows apart, is replaced: the version before stays readable with
    /// `weir query --as-of`
    #[arg(long)]
    full: bool,
    /// Begin anew instead of going on with an interrupted full read
    #[arg(long)]
    restart: bool,
    /// Read again from this cursor value on (inclusive), as in 2026-01-01T00:00:00Z; refused where
    /// it lies after the stored cursor, because the records between would never be read
    #[arg(long, value_name = "CURSOR", conflicts_with = "full")]
    from: Option<String>,
    /// With --from: in a table without a key, what is read again may stand twice
    #[arg(long, requires = "from")]
    accept_duplicates: bool,
    /// Memory that the run may hold, 16MiB at least
    #[arg(long, default_value = "256MiB", value_name = "SIZE", value_parser = memory)]
    memory: ByteSize,
    /// Streams that are read at once
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    streams_at_once: u16,
    /// Commit after so many records
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_rows: Option<u64>,
    /// Commit after so much data, 1KiB at least
    #[arg(long, value_name = "SIZE", value_parser = checkpoint_bytes)]
    checkpoint_bytes: Option<ByteSize>,
    /// Commit after so much time, 100ms at least
    #[arg(long, value_name = "TIME", value_parser = checkpoint_age)]
    checkpoint_age: Option<Span>,
}

/// Less than this no writer can work in.
const MEMORY_MIN: ByteSize = ByteSize::mib(16);
const CHECKPOINT_BYTES_MIN: u64 = 1 << 10;
const CHECKPOINT_AGE_MIN: Duration = Duration::from_millis(100);

pub(super) fn memory(text: &str) -> Result<ByteSize, String> {
    let size = size(text)?;
    if size < MEMORY_MIN {
        return Err(format!("a sync needs {MEMORY_MIN} at least"));
    }
    Ok(size)
}

fn checkpoint_bytes(text: &str) -> Result<ByteSize, String> {
    let size = size(text)?;
    if size.bytes() < CHECKPOINT_BYTES_MIN {
        return Err("a checkpoint needs 1KiB at least".to_owned());
    }
    Ok(size)
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse::<ByteSize>().map_err(|error| described(&error))
}

fn checkpoint_age(text: &str) -> Result<Span, String> {
    let age = text.parse::<Span>().map_err(|error| described(&error))?;
    if age.get() < CHECKPOINT_AGE_MIN {
        return Err("checkpoints need 100ms between them at least".to_owned());
    }
    Ok(age)
}

/// An error in the words that clap puts behind the flag.
fn described(error: &Error) -> String {
    match error.next_step() {
        Some(hint) => format!("{}: {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

pub(crate) async fn run(args: &SyncArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?.within(args.memory.bytes());
    let connection = wiring.connection(&args.connection)?;
    let wiring = Arc::new(wiring.with_production(&connection.connector).await?);
    let source = wiring.source_for(&connection, Urgency::Sync).await?;
    let cancel = interrupt::token();
    let streams = chosen_streams(source.as_ref(), &connection, &args.streams).await?;
    refuse_shared(&wiring.project, &wiring.catalog, &connection, &streams)?;
    let options = args.options();
    if options.full {
        say_full(&streams, &options, context.format());
    }
    let store = wiring.store().await?;
    let lake = Arc::new(wiring.lake()?);
    let plan = SyncPlan {
        connection: registered(&connection),
        source,
        destination: lake.clone(),
        streams,
        options,
        begin: Begin::Anew(Trigger::Person),
        owner: Owner::this_process(),
        cancel,
        observer: Arc::new(Watcher::new(context)),
        sharing: Some(sharing(&connection, lake)),
    };
    let outcome = Box::pin(weir_control::sync(&store, plan)).await?;
    // Before anything downstream reads what changed.
    messenger::tell(&wiring, &store).await;
    audit_trail::seal(&store, &wiring.audit_key()).await;
    store.close().await;
    print(&outcome, context.format())?;
    first_failure(outcome)
}

impl SyncArgs {
    fn options(&self) -> SyncOptions {
        let default = Bounds::default();
        SyncOptions {
            full: self.full,
            restart: self.restart,
            from: self.from.clone(),
            accept_duplicates: self.accept_duplicates,
            memory_bytes: self.memory.bytes(),
            streams_at_once_max: usize::from(self.streams_at_once),
            bounds: Bounds {
                rows: self.checkpoint_rows.unwrap_or(default.rows),
                bytes: self.checkpoint_bytes.map_or(default.bytes, ByteSize::bytes),
                age: self.checkpoint_age.map_or(default.age, Span::get),
            },
            ..SyncOptions::default()
        }
    }
}

/// What a full read does to each stream that is else read on from where it stands.
fn say_full(streams: &[StreamDescriptor], options: &SyncOptions, format: Format) {
    for stream in streams {
        let usual = wanted_mode(stream, &SyncOptions::default());
        let mode = wanted_mode(stream, options);
        let effect = match mode.write() {
            WriteMode::Replace => {
                "its table is replaced when the read is complete; the version before stays readable \
                 with `weir query --as-of`, until it is vacuumed"
            }
            WriteMode::Append => "its rows are added to those already there",
            WriteMode::Merge => "its rows are merged; those that vanished at the source are marked deleted",
            WriteMode::History => {
                "changed rows get a new version; those that vanished at the source are ended"
            }
        };
        let name = &stream.name;
        if format == Format::Table {
            line(format!("full read of {name} ({usual} as {mode}): {effect}"));
        }
        tracing::info!(stream = name, %usual, %mode, "full read: {effect}");
    }
}

fn print(outcome: &SyncOutcome, format: Format) -> Result<()> {
    if format == Format::Table {
        line(format!("run {}", outcome.run));
    }
    let mut sheet = Sheet::new([
        "stream",
        "mode",
        "status",
        "read",
        "landed",
        "filtered",
        "deduplicated",
        "quarantined",
        "seconds",
    ]);
    if format != Format::Table {
        sheet.columns.extend(
            [
                "run",
                "table",
                "version",
                "requests",
                "bytes",
                "schema_changes",
                "quarantine",
                "child_rows",
                "error",
            ]
            .map(str::to_owned),
        );
    }
    for stream in &outcome.streams {
        let books = stream.books;
        let mut row: Vec<Value> = vec![
            stream.stream.as_str().into(),
            stream.mode.as_str().into(),
            stream.status.as_str().into(),
            books.read.into(),
            books.landed.into(),
            books.filtered.into(),
            books.deduplicated.into(),
            books.quarantined.into(),
            tenths(stream.duration),
        ];
        if format != Format::Table {
            row.extend(details(outcome, stream));
        }
        sheet.rows.push(row);
    }
    sheet.print(format)?;
    if format == Format::Table {
        outcome.streams.iter().for_each(say_changes);
    }
    Ok(())
}

fn tenths(duration: Duration) -> Value {
    json!((duration.as_secs_f64() * 10.0).round() / 10.0)
}

fn details(outcome: &SyncOutcome, stream: &StreamOutcome) -> [Value; 9] {
    let receipt = stream.receipt.as_ref();
    [
        outcome.run.as_str().into(),
        receipt.map(|receipt| receipt.table.as_str()).into(),
        receipt.map(|receipt| receipt.version).into(),
        stream.progress.requests.into(),
        stream.progress.bytes.into(),
        receipt.map(|receipt| json!(receipt.schema_changes)).into(),
        receipt.map(|receipt| json!(receipt.quarantine_reasons)).into(),
        receipt.map(|receipt| json!(receipt.child_rows)).into(),
        stream.error.as_ref().map(errors::object).into(),
    ]
}

/// What a person should know of a stream beyond its books.
fn say_changes(stream: &StreamOutcome) {
    let Some(receipt) = &stream.receipt else { return };
    for change in &receipt.schema_changes {
        let kind = json!(change.kind);
        let (from, to) = (change.from.as_deref(), change.to.as_deref());
        let types = match (from, to) {
            (Some(from), Some(to)) => format!(" ({from} -> {to})"),
            (None, Some(to)) => format!(" ({to})"),
            _ => String::new(),
        };
        line(format!(
            "schema: {}.{} {}{types}",
            receipt.table,
            change.column,
            kind.as_str().unwrap_or_default()
        ));
    }
    for (table, rows) in &receipt.child_rows {
        line(format!("children: {table}: {rows} rows"));
    }
    for (reason, count) in &receipt.quarantine_reasons {
        line(format!("quarantined: {}: {count} × {reason}", stream.stream));
    }
}

/// Failures of all streams are printed; the one that counts becomes the command's.
fn first_failure(outcome: SyncOutcome) -> Result<()> {
    let kind = outcome.first_error().map(Error::kind);
    let mut failed: Vec<Error> = outcome
        .streams
        .into_iter()
        .filter_map(|stream| stream.error.map(|error| error.with("stream", &stream.stream)))
        .collect();
    let Some(at) = failed.iter().position(|error| Some(error.kind()) == kind) else {
        return Ok(());
    };
    let counts = failed.remove(at);
    for error in &failed {
        tracing::error!("{error}");
    }
    Err(counts)
}
