use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use weir_control::maintenance::Kind;
use weir_lake::Lake;
use weir_lake::quarantine::{Choice, Entry};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, StreamDescriptor, WritePlan};

use super::Context;
use super::discover::mode;
use crate::output::{Format, Sheet, line, raw};
use crate::wiring::{Wiring, chosen_streams, registered};

const MEMORY_BYTES: u64 = 256 << 20;
const RECORD_CHARS_MAX: usize = 60;

/// Records that broke their contract: list, release, discard
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir quarantine list github\n  weir quarantine discard github issues --all --why \"test data\""
)]
pub(crate) struct QuarantineArgs {
    #[command(subcommand)]
    command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// What is held, with the reasons
    #[command(after_help = "Example:\n  weir quarantine list github issues --rows 5 --format json")]
    List {
        /// Name of the connection
        connection: String,
        /// Only this stream
        stream: Option<String>,
        /// How many records of each stream to show
        #[arg(long, default_value_t = 10)]
        rows: usize,
    },
    /// Type held records again by the present schema, and write those that fit to Silver
    #[command(
        after_help = "Example:\n  weir quarantine release github issues --all --why \"schema widened\""
    )]
    Release(Decide),
    /// Give held records up, for good
    #[command(
        after_help = "Example:\n  weir quarantine discard github issues --id 4-0-0 --why \"test data\""
    )]
    Discard(Decide),
}

#[derive(Debug, Args)]
struct Decide {
    /// Name of the connection
    connection: String,
    stream: String,
    /// Records by id, as the list shows them
    #[arg(long = "id", value_name = "ID", required_unless_present_any = ["all", "reason"])]
    ids: Vec<String>,
    /// All with exactly this reason
    #[arg(long, conflicts_with = "ids")]
    reason: Option<String>,
    /// All that is held
    #[arg(long, conflicts_with_all = ["ids", "reason"])]
    all: bool,
    /// Why; kept with the decision
    #[arg(long)]
    why: String,
    /// Who decides; kept with the decision
    #[arg(long, default_value = "cli")]
    by: String,
}

impl Decide {
    fn choice(&self) -> Choice {
        match &self.reason {
            _ if self.all => Choice::All,
            Some(reason) => Choice::Reason(reason.clone()),
            None => Choice::Ids(self.ids.iter().cloned().collect::<BTreeSet<_>>()),
        }
    }
}

pub(crate) async fn run(args: &QuarantineArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let lake = wiring.lake()?;
    match &args.command {
        QuarantineCommand::List {
            connection,
            stream,
            rows,
        } => {
            let connection = wiring.connection(connection)?;
            let named: Vec<String> = stream.clone().into_iter().collect();
            let source = wiring.source(&connection).await?;
            let streams = chosen_streams(source.as_ref(), &connection, &named).await?;
            list(&lake, connection.source(), &streams, *rows, context.format()).await
        }
        QuarantineCommand::Release(decide) => {
            let connection = wiring.connection(&decide.connection)?;
            let wiring = wiring.with_production(&connection.connector).await?;
            let plan = plan(&wiring, &connection, &decide.stream).await?;
            let choice = decide.choice();
            let work = lake.release_held(&plan, &choice, &decide.by, &decide.why);
            let connection = registered(&connection);
            let released = wiring.hold(&connection, &decide.stream, Kind::Rebuild, work);
            match released.await? {
                None => line("nothing is held that was chosen"),
                Some(receipt) => line(format!(
                    "{} landed in {} version {}, {} still do not fit",
                    receipt.books.landed, receipt.table, receipt.version, receipt.books.quarantined
                )),
            }
            Ok(())
        }
        QuarantineCommand::Discard(decide) => {
            let connection = wiring.connection(&decide.connection)?;
            let source = connection.source();
            let choice = decide.choice();
            let work = lake.discard_held(source, &decide.stream, &choice, &decide.by, &decide.why);
            let registered = registered(&connection);
            let held = wiring.hold(&registered, &decide.stream, Kind::Maintenance, work);
            let gone = held.await?;
            line(format!("{gone} discarded"));
            Ok(())
        }
    }
}

/// How one stream of a connection is written, for work that is no sync.
pub(crate) async fn plan(wiring: &Wiring, connection: &ConnectionSpec, stream: &str) -> Result<WritePlan> {
    let source = wiring.source(connection).await?;
    let found = chosen_streams(source.as_ref(), connection, &[stream.to_owned()]).await?;
    let stream = found.into_iter().next().ok_or_else(|| {
        Error::not_found(format!("there is no stream '{stream}'")).hint("`weir discover` lists the streams")
    })?;
    Ok(WritePlan {
        run: uuid::Uuid::now_v7().to_string(),
        connection: connection.connection.clone(),
        source: connection.source().to_owned(),
        mode: mode(&stream),
        stream,
        restart: false,
        known_sequence: 0,
        memory_bytes: MEMORY_BYTES,
        started_at: Timestamp::now(),
    })
}

async fn list(
    lake: &Lake,
    source: &str,
    streams: &[StreamDescriptor],
    rows: usize,
    format: Format,
) -> Result<()> {
    let mut reasons = Sheet::new(["stream", "count", "reason", "first", "last"]);
    let mut entries = Sheet::new(["stream", "id", "reason", "column", "received", "run", "record"]);
    for stream in streams {
        let listing = lake.quarantined(source, &stream.name, rows).await?;
        for reason in &listing.reasons {
            reasons.push([
                stream.name.as_str().into(),
                reason.count.into(),
                reason.reason.as_str().into(),
                second(reason.first),
                second(reason.last),
            ]);
        }
        for entry in &listing.entries {
            entries.push([
                stream.name.as_str().into(),
                entry.id.as_str().into(),
                entry.reason.as_str().into(),
                entry.column.as_deref().into(),
                second(entry.emitted_at),
                entry.run.as_str().into(),
                record(entry, format),
            ]);
        }
    }
    match format {
        Format::Table if reasons.rows.is_empty() => line("nothing is held in quarantine"),
        Format::Table => {
            raw(&reasons.to_table());
            raw(&entries.to_table());
        }
        Format::Json | Format::Csv | Format::Parquet => entries.print(format)?,
    }
    Ok(())
}

fn second(at: Timestamp) -> Value {
    crate::output::time(Some(at.as_millisecond()))
}

/// The record as it was received; for people its beginning.
fn record(entry: &Entry, format: Format) -> Value {
    let text = String::from_utf8_lossy(&entry.record);
    if format != Format::Table {
        return serde_json::from_slice(&entry.record).unwrap_or_else(|_| json!(text));
    }
    let mut shown: String = text.chars().take(RECORD_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.replace(['\n', '\r'], " ").into()
}
