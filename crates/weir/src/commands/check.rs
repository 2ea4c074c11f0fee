use clap::Args;
use weir_protocol::Result;

use super::Context;
use crate::output::line;
use crate::wiring::Wiring;

/// Test a connection with one cheap request
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir check github")]
pub(crate) struct CheckArgs {
    /// Name of the connection
    connection: String,
}

pub(crate) async fn run(args: &CheckArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let connection = wiring.connection(&args.connection)?;
    wiring.source(&connection).await?.check().await?;
    line(format!("{}: the connection works", args.connection));
    Ok(())
}
