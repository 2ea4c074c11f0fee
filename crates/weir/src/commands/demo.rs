use std::path::PathBuf;

use clap::Args;
use weir_protocol::Result;

use super::Context;
use crate::demo;

/// See the whole path against a built-in API server: no network, no account
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir demo --keep ./demo")]
pub(crate) struct DemoArgs {
    /// Keep the project folder here, to look around afterwards
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(crate) async fn run(args: &DemoArgs, context: &Context) -> Result<()> {
    demo::tell(args.keep.as_deref(), context.settings.no_color).await
}
