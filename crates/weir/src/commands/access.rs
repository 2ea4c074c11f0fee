use clap::{Args, Subcommand};
use serde_json::Value;
use weir_control::principals::{self, Grant};
use weir_control::{DEFAULT_TENANT, tenants};
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
    /// Every principal with its tokens and open sessions: what they may do now, since when, and when they were last
    /// used; and what providers granted to connections
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
        "session",
        "connection",
        "scopes",
    ]);
    for grant in principals::review(&store, tenant).await? {
        sheet.push(row(&grant));
    }
    sheet.print(context.format())
}

/// What a principal acts with: a token, a session, or what a provider granted.
fn row(grant: &Grant) -> [Value; 13] {
    let (token, session, oauth) = (&grant.token, &grant.session, &grant.oauth);
    let roles = token.as_ref().map(|token| &token.roles);
    let roles = roles.or(session.as_ref().map(|session| &session.roles));
    let status = match (token, session, oauth) {
        (Some(token), ..) => Some(token.status.as_str()),
        (None, Some(_), _) => Some("open"),
        (None, None, oauth) => oauth.as_ref().map(|grant| grant.state.as_str()),
    };
    let created = token.as_ref().map(|token| token.created_at_ms);
    let created = created.or(session.as_ref().map(|session| session.created_at_ms));
    let created = created.or(oauth.as_ref().map(|grant| grant.connected_at_ms));
    let used = token.as_ref().and_then(|token| token.last_used_at_ms);
    let used = used.or(session.as_ref().map(|session| session.last_used_at_ms));
    let ends = token.as_ref().map(|token| token.expires_at_ms);
    let ends = ends.or(session.as_ref().map(|session| session.expires_at_ms));
    let ends = ends.or(oauth.as_ref().and_then(|grant| grant.refresh_expires_at_ms));
    [
        grant.principal.as_str().into(),
        grant.kind.as_str().into(),
        roles.map(joined).into(),
        joined(&grant.permissions),
        token.as_ref().map(|token| token.id.as_str()).into(),
        status.into(),
        time(created),
        token.as_ref().map(|token| token.created_by.as_str()).into(),
        time(used),
        time(ends),
        session.as_ref().map(|session| session.id.as_str()).into(),
        oauth.as_ref().map(|grant| grant.connection.as_str()).into(),
        oauth.as_ref().map(|grant| grant.scopes.join(" ")).into(),
    ]
}
