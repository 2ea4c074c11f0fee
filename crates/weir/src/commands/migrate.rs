use clap::Args;
use weir_protocol::Result;

use super::Context;
use crate::output::line;
use crate::wiring::Wiring;

/// Bring the control store's tables up to date
#[derive(Debug, Args)]
#[command(
    after_help = "Every command does the same when it opens the store; on PostgreSQL only a role that owns the\ntables may. Run this one as the owner before a new version is started under another role.\n\nExample:\n  WEIR_DATABASE_URL=postgres://owner@db/control weir migrate"
)]
pub(crate) struct MigrateArgs {}

pub(crate) async fn run(_: &MigrateArgs, context: &Context) -> Result<()> {
    let store = Wiring::open(context)?.store().await?;
    let version = store.version().await?;
    line(format!("{} is at schema {version}", store.place()));
    store.close().await;
    Ok(())
}
