use clap::Args;
use serde_json::Value;
use weir_protocol::{Result, StreamDescriptor, SyncMode};

use super::Context;
use crate::output::{Format, Sheet, raw};
use crate::wiring::Wiring;

/// List the streams of a connection
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir discover github\n  weir discover github --format json   with the records' schemas"
)]
pub(crate) struct DiscoverArgs {
    /// Name of the connection
    connection: String,
}

pub(crate) async fn run(args: &DiscoverArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let connection = wiring.connection(&args.connection)?;
    let streams = wiring.source(&connection).await?.discover().await?;
    if context.format() == Format::Json {
        raw(&format!("{:#}\n", serde_json::json!(streams)));
        return Ok(());
    }
    let mut sheet = Sheet::new([
        "stream",
        "table",
        "mode",
        "primary key",
        "cursor",
        "fields",
        "description",
    ]);
    for stream in &streams {
        sheet.push([
            stream.name.as_str().into(),
            weir_protocol::name::silver(connection.source(), &stream.entity).into(),
            mode(stream).as_str().into(),
            stream.primary_key.join(", ").into(),
            stream.cursor_field.as_deref().into(),
            fields(stream),
            stream.description.as_deref().into(),
        ]);
    }
    sheet.print(context.format())
}

/// The mode that a sync would use.
pub(crate) fn mode(stream: &StreamDescriptor) -> SyncMode {
    stream.mode.unwrap_or_else(|| {
        SyncMode::default_for(!stream.primary_key.is_empty(), stream.cursor_field.is_some())
    })
}

fn fields(stream: &StreamDescriptor) -> Value {
    let declared = stream
        .schema
        .as_ref()
        .and_then(|schema| schema["properties"].as_object());
    declared.map_or_else(|| "inferred".into(), |fields| fields.len().into())
}
