use clap::{Args, Subcommand};
use serde_json::json;
use weir_control::DEFAULT_TENANT;
use weir_control::backfills::{self, Backfill, Wanted};
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_protocol::{Error, Result};

use super::Context;
use crate::output::{Format, Sheet, line, raw, time};
use crate::wiring::{Wiring, chosen_streams, registered};

/// Read a range again, chunk by chunk, beside the schedule; `weir serve` works on it
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "The cursors of the streams stay where they are. Rows are merged by their keys.\n\nExamples:\n  weir backfill github --stream issues --from 2025-01-01 --to 2025-12-31 --chunk 7d\n  weir backfill list\n  weir backfill pause 0190a1b2"
)]
pub(crate) struct BackfillArgs {
    #[command(subcommand)]
    command: Option<BackfillCommand>,
    #[arg(required = true)]
    connection: Option<String>,
    /// A stream with a key and a cursor; may be given again
    #[arg(long = "stream", value_name = "STREAM", required = true)]
    streams: Vec<String>,
    /// Cursor value to begin at: a date, a time, or a whole number
    #[arg(long, required = true)]
    from: Option<String>,
    /// Cursor value to end with
    #[arg(long, required = true)]
    to: Option<String>,
    /// What each run reads: 7d, 12h, or a number where the range is one of numbers
    #[arg(long)]
    chunk: Option<String>,
}

#[derive(Debug, Subcommand)]
enum BackfillCommand {
    /// All backfills, newest first
    #[command(after_help = "Example:\n  weir backfill list --format json")]
    List,
    /// How far one is
    #[command(after_help = "Example:\n  weir backfill show 0190a1b2")]
    Show {
        /// Id, or the beginning of one
        id: String,
    },
    /// Let no further chunk follow the one under way
    #[command(after_help = "Example:\n  weir backfill pause 0190a1b2")]
    Pause {
        /// Id, or the beginning of one
        id: String,
    },
    /// Go on with the next chunk
    #[command(after_help = "Example:\n  weir backfill resume 0190a1b2")]
    Resume {
        /// Id, or the beginning of one
        id: String,
    },
    /// End it; what was read stays
    #[command(after_help = "Example:\n  weir backfill cancel 0190a1b2")]
    Cancel {
        /// Id, or the beginning of one
        id: String,
    },
}

pub(crate) async fn run(args: &BackfillArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    let found = match &args.command {
        Some(BackfillCommand::List) => {
            let all = backfills::list(&store, DEFAULT_TENANT).await?;
            store.close().await;
            return list(&all, context.format());
        }
        None => begin(args, &wiring).await?,
        Some(BackfillCommand::Show { id }) => by_beginning(&wiring, id).await?,
        Some(BackfillCommand::Pause { id }) => {
            let id = allowed(&wiring, id).await?;
            backfills::pause(&store, DEFAULT_TENANT, &id).await?
        }
        Some(BackfillCommand::Resume { id }) => {
            let id = allowed(&wiring, id).await?;
            backfills::resume(&store, DEFAULT_TENANT, &id).await?
        }
        Some(BackfillCommand::Cancel { id }) => {
            let id = allowed(&wiring, id).await?;
            backfills::cancel(&store, DEFAULT_TENANT, &id).await?
        }
    };
    store.close().await;
    if context.format() == Format::Json {
        raw(&format!("{:#}\n", json!(found)));
        return Ok(());
    }
    line(format!(
        "backfill {}: {} of {} chunks of {} ({} to {}), {}",
        found.id,
        found.done,
        found.chunks,
        found.streams.join(", "),
        found.from,
        found.to,
        found.status
    ));
    if let Some(error) = &found.error {
        line(format!("  {error}; `weir run list` shows its runs"));
    }
    Ok(())
}

/// Queues the first chunk, once it is known that the connection has these streams.
async fn begin(args: &BackfillArgs, wiring: &Wiring) -> Result<Backfill> {
    let name = args.connection.clone().unwrap_or_default();
    let spec = wiring.connection(&name)?;
    let source = wiring.source(&spec).await?;
    chosen_streams(source.as_ref(), &spec, &args.streams).await?;
    let target = Target::Connection(name.clone());
    wiring
        .allow(DEFAULT_TENANT, Permission::RunsWrite, &target)
        .await?;
    let store = wiring.store().await?;
    weir_control::connections::register(&store, &registered(&spec)).await?;
    let wanted = Wanted {
        connection: name,
        streams: args.streams.clone(),
        from: args.from.clone().unwrap_or_default(),
        to: args.to.clone().unwrap_or_default(),
        chunk: args.chunk.clone(),
    };
    backfills::create(&store, DEFAULT_TENANT, &wanted).await
}

async fn allowed(wiring: &Wiring, id: &str) -> Result<String> {
    let found = by_beginning(wiring, id).await?;
    let target = Target::Backfill(found.id.clone());
    wiring
        .allow(DEFAULT_TENANT, Permission::RunsWrite, &target)
        .await?;
    Ok(found.id)
}

async fn by_beginning(wiring: &Wiring, id: &str) -> Result<Backfill> {
    let all = backfills::list(&wiring.store().await?, DEFAULT_TENANT).await?;
    let mut found = all.into_iter().filter(|backfill| backfill.id.starts_with(id));
    let hint = "`weir backfill list` shows those there are";
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Error::not_found(format!("there is no backfill '{id}'")).hint(hint)),
        _ => Err(Error::usage(format!("several backfills begin with '{id}'")).hint("write more of the id")),
    }
}

fn list(all: &[Backfill], format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "id",
        "connection",
        "streams",
        "from",
        "to",
        "chunks",
        "done",
        "status",
        "created",
        "error",
    ]);
    for backfill in all {
        sheet.push([
            backfill.id.as_str().into(),
            backfill.connection.as_str().into(),
            backfill.streams.join(" ").into(),
            backfill.from.as_str().into(),
            backfill.to.as_str().into(),
            backfill.chunks.into(),
            backfill.done.into(),
            backfill.status.as_str().into(),
            time(Some(backfill.created_at_ms)),
            backfill.error.as_deref().into(),
        ]);
    }
    sheet.print(format)
}
