use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use serde_json::Value;
use weir_control::permits::Urgency;
use weir_control::reconcile::{self, Report};
use weir_lake::{Compared, Lake};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, ErrorKind, Result, Source, StreamDescriptor, name};

use super::Context;
use crate::lake_keys::LakeKeys;
use crate::output::Sheet;
use crate::wiring::{Wiring, chosen_streams};

/// Compare the keys at the source with those in the lake, and Silver's rows with Bronze
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir reconcile github --stream issues\n  weir reconcile github --with bronze"
)]
pub(crate) struct ReconcileArgs {
    /// Name of the connection
    connection: String,
    /// Only this stream; may be given several times
    #[arg(long = "stream", value_name = "STREAM")]
    streams: Vec<String>,
    /// What the lake's rows are compared with
    #[arg(long = "with", value_name = "WHAT", default_value = "both")]
    against: Against,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Against {
    /// The keys that the source has: reads it in full
    Source,
    /// What Bronze comes to, value by value: asks the source nothing
    Bronze,
    /// First the one, then the other
    Both,
}

pub(crate) async fn run(args: &ReconcileArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let connection = wiring.connection(&args.connection)?;
    let wiring = wiring.with_production(&connection.connector).await?;
    let source = wiring.source_for(&connection, Urgency::Sync).await?;
    let mut streams = chosen_streams(source.as_ref(), &connection, &args.streams).await?;
    if args.streams.is_empty() && args.against == Against::Source {
        streams.retain(|stream| !stream.primary_key.is_empty());
    }
    let mut sheet = Sheet::new([
        "stream",
        "source records",
        "without key",
        "lake rows",
        "missing",
        "extra",
        "doubled",
        "stale",
        "altered",
        "not in silver",
        "not in bronze",
        "unproven",
    ]);
    let (mut incomplete, mut different) = (Vec::new(), Vec::new());
    for stream in &streams {
        let with_source = match args.against {
            Against::Bronze => None,
            Against::Both if stream.primary_key.is_empty() => None,
            _ => Some(compare_keys(&wiring, &connection, source.as_ref(), stream).await?),
        };
        let with_bronze = match args.against {
            Against::Source => None,
            _ => compare_rows(&wiring, &connection, stream, args.against).await?,
        };
        if with_source.is_some_and(|report| !report.is_complete()) {
            incomplete.push(stream.name.as_str());
        }
        if with_bronze.is_some_and(|compared| !compared.is_same()) {
            different.push(stream.name.as_str());
        }
        sheet.push(line(&stream.name, with_source, with_bronze));
    }
    sheet.print(context.format())?;
    judge(&args.connection, &incomplete, &different)
}

async fn compare_keys(
    wiring: &Wiring,
    connection: &ConnectionSpec,
    source: &dyn Source,
    stream: &StreamDescriptor,
) -> Result<Report> {
    let scratch = tempfile::tempdir().map_err(|error| {
        Error::internal("cannot make a folder for temporary files")
            .caused_by(error)
            .hint("make room in the system's temporary folder")
    })?;
    let table = name::silver(connection.source(), &stream.entity);
    let keys = LakeKeys::open(wiring).await?;
    // A cursor that is hidden or dropped on its way to Silver cannot be compared.
    let cursor = stream.cursor_field.as_ref();
    let versions = cursor.is_some_and(|path| !stream.policy.pii.contains_key(path));
    let lake = keys.of(table, stream.primary_key.clone(), versions).boxed();
    let at_source = reconcile::source_keys(source, stream, versions)?;
    reconcile::compare(at_source, lake, scratch.path()).await
}

/// None where there is no table, which the comparison with the source tells of.
async fn compare_rows(
    wiring: &Wiring,
    connection: &ConnectionSpec,
    stream: &StreamDescriptor,
    against: Against,
) -> Result<Option<Compared>> {
    let lake: Lake = wiring.lake()?;
    let plan = super::quarantine::plan(wiring, connection, &stream.name).await?;
    let compared = Box::pin(lake.compare(&plan)).await?;
    if compared.is_none() && against == Against::Bronze {
        return Err(
            Error::not_found(format!("stream '{}' has no table", stream.name)).hint(format!(
                "sync it, or make its table anew from Bronze: `weir lake rebuild {} {}`",
                connection.connection, stream.name
            )),
        );
    }
    Ok(compared)
}

fn line(stream: &str, keys: Option<Report>, rows: Option<Compared>) -> [Value; 12] {
    let of_keys = |count: fn(&Report) -> u64| Value::from(keys.as_ref().map(count));
    let of_rows = |count: fn(&Compared) -> u64| Value::from(rows.as_ref().map(count));
    let lake_rows = keys.map(|keys| keys.lake_rows).or(rows.map(|rows| rows.rows));
    let doubled = keys.map(|keys| keys.doubled).max(rows.map(|rows| rows.doubled));
    [
        stream.into(),
        of_keys(|keys| keys.source_records),
        of_keys(|keys| keys.keyless),
        lake_rows.into(),
        of_keys(|keys| keys.missing),
        of_keys(|keys| keys.extra),
        doubled.into(),
        of_keys(|keys| keys.stale),
        of_rows(|rows| rows.altered),
        of_rows(|rows| rows.lost),
        of_rows(|rows| rows.added),
        of_rows(|rows| rows.unproven),
    ]
}

fn judge(connection: &str, incomplete: &[&str], different: &[&str]) -> Result<()> {
    if !different.is_empty() {
        return Err(
            Error::new(ErrorKind::Gate, "Silver does not hold what Bronze comes to")
                .with("streams", different.join(", "))
                .hint(format!(
                    "unless retention took rows, or the stream's schema changed since: somebody else wrote the table. \
                     `weir lake rebuild {connection} STREAM` makes it anew from Bronze"
                )),
        );
    }
    if incomplete.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Gate, "source and lake differ")
        .with("streams", incomplete.join(", "))
        .hint("the source may have changed since the last sync: `weir sync` again, with --full where records were deleted or changed there without a newer cursor; quarantined records count as missing"))
}
