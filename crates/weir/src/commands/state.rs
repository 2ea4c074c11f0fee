mod import;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use weir_control::DEFAULT_TENANT;
use weir_control::states::{self, Asked, Wish};
use weir_protocol::{Error, Result, StreamState};

use super::Context;
use crate::output::{Format, Sheet, line, raw, time};
use crate::wiring::Wiring;
use crate::{errors, places};

/// Where each stream is read on: show, set, reset, import
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir state show github\n  weir state set github issues --cursor 2026-01-01T00:00:00Z\n  weir state reset github issues"
)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// The stored cursors
    #[command(after_help = "Example:\n  weir state show github --format json")]
    Show {
        /// Name of the connection
        connection: String,
        /// Only this stream
        stream: Option<String>,
    },
    /// Make the next run read on from elsewhere
    #[command(after_help = "Example:\n  weir state set github issues --cursor 2026-01-01T00:00:00Z")]
    Set {
        connection: String,
        stream: String,
        /// The cursor value, as the source writes it
        #[arg(long, value_name = "VALUE", required_unless_present = "file")]
        cursor: Option<String>,
        /// Or a whole state, as `state show --format json` prints it
        #[arg(long, value_name = "FILE", conflicts_with = "cursor")]
        file: Option<PathBuf>,
        /// In a table without a key, what is read again may stand twice
        #[arg(long)]
        accept_duplicates: bool,
    },
    /// Make the next run begin at the beginning
    #[command(after_help = "Example:\n  weir state reset github issues")]
    Reset {
        connection: String,
        stream: String,
        /// In a table without a key, what is read again may stand twice
        #[arg(long)]
        accept_duplicates: bool,
    },
    /// Take over the states of another platform
    #[command(after_help = "Example:\n  weir state import --airbyte state.json github --dry-run")]
    Import(import::ImportArgs),
}

pub(crate) async fn run(args: &StateArgs, context: &Context) -> Result<()> {
    if let StateCommand::Import(args) = &args.command {
        return import::run(args, context).await;
    }
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    match &args.command {
        // Taken above: it opens no store before it knows what to do.
        StateCommand::Import(_) => Ok(()),
        StateCommand::Show { connection, stream } => {
            let mut found = states::list(&store, DEFAULT_TENANT, connection).await?;
            if let Some(stream) = stream {
                found.retain(|state| state.stream == *stream);
            }
            if found.is_empty() {
                // An unknown name is told apart from a connection that was never synced.
                wiring.connection(connection)?;
            }
            if context.format() == Format::Json {
                raw(&format!("{:#}\n", json!(found)));
                return Ok(());
            }
            show(&found, context.format())
        }
        StateCommand::Set {
            connection,
            stream,
            cursor,
            file,
            accept_duplicates,
        } => {
            let asked = match (cursor, file) {
                (Some(cursor), _) => Asked::Cursor(cursor.clone()),
                (None, Some(file)) => Asked::State(read(file)?),
                (None, None) => return Err(Error::usage("nothing to set").hint("give --cursor or --file")),
            };
            let found = places::wish(&wiring, (connection, stream), &asked, *accept_duplicates);
            let (registered, wish) = found.await?;
            states::set(&store, &registered, stream, &wish).await?;
            line(format!(
                "the next run of {connection}.{stream} reads on from there"
            ));
            Ok(())
        }
        StateCommand::Reset {
            connection,
            stream,
            accept_duplicates,
        } => {
            let asked = Asked::Beginning;
            let found = places::wish(&wiring, (connection, stream), &asked, *accept_duplicates);
            let (registered, wish) = found.await?;
            states::set(&store, &registered, stream, &wish).await?;
            line(format!(
                "the next run of {connection}.{stream} begins at the beginning"
            ));
            Ok(())
        }
    }
}

fn read(file: &PathBuf) -> Result<StreamState> {
    let text = std::fs::read_to_string(file).map_err(|error| errors::file("read", file, error))?;
    serde_json::from_str(&text).map_err(|error| {
        Error::state(format!("{} is not a state", file.display()))
            .caused_by(error)
            .hint("write the field `state` of what `weir state show --format json` prints")
    })
}

fn show(found: &[states::StoredState], format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "stream",
        "cursor",
        "slices",
        "complete",
        "checkpoint",
        "next run",
        "updated",
    ]);
    for state in found {
        let groups = &state.state.groups;
        let own = state.state.slices.values();
        let own = own.filter_map(|slice| slice.cursor.as_ref());
        let shared = groups.iter().map(|group| &group.cursor);
        // Texts of one format and numbers order as they are written; this is the least one.
        let cursors = state.state.floor.iter().chain(shared).chain(own);
        let cursor = cursors.min_by_key(ToString::to_string).cloned();
        let grouped: usize = groups.iter().map(|group| group.slices.len()).sum();
        let next = match &state.wish {
            None => "reads on",
            Some(Wish::Reset) => "begins at the beginning",
            Some(Wish::From(_)) => "begins where it was set",
            Some(Wish::Full) => "reads everything (--full)",
        };
        sheet.push([
            state.stream.as_str().into(),
            cursor.unwrap_or_default(),
            (state.state.slices.len() + grouped).into(),
            state.state.complete.into(),
            state.sequence.into(),
            next.into(),
            time(Some(state.updated_at_ms)),
        ]);
    }
    sheet.print(format)
}
