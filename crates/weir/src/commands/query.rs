use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use weir_protocol::query::QueryLimits;
use weir_protocol::units::{ByteSize, Span};
use weir_protocol::{Error, Result};

use super::Context;
use crate::output::{Format, refused};
use crate::wiring::Wiring;

/// Ask the lake in SQL; read-only
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir query \"SELECT state, count(*) FROM github_issues GROUP BY state\"\n  weir query \"SELECT * FROM github_issues\" --as-of 2026-11-01T00:00:00Z --format csv\n  weir query \"SELECT * FROM bronze.raw_github_issues\" --format parquet --output raw.parquet"
)]
pub(crate) struct QueryArgs {
    /// One statement that reads; tables are named as `weir lake tables` lists them, raw ones as bronze.raw_…
    sql: String,
    /// The lake as it was: a time (RFC 3339), or a table's version
    #[arg(long, value_name = "TIME|VERSION")]
    as_of: Option<String>,
    /// Write here instead of to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Most rows of the answer [default: 10000 in a table, no limit in other formats]
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Memory that the query may hold; it spills to disk before it gives up
    #[arg(long, default_value = "512MiB", value_name = "SIZE")]
    memory: ByteSize,
    /// Longest time it may take
    #[arg(long, default_value = "5m", value_name = "TIME")]
    timeout: Span,
}

pub(crate) async fn run(args: &QueryArgs, context: &Context) -> Result<()> {
    let format = format_of(args, context.format());
    if format == Format::Parquet && args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Error::usage("Parquet is not for a terminal").hint("add --output FILE"));
    }
    let engine = Wiring::open(context)?.query_engine().await?;
    let limits = args.limits(format);
    let format = match format {
        Format::Table => weir_query::Format::Table,
        Format::Json => weir_query::Format::Json,
        Format::Csv => weir_query::Format::Csv,
        Format::Parquet => weir_query::Format::Parquet,
    };
    let mut out = open(args.output.as_deref())?;
    let asked = engine.write(&args.sql, args.as_of.as_deref(), limits, format, &mut out);
    let written = Box::pin(asked).await?;
    out.flush().map_err(|error| refused("the output", error))?;
    if written.truncated {
        tracing::warn!(
            "only the first {} rows are shown; --limit shows more",
            written.rows
        );
    }
    Ok(())
}

/// The format asked for, else the one that the output file's name tells.
fn format_of(args: &QueryArgs, asked: Format) -> Format {
    let ending = args
        .output
        .as_deref()
        .and_then(Path::extension)
        .and_then(|ending| ending.to_str());
    match (asked, ending) {
        (Format::Table, Some("parquet")) => Format::Parquet,
        (Format::Table, Some("csv")) => Format::Csv,
        (Format::Table, Some("json")) => Format::Json,
        (asked, _) => asked,
    }
}

impl QueryArgs {
    fn limits(&self, format: Format) -> QueryLimits {
        let default = QueryLimits::default();
        let rows = match format {
            Format::Table => default.rows_max,
            Format::Json | Format::Csv | Format::Parquet => usize::MAX,
        };
        QueryLimits {
            rows_max: self.limit.unwrap_or(rows),
            memory_bytes: usize::try_from(self.memory.bytes()).unwrap_or(usize::MAX),
            timeout_s: self.timeout.get().as_secs().max(1),
        }
    }
}

fn open(path: Option<&Path>) -> Result<Box<dyn Write + Send>> {
    match path {
        None => Ok(Box::new(BufWriter::new(std::io::stdout()))),
        Some(path) => {
            let file = File::create(path).map_err(|error| refused(&path.display().to_string(), error))?;
            Ok(Box::new(BufWriter::new(file)))
        }
    }
}
