mod import;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_control::DEFAULT_TENANT;
use weir_control::states::{self, Wish};
use weir_control::sync::doubles;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, Source, StreamDescriptor, StreamState, name};

use super::Context;
use crate::errors;
use crate::output::{Format, Sheet, line, raw, time};
use crate::wiring::{Wiring, registered};

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
            let spec = wiring.connection(connection)?;
            let (source, found) = known_stream(&wiring, &spec, stream).await?;
            if !accept_duplicates {
                refuse_doubles(&wiring, &spec, &found).await?;
            }
            let state = match (cursor, file) {
                (Some(cursor), _) => at(source.cursor_value(stream, cursor)?),
                (None, Some(file)) => read(file)?,
                (None, None) => return Err(Error::usage("nothing to set").hint("give --cursor or --file")),
            };
            states::set(&store, &registered(&spec), stream, &Wish::From(state)).await?;
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
            let spec = wiring.connection(connection)?;
            let (_, found) = known_stream(&wiring, &spec, stream).await?;
            if !accept_duplicates {
                refuse_doubles(&wiring, &spec, &found).await?;
            }
            states::set(&store, &registered(&spec), stream, &Wish::Reset).await?;
            line(format!(
                "the next run of {connection}.{stream} begins at the beginning"
            ));
            Ok(())
        }
    }
}

/// The connection's source, and the stream; refuses one that it does not have.
async fn known_stream(
    wiring: &Wiring,
    connection: &ConnectionSpec,
    stream: &str,
) -> Result<(Arc<dyn Source>, StreamDescriptor)> {
    let source = wiring.source(connection).await?;
    let found = crate::wiring::chosen_streams(source.as_ref(), connection, &[stream.to_owned()]).await?;
    let found = found.into_iter().next();
    let found = found.ok_or_else(|| {
        Error::not_found(format!("there is no stream '{stream}'")).hint("`weir discover` lists the streams")
    })?;
    Ok((source, found))
}

/// Refuses to have records read again that the lake holds, where no key tells them apart.
async fn refuse_doubles(
    wiring: &Wiring,
    connection: &ConnectionSpec,
    stream: &StreamDescriptor,
) -> Result<()> {
    if !doubles(stream) {
        return Ok(());
    }
    let table = name::silver(connection.source(), &stream.entity);
    let lake = wiring.lake()?;
    match lake.state(&table, &connection.connection, &stream.name).await? {
        Some(_) => Err(weir_control::sync::would_double(&connection.connection, stream)),
        None => Ok(()),
    }
}

/// A state in which every slice stands at this cursor.
fn at(cursor: Value) -> StreamState {
    StreamState {
        floor: Some(cursor),
        complete: true,
        ..StreamState::default()
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
        let cursor = state.state.floor.clone().or_else(|| {
            let cursors = state
                .state
                .slices
                .values()
                .filter_map(|slice| slice.cursor.clone());
            // Texts of one format and numbers order as they are written; this is the least one.
            cursors.min_by_key(ToString::to_string)
        });
        let next = match &state.wish {
            None => "reads on",
            Some(Wish::Reset) => "begins at the beginning",
            Some(Wish::From(_)) => "begins where it was set",
            Some(Wish::Full) => "reads everything (--full)",
        };
        sheet.push([
            state.stream.as_str().into(),
            cursor.unwrap_or_default(),
            state.state.slices.len().into(),
            state.state.complete.into(),
            state.sequence.into(),
            next.into(),
            time(Some(state.updated_at_ms)),
        ]);
    }
    sheet.print(format)
}
