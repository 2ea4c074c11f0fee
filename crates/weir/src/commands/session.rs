use clap::{Args, Subcommand};
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_control::sessions::{self, OpenSession};
use weir_control::{DEFAULT_TENANT, tenants};
use weir_protocol::Result;

use super::Context;
use super::token::joined;
use crate::output::{Format, Sheet, line, time};
use crate::wiring::Wiring;

/// People who are logged in with a browser: list, revoke
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir session list\n  weir session revoke 5f0c2a9be1d84c7f9a3b6d2e8c1f4a70"
)]
pub(crate) struct SessionArgs {
    #[command(subcommand)]
    command: SessionCommand,
}

#[derive(Debug, Subcommand)]
enum SessionCommand {
    /// Sessions that are not over, newest first
    #[command(after_help = "Example:\n  weir session list --format json")]
    List {
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// End a session at once: its person has to log in again
    #[command(after_help = "Example:\n  weir session revoke 5f0c2a9be1d84c7f9a3b6d2e8c1f4a70")]
    Revoke {
        /// As `weir session list` shows it
        id: String,
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
}

pub(crate) async fn run(args: &SessionArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    match &args.command {
        SessionCommand::List { tenant } => {
            tenants::get(&store, tenant).await?;
            list(&sessions::list(&store, tenant).await?, context.format())
        }
        SessionCommand::Revoke { id, tenant } => {
            let target = Target::Thing(format!("sessions/{id}"));
            wiring.allow(tenant, Permission::TokensWrite, &target).await?;
            let ended = sessions::revoke(&store, tenant, id, &|_| Ok(())).await?;
            line(format!("session {} of '{}' is over", ended.id, ended.principal));
            Ok(())
        }
    }
}

fn list(sessions: &[OpenSession], format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "id",
        "principal",
        "roles",
        "groups",
        "created",
        "last_used",
        "expires",
    ]);
    for session in sessions {
        sheet.push([
            session.id.as_str().into(),
            session.principal.as_str().into(),
            joined(&session.roles),
            joined(&session.groups),
            time(Some(session.created_at_ms)),
            time(Some(session.last_used_at_ms)),
            time(Some(session.expires_at_ms)),
        ]);
    }
    sheet.print(format)
}
