use std::path::PathBuf;

use clap::{Args, Subcommand};
use weir_protocol::Result;

use crate::airbyte;

/// Be a source that speaks the Airbyte protocol on standard output
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir source --manifest connectors/github/connector.yaml spec\n  weir source --manifest connectors/github/connector.yaml read --config config.json --catalog catalog.json --state state.json"
)]
pub(crate) struct SourceArgs {
    /// The connector's connector.yaml
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    #[command(subcommand)]
    command: SourceCommand,
}

#[derive(Debug, Subcommand)]
enum SourceCommand {
    /// Print which settings the source needs
    Spec,
    /// Test a connection
    Check {
        /// Settings, as JSON
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the streams
    Discover {
        /// Settings, as JSON
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print records and states
    Read {
        /// Settings, as JSON
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Which streams, and how: a configured catalog, as JSON
        #[arg(long, value_name = "FILE")]
        catalog: PathBuf,
        /// States of an earlier read, as JSON
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
    },
}

pub(crate) async fn run(args: &SourceArgs) -> Result<()> {
    let connector = airbyte::connector_at(&args.manifest)?;
    let mut out = airbyte::Messages::stdout();
    match &args.command {
        SourceCommand::Spec => airbyte::spec(&connector, &mut out),
        SourceCommand::Check { config } => airbyte::check(&connector, config, &mut out).await,
        SourceCommand::Discover { config } => airbyte::discover(&connector, config, &mut out).await,
        SourceCommand::Read {
            config,
            catalog,
            state,
        } => airbyte::read(&connector, config, catalog, state.as_deref(), &mut out).await,
    }
}
