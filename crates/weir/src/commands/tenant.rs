use clap::{Args, Subcommand};
use weir_control::tenants;
use weir_protocol::Result;

use super::Context;
use crate::output::{Sheet, line, time};
use crate::wiring::Wiring;

/// Borders of isolation: create, list
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir tenant create north\n  weir tenant list")]
pub(crate) struct TenantArgs {
    #[command(subcommand)]
    command: TenantCommand,
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    /// Make a tenant; its principals see nothing of the others
    #[command(after_help = "Example:\n  weir tenant create north")]
    Create {
        /// Lower-case letters, digits, - and _
        name: String,
    },
    /// All tenants
    #[command(after_help = "Example:\n  weir tenant list")]
    List,
}

pub(crate) async fn run(args: &TenantArgs, context: &Context) -> Result<()> {
    let store = Wiring::open(context)?.store().await?;
    match &args.command {
        TenantCommand::Create { name } => {
            let tenant = tenants::create(&store, name).await?;
            line(format!("tenant {}", tenant.name));
            Ok(())
        }
        TenantCommand::List => {
            let mut sheet = Sheet::new(["name", "created"]);
            for tenant in tenants::list(&store).await? {
                sheet.push([tenant.name.as_str().into(), time(Some(tenant.created_at_ms))]);
            }
            sheet.print(context.format())
        }
    }
}
