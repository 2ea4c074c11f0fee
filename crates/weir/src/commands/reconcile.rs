use clap::Args;
use futures::StreamExt as _;
use weir_control::reconcile;
use weir_protocol::{Error, ErrorKind, Result, name};

use super::Context;
use crate::lake_keys::LakeKeys;
use crate::output::Sheet;
use crate::wiring::{Wiring, chosen_streams};

/// Compare the keys at the source with those in the lake
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir reconcile github --stream issues")]
pub(crate) struct ReconcileArgs {
    /// Name of the connection
    connection: String,
    /// Only this stream; may be given several times
    #[arg(long = "stream", value_name = "STREAM")]
    streams: Vec<String>,
}

pub(crate) async fn run(args: &ReconcileArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let connection = wiring.connection(&args.connection)?;
    let source = wiring.source(&connection)?;
    let mut streams = chosen_streams(source.as_ref(), &connection, &args.streams).await?;
    if args.streams.is_empty() {
        streams.retain(|stream| !stream.primary_key.is_empty());
    }
    let scratch = tempfile::tempdir().map_err(|error| {
        Error::internal("cannot make a folder for temporary files")
            .caused_by(error)
            .hint("make room in the system's temporary folder")
    })?;
    let keys = LakeKeys::open(&wiring).await?;
    let mut sheet = Sheet::new([
        "stream",
        "source records",
        "without key",
        "lake rows",
        "missing",
        "extra",
        "doubled",
    ]);
    let mut incomplete = Vec::new();
    for stream in &streams {
        let table = name::silver(connection.source(), &stream.entity);
        let lake = keys.of(table, stream.primary_key.clone()).boxed();
        let at_source = reconcile::source_keys(source.as_ref(), stream)?;
        let report = reconcile::compare(at_source, lake, scratch.path()).await?;
        if !report.is_complete() {
            incomplete.push(stream.name.clone());
        }
        sheet.push([
            stream.name.as_str().into(),
            report.source_records.into(),
            report.keyless.into(),
            report.lake_rows.into(),
            report.missing.into(),
            report.extra.into(),
            report.doubled.into(),
        ]);
    }
    sheet.print(context.format())?;
    if incomplete.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Gate, "source and lake differ")
        .with("streams", incomplete.join(", "))
        .hint("the source may have changed since the last sync: `weir sync` again, with --full where records were deleted there; quarantined records count as missing"))
}
