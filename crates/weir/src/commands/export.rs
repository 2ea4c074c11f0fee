use std::path::PathBuf;

use clap::Args;
use weir_control::{DEFAULT_TENANT, projects};
use weir_protocol::{Error, Result};

use super::Context;
use crate::applied;
use crate::output::line;
use crate::wiring::Wiring;

/// Write what was applied as a project folder, which plans to no difference
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir export ./shop-as-applied")]
pub(crate) struct ExportArgs {
    /// A folder that is empty or not there
    #[arg(default_value = "export")]
    folder: PathBuf,
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
}

pub(crate) async fn run(args: &ExportArgs, context: &Context) -> Result<()> {
    let store = match Wiring::open(context) {
        Ok(wiring) => wiring.store().await?,
        Err(error) => applied::store(context).await?.ok_or(error)?,
    };
    let found = projects::current(&store, &args.tenant).await?;
    store.close().await;
    if found.version == 0 {
        return Err(Error::not_found("no project was applied to this store")
            .with("tenant", &args.tenant)
            .hint("`weir apply` in a project folder applies it"));
    }
    applied::write(&args.folder, &found.files)?;
    line(format!(
        "{}: {} files of version {}",
        args.folder.display(),
        found.files.len(),
        found.version
    ));
    Ok(())
}
