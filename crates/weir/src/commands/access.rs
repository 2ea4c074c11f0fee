use clap::{Args, Subcommand};
use weir_control::{DEFAULT_TENANT, principals, tenants};
use weir_protocol::Result;

use super::Context;
use super::token::joined;
use crate::output::{Sheet, time};
use crate::wiring::Wiring;

/// Who may do what: review
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir access review --format csv")]
pub(crate) struct AccessArgs {
    #[command(subcommand)]
    command: AccessCommand,
}

#[derive(Debug, Subcommand)]
enum AccessCommand {
    /// Every principal with its tokens: what they may do now, since when, and when they were last used
    #[command(after_help = "Example:\n  weir access review --format csv > access.csv")]
    Review {
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
}

pub(crate) async fn run(args: &AccessArgs, context: &Context) -> Result<()> {
    let AccessCommand::Review { tenant } = &args.command;
    let store = Wiring::open(context)?.store().await?;
    tenants::get(&store, tenant).await?;
    let mut sheet = Sheet::new([
        "principal",
        "kind",
        "roles",
        "permissions",
        "token",
        "status",
        "created",
        "created_by",
        "last_used",
        "expires",
    ]);
    for grant in principals::review(&store, tenant).await? {
        let token = grant.token.as_ref();
        sheet.push([
            grant.principal.as_str().into(),
            grant.kind.as_str().into(),
            token.map(|token| joined(&token.roles)).into(),
            joined(&grant.permissions),
            token.map(|token| token.id.as_str()).into(),
            token.map(|token| token.status.as_str()).into(),
            time(token.map(|token| token.created_at_ms)),
            token.map(|token| token.created_by.as_str()).into(),
            time(token.and_then(|token| token.last_used_at_ms)),
            time(token.map(|token| token.expires_at_ms)),
        ]);
    }
    sheet.print(context.format())
}
