use std::path::PathBuf;

use clap::{Args, Subcommand};
use weir_engine::airbyte::Manifest;
use weir_protocol::Result;

use crate::airbyte;

/// Be a source that speaks the Airbyte protocol on standard output
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir source --manifest connectors/github/connector.yaml spec\n  weir source --manifest connectors/github/connector.yaml read --config config.json --catalog catalog.json --state state.json"
)]
pub(crate) struct SourceArgs {
    /// The connector's connector.yaml, or an Airbyte low-code manifest
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
    let mut out = airbyte::Messages::stdout();
    if let Some(manifest) = airbyte::manifest::at(&args.manifest)? {
        return of_manifest(args, &manifest, &mut out).await;
    }
    let connector = airbyte::connector_at(&args.manifest)?;
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

/// The same for an Airbyte low-code manifest, with its own spec and states.
async fn of_manifest(args: &SourceArgs, manifest: &Manifest, out: &mut airbyte::Messages) -> Result<()> {
    let path = args.manifest.as_path();
    match &args.command {
        SourceCommand::Spec => airbyte::manifest::spec(manifest, out),
        SourceCommand::Check { config } => airbyte::manifest::check(manifest, path, config, out).await,
        SourceCommand::Discover { config } => airbyte::manifest::discover(manifest, path, config, out).await,
        SourceCommand::Read {
            config,
            catalog,
            state,
        } => {
            let files = airbyte::manifest::ReadFiles {
                manifest: path,
                config,
                catalog,
                state: state.as_deref(),
            };
            airbyte::manifest::read(manifest, files, out).await
        }
    }
}
