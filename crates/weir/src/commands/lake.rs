use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use weir_control::maintenance::Kind;
use weir_control::{Connection, DEFAULT_TENANT, runs, states};
use weir_lake::{AsOf, Lake, LakeConfig, Layer, NextRead, Storage};
use weir_protocol::units::{ByteSize, Span};
use weir_protocol::{Error, ErrorKind, ReadMode, Result, Secret, SyncMode, WritePlan};

use super::Context;
use crate::output::{Format, Sheet, bytes, line};
use crate::wiring::{Wiring, registered};

/// Look after the lake: tables, compact, vacuum, retention, rebuild, restore, usage
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir lake tables\n  weir lake compact github_issues\n  weir lake vacuum --dry-run"
)]
pub(crate) struct LakeArgs {
    #[command(subcommand)]
    command: LakeCommand,
}

#[derive(Debug, Subcommand)]
enum LakeCommand {
    /// Silver and Gold tables
    #[command(after_help = "Example:\n  weir lake tables --format json")]
    Tables,
    /// Bytes and objects of each layer
    #[command(after_help = "Example:\n  weir lake usage")]
    Usage,
    /// Put small files together
    #[command(after_help = "Example:\n  weir lake compact github_issues")]
    Compact {
        /// Only this table; without it, all of them
        table: Option<String>,
        /// Memory that compacting may hold
        #[arg(long, default_value = "256MiB", value_name = "SIZE")]
        memory: ByteSize,
    },
    /// Delete files that no kept version needs
    #[command(after_help = "Example:\n  weir lake vacuum github_issues --keep 7d --dry-run")]
    Vacuum {
        /// Only this table; without it, all of them
        table: Option<String>,
        /// How far back time travel must work
        #[arg(long, default_value = "7d", value_name = "TIME")]
        keep: Span,
        /// Only say what would be deleted
        #[arg(long)]
        dry_run: bool,
    },
    /// Move what is older than a layer is kept to an archive, or delete it
    #[command(after_help = "Example:\n  weir lake retention --bronze 30d --archive s3://cold/lake")]
    Retention {
        /// Keep Bronze objects this long
        #[arg(long, value_name = "TIME", required_unless_present = "silver")]
        bronze: Option<Span>,
        /// Keep Silver rows this long, by the time column that a table is partitioned by
        #[arg(long, value_name = "TIME")]
        silver: Option<Span>,
        /// Only this table
        #[arg(long)]
        table: Option<String>,
        /// Where old data goes: a folder or bucket with the lake's options
        #[arg(long, value_name = "LOCATION", required_unless_present = "delete")]
        archive: Option<String>,
        /// Delete without an archive
        #[arg(long, conflicts_with = "archive")]
        delete: bool,
    },
    /// Make a stream's Silver table anew from Bronze, with the schema of today
    #[command(after_help = "Example:\n  weir lake rebuild github issues")]
    Rebuild {
        /// Name of the connection
        connection: String,
        stream: String,
        /// Go on although fewer rows would be left (Bronze was archived or deleted)
        #[arg(long)]
        accept_loss: bool,
    },
    /// Move records away that a stream's table does not know, so that the stream can begin anew
    #[command(
        name = "set-aside",
        after_help = "Example:\n  weir lake set-aside github issues"
    )]
    SetAside {
        /// Name of the connection
        connection: String,
        stream: String,
    },
    /// Bring a table back to an earlier version, as a new version
    #[command(after_help = "Example:\n  weir lake restore github_issues --to 12")]
    Restore {
        table: String,
        /// Version, or a time such as 2026-11-21T12:00:00Z
        #[arg(long)]
        to: String,
    },
}

pub(crate) async fn run(args: &LakeArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let lake = wiring.lake()?;
    let format = context.format();
    match &args.command {
        LakeCommand::Tables => tables(&lake, format).await,
        LakeCommand::Usage => usage(&lake, format).await,
        LakeCommand::Compact { table, memory } => {
            compact(&lake, table.as_deref(), memory.bytes(), format).await
        }
        LakeCommand::Vacuum { table, keep, dry_run } => {
            vacuum(&lake, table.as_deref(), before(*keep)?, *dry_run, format).await
        }
        LakeCommand::Retention {
            bronze,
            silver,
            table,
            archive,
            ..
        } => {
            let archive = archive
                .as_deref()
                .map(|place| archive_at(&wiring, place))
                .transpose()?;
            let kept = Kept {
                bronze: *bronze,
                silver: *silver,
                table: table.as_deref(),
            };
            retention(&lake, &kept, archive.as_ref(), format).await
        }
        LakeCommand::Rebuild {
            connection,
            stream,
            accept_loss,
        } => {
            let connection = wiring.connection(connection)?;
            let wiring = wiring.with_production(&connection.connector).await?;
            let plan = super::quarantine::plan(&wiring, &connection, stream).await?;
            let store = wiring.store().await?;
            let work = async {
                let runs = lake.orphaned_runs(&plan).await?;
                let reached = runs::reached(&store, DEFAULT_TENANT, stream, &runs).await?;
                lake.rebuild_known(&plan, *accept_loss, &reached).await
            };
            let done = wiring
                .hold(&registered(&connection), stream, Kind::Rebuild, work)
                .await?;
            line(format!(
                "{} rows from Bronze, {} held records released, {} records wait in quarantine; version {}",
                done.rows, done.released, done.rejected, done.version
            ));
            if done.is_new {
                line(made_anew(&plan));
            }
            Ok(())
        }
        LakeCommand::SetAside { connection, stream } => set_aside(wiring, &lake, connection, stream).await,
        LakeCommand::Restore { table, to } => restore(&wiring, &lake, table, to).await,
    }
}

async fn restore(wiring: &Wiring, lake: &Lake, table: &str, to: &str) -> Result<()> {
    let as_of: AsOf = to.parse()?;
    let run = uuid::Uuid::now_v7().to_string();
    let work = lake.restore(table, as_of, &run);
    let restored = match written_by(wiring, lake, table).await? {
        None => work.await?,
        Some((connection, stream)) => wiring.hold(&connection, &stream, Kind::Maintenance, work).await?,
    };
    line(format!(
        "{table} is as it was at {to}; this is its version {}{}",
        restored.version,
        next_read(restored.next)
    ));
    Ok(())
}

/// What is to be known of a table that was made from Bronze alone.
fn made_anew(plan: &WritePlan) -> String {
    let doubles = plan.mode == SyncMode::IncrementalAppend && plan.stream.primary_key.is_empty();
    let next = if doubles {
        format!(
            "its rows have no key and would stand there twice: let that be `weir sync {} --stream {} --full`",
            plan.connection, plan.stream.name
        )
    } else {
        "what the table has already is told by its key".to_owned()
    };
    let next = match plan.mode.read() {
        ReadMode::FullRefresh => "as every sync of this stream does".to_owned(),
        ReadMode::Incremental => next,
    };
    format!("The table was gone and is made from Bronze alone: the next sync reads everything; {next}")
}

/// What the next sync of a restored table does.
fn next_read(next: NextRead) -> &'static str {
    match next {
        NextRead::None => "",
        NextRead::Everything => {
            ". The next sync reads everything: that version is older than the stream's first checkpoint"
        }
        NextRead::Since => ". The next sync reads what came after that version",
        NextRead::Again => {
            ". A run was under way at that version: the next sync reads what came after it, and again what that run had begun"
        }
    }
}

async fn set_aside(wiring: Wiring, lake: &Lake, connection: &str, stream: &str) -> Result<()> {
    let connection = wiring.connection(connection)?;
    let wiring = wiring.with_production(&connection.connector).await?;
    let mut plan = super::quarantine::plan(&wiring, &connection, stream).await?;
    let store = wiring.store().await?;
    let work = async {
        let known = states::get(&store, DEFAULT_TENANT, &connection.connection, stream).await?;
        plan.known_sequence = known.map_or(0, |known| known.sequence);
        lake.set_aside(&plan).await
    };
    let moved = wiring
        .hold(&registered(&connection), stream, Kind::Maintenance, work)
        .await?;
    line(match moved {
        0 => format!("the table of {stream} knows all of its records: nothing was moved"),
        _ => format!(
            "{moved} objects of {stream} were moved to set_aside/ in the lake; nothing in weir reads them there"
        ),
    });
    Ok(())
}

/// The connection and stream that a table is of; None where no connection of the project writes it.
async fn written_by(wiring: &Wiring, lake: &Lake, table: &str) -> Result<Option<(Connection, String)>> {
    let Some((connection, stream)) = lake.stream_of(table).await? else {
        return Ok(None);
    };
    match wiring.connection(&connection) {
        Ok(found) => Ok(Some((registered(&found), stream))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn tables(lake: &Lake, format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "table",
        "layer",
        "rows",
        "files",
        "bytes",
        "version",
        "columns",
        "partitions",
        "child of",
    ]);
    for table in lake.tables().await? {
        sheet.push([
            table.name.into(),
            table.layer.as_str().into(),
            table.rows.into(),
            table.files.into(),
            size(table.bytes, format),
            table.version.into(),
            table.schema.fields().len().into(),
            table.partition_columns.join(", ").into(),
            table.parent.into(),
        ]);
    }
    sheet.print(format)
}

/// People get a unit, programs a number.
fn size(count: u64, format: Format) -> Value {
    match format {
        Format::Table => bytes(count).into(),
        Format::Json | Format::Csv | Format::Parquet => count.into(),
    }
}

async fn usage(lake: &Lake, format: Format) -> Result<()> {
    let mut sheet = Sheet::new(["layer", "objects", "bytes"]);
    for part in lake.usage().await? {
        sheet.push([part.part.into(), part.objects.into(), size(part.bytes, format)]);
    }
    sheet.print(format)
}

/// The tables named, or all of them.
async fn names(lake: &Lake, named: Option<&str>, layer: Option<Layer>) -> Result<Vec<String>> {
    if let Some(name) = named {
        return Ok(vec![name.to_owned()]);
    }
    let tables = lake.tables().await?;
    let wanted = tables
        .into_iter()
        .filter(|table| layer.is_none_or(|layer| table.layer == layer));
    Ok(wanted.map(|table| table.name).collect())
}

async fn compact(lake: &Lake, table: Option<&str>, memory_bytes: u64, format: Format) -> Result<()> {
    let mut sheet = Sheet::new(["table", "files before", "files after", "written", "version"]);
    for name in names(lake, table, None).await? {
        let done = lake.compact(&name, memory_bytes).await?;
        sheet.push([
            name.into(),
            done.files_before.into(),
            done.files_after.into(),
            size(done.bytes_written, format),
            done.version.into(),
        ]);
    }
    sheet.print(format)
}

async fn vacuum(
    lake: &Lake,
    table: Option<&str>,
    keep_since: Timestamp,
    dry_run: bool,
    format: Format,
) -> Result<()> {
    let mut sheet = Sheet::new(["table", if dry_run { "would delete" } else { "deleted" }, "bytes"]);
    for name in names(lake, table, None).await? {
        let done = lake.vacuum(&name, keep_since, dry_run).await?;
        if dry_run && format == Format::Table {
            done.paths.iter().for_each(line);
        }
        sheet.push([name.into(), done.paths.len().into(), size(done.bytes, format)]);
    }
    sheet.print(format)
}

struct Kept<'a> {
    bronze: Option<Span>,
    silver: Option<Span>,
    table: Option<&'a str>,
}

async fn retention(lake: &Lake, kept: &Kept<'_>, archive: Option<&Storage>, format: Format) -> Result<()> {
    let mut sheet = Sheet::new(["layer", "table", "objects", "bytes or rows", "archived"]);
    if let Some(span) = kept.bronze {
        let done = lake.retain_bronze(kept.table, before(span)?, archive).await?;
        sheet.push([
            "bronze".into(),
            kept.table.unwrap_or("all").into(),
            done.objects.into(),
            done.bytes.into(),
            done.archived.into(),
        ]);
    }
    if let Some(span) = kept.silver {
        let tables = lake.tables().await?;
        let is_child = |name: &str| {
            let found = tables.iter().find(|table| table.name == name);
            found.is_some_and(|table| table.parent.is_some())
        };
        for name in names(lake, kept.table, Some(Layer::Silver)).await? {
            if kept.table.is_none() && is_child(&name) {
                // It goes with its parent.
                continue;
            }
            let done = lake.retain_silver(&name, before(span)?, archive).await?;
            sheet.push([
                "silver".into(),
                name.into(),
                done.files.into(),
                done.rows.into(),
                done.archived.into(),
            ]);
        }
    }
    sheet.print(format)
}

/// The storage of the archive. It is reached with the lake's own options.
fn archive_at(wiring: &Wiring, place: &str) -> Result<Storage> {
    let lake = Lake::open(LakeConfig {
        location: if place.contains("://") {
            place.to_owned()
        } else {
            wiring
                .project
                .path(std::path::Path::new(place))
                .display()
                .to_string()
        },
        options: wiring.project.lake_options(),
        pii_key: Secret::new(String::new()),
    })?;
    Ok(lake.storage().clone())
}

fn before(span: Span) -> Result<Timestamp> {
    let back = SignedDuration::try_from(span.get());
    back.ok()
        .and_then(|back| Timestamp::now().checked_sub(back).ok())
        .ok_or_else(|| Error::usage(format!("{span} is too long")).hint("write a shorter time, as in 365d"))
}
