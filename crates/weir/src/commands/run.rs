use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_control::runs::{self, RunFilter, RunStatus};
use weir_control::{DEFAULT_TENANT, Run};
use weir_protocol::Result;

use super::Context;
use crate::output::{Format, Sheet, line, raw, time};
use crate::wiring::Wiring;

/// What ran: list, show, cancel, logs
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir run list\n  weir run show 0199f3")]
pub(crate) struct RunArgs {
    #[command(subcommand)]
    command: RunCommand,
}

#[derive(Debug, Subcommand)]
enum RunCommand {
    /// Runs, newest first
    #[command(after_help = "Example:\n  weir run list --connection github --limit 5")]
    List {
        /// Only those of this connection
        #[arg(long)]
        connection: Option<String>,
        /// Only those with this status, as in failed
        #[arg(long, value_parser = status())]
        status: Option<RunStatus>,
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
    },
    /// One run with the books of its streams
    #[command(after_help = "Example:\n  weir run show 0199f3")]
    Show {
        /// Id of the run, or its beginning
        id: String,
    },
    /// Ask a run to stop: one that waits ends at once, one that runs commits what it covers first
    #[command(after_help = "Example:\n  weir run cancel 0199f3")]
    Cancel {
        /// Id of the run, or its beginning
        id: String,
    },
    /// Notices, checkpoints and errors of a run, oldest first
    #[command(after_help = "Example:\n  weir run logs 0199f3")]
    Logs {
        /// Id of the run, or its beginning
        id: String,
    },
}

/// Takes a status, and says which there are.
fn status() -> impl TypedValueParser<Value = RunStatus> {
    PossibleValuesParser::new(RunStatus::ALL.map(RunStatus::as_str))
        .try_map(|status| status.parse::<RunStatus>())
}

pub(crate) async fn run(args: &RunArgs, context: &Context) -> Result<()> {
    let store = Wiring::open(context)?.store().await?;
    runs::sweep(&store).await?;
    match &args.command {
        RunCommand::List {
            connection,
            status,
            limit,
        } => {
            let filter = RunFilter {
                connection: connection.clone(),
                status: *status,
                limit: *limit,
                ..RunFilter::default()
            };
            list(
                &runs::list(&store, DEFAULT_TENANT, &filter).await?,
                context.format(),
            )
        }
        RunCommand::Show { id } => show(&runs::get(&store, DEFAULT_TENANT, id).await?, context.format()),
        RunCommand::Cancel { id } => {
            let run = runs::get(&store, DEFAULT_TENANT, id).await?;
            let status = runs::queue::cancel(&store, DEFAULT_TENANT, &run.id).await?;
            line(match status {
                RunStatus::Cancelled => format!("run {} is cancelled", run.id),
                _ => format!("run {} is asked to stop", run.id),
            });
            Ok(())
        }
        RunCommand::Logs { id } => {
            let run = runs::get(&store, DEFAULT_TENANT, id).await?;
            logs(&store, &run, context.format()).await
        }
    }
}

fn list(runs: &[Run], format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "id",
        "kind",
        "connection",
        "status",
        "started",
        "seconds",
        "read",
        "landed",
        "quarantined",
    ]);
    for run in runs {
        let books = run.totals().books;
        sheet.push([
            run.id.as_str().into(),
            run.kind.as_str().into(),
            run.connection.as_str().into(),
            run.status.as_str().into(),
            time(run.started_at_ms),
            seconds(run.started_at_ms, run.finished_at_ms),
            books.read.into(),
            books.landed.into(),
            books.quarantined.into(),
        ]);
    }
    sheet.print(format)
}

fn seconds(from_ms: Option<i64>, to_ms: Option<i64>) -> Value {
    let ms = from_ms.zip(to_ms).map(|(from, to)| to - from);
    #[expect(clippy::cast_precision_loss, reason = "tenths of seconds for people")]
    ms.map_or(Value::Null, |ms| json!((ms as f64 / 100.0).round() / 10.0))
}

fn show(run: &Run, format: Format) -> Result<()> {
    if format == Format::Json {
        raw(&format!("{:#}\n", json!(run)));
        return Ok(());
    }
    if format == Format::Table {
        let by = run.worker.as_ref().map(|worker| format!(", by worker {worker}"));
        let by = by.unwrap_or_default();
        line(format!(
            "run {} of {}: {}{by}",
            run.id, run.connection, run.status
        ));
    }
    let mut sheet = Sheet::new([
        "name",
        "status",
        "read",
        "landed",
        "filtered",
        "deduplicated",
        "quarantined",
        "pages",
        "checkpoints",
        "table",
        "version",
    ]);
    for stream in &run.streams {
        let books = stream.books;
        sheet.push([
            stream.name.as_str().into(),
            stream.status.as_str().into(),
            books.read.into(),
            books.landed.into(),
            books.filtered.into(),
            books.deduplicated.into(),
            books.quarantined.into(),
            stream.pages.into(),
            stream.checkpoints.into(),
            stream.table.as_deref().into(),
            stream.table_version.into(),
        ]);
    }
    sheet.print(format)?;
    if format == Format::Table {
        for stream in &run.streams {
            for (reason, count) in &stream.quarantine_reasons {
                line(format!("quarantined: {}: {count} × {reason}", stream.stream));
            }
            if let Some(error) = &stream.error {
                line(format!("failed: {}: {}", stream.stream, error.message));
                if let Some(hint) = &error.hint {
                    line(format!("  next: {hint}"));
                }
            }
        }
    }
    Ok(())
}

async fn logs(store: &weir_control::Store, run: &Run, format: Format) -> Result<()> {
    let mut entries: Vec<(i64, String, &str, String)> = Vec::new();
    for notice in runs::notices(store, DEFAULT_TENANT, &run.id).await? {
        let hint = notice.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        entries.push((
            notice.noticed_at_ms,
            notice.stream,
            "notice",
            format!("{}{hint}", notice.message),
        ));
    }
    for receipt in runs::receipts(store, DEFAULT_TENANT, &run.id).await? {
        let text = format!(
            "checkpoint {}: {} records read, {} landed, table version {}{}",
            receipt.sequence,
            receipt.books.read,
            receipt.books.landed,
            receipt
                .table_version
                .map(|version| version.to_string())
                .unwrap_or_default(),
            if receipt.recovered {
                " (recovered from the lake)"
            } else {
                ""
            },
        );
        entries.push((receipt.stored_at_ms, receipt.stream, "checkpoint", text));
    }
    for stream in &run.streams {
        if let Some(error) = &stream.error {
            let at = stream.finished_at_ms.unwrap_or_default();
            entries.push((at, stream.stream.clone(), "error", error.message.clone()));
        }
    }
    entries.sort_by_key(|(at, ..)| *at);
    let mut sheet = Sheet::new(["time", "stream", "kind", "message"]);
    for (at, stream, kind, message) in entries {
        sheet.push([time(Some(at)), stream.into(), kind.into(), message.into()]);
    }
    sheet.print(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_status_is_answered_with_those_there_are() {
        let parse = |status: &str| {
            RunArgs::augment_args(clap::Command::new("run"))
                .try_get_matches_from(["run", "list", "--status", status])
        };
        let known = parse("abandoned").unwrap();
        let (_, listed) = known.subcommand().unwrap();
        assert_eq!(listed.get_one("status"), Some(&RunStatus::Abandoned));
        let said = parse("nope").unwrap_err().to_string();
        assert!(
            said.contains("[possible values: queued, running, succeeded, failed, cancelled, abandoned]"),
            "{said}"
        );
    }
}
