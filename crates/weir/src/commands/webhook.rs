use std::sync::Arc;

use clap::{Args, Subcommand};
use weir_control::webhooks::{self, NewWebhook};
use weir_control::{DEFAULT_TENANT, deliveries};
use weir_protocol::{Error, Result};

use super::Context;
use crate::messenger;
use crate::output::{Sheet, line, time};
use crate::wiring::Wiring;

/// Receivers of events: add, list, remove, pause, resume, rotate, test
#[derive(Debug, Args)]
#[command(
    after_help = "Events are sent as CloudEvents, signed as Standard Webhooks says, by `weir serve` and at the end of\ncommands. What is not taken is tried again for a day; `weir event deliveries` shows how it stands.\n\nExamples:\n  weir webhook add ops https://example.com/hooks/weir --types run.failed,schema.*\n  weir webhook test ops"
)]
pub(crate) struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// Add a receiver; its secret is shown this once
    #[command(
        after_help = "Example:\n  weir webhook add ops https://example.com/hooks/weir --types run.failed,alert.*"
    )]
    Add {
        /// Lower-case letters, digits and single underscores
        name: String,
        /// HTTPS; plain HTTP to private addresses only
        url: String,
        /// Families of events, with commas between; `run.*` for all that begin so
        #[arg(long, value_delimiter = ',', default_value = "*", value_name = "FAMILIES")]
        types: Vec<String>,
        /// Let its address be one of a private network or of this machine
        #[arg(long)]
        allow_private: bool,
    },
    /// All receivers
    #[command(after_help = "Example:\n  weir webhook list --format json")]
    List,
    /// Remove a receiver, what is on its way to it, and its secret
    #[command(after_help = "Example:\n  weir webhook remove ops")]
    Remove { name: String },
    /// Send it nothing until `resume`; what happens meanwhile is not sent
    #[command(after_help = "Example:\n  weir webhook pause ops")]
    Pause { name: String },
    /// Send to it again
    #[command(after_help = "Example:\n  weir webhook resume ops")]
    Resume { name: String },
    /// Give it another secret, shown this once; the one before it signs too for a day
    #[command(after_help = "Example:\n  weir webhook rotate ops")]
    Rotate { name: String },
    /// Send it a test now, and say how that went
    #[command(after_help = "Example:\n  weir webhook test ops")]
    Test { name: String },
}

pub(crate) async fn run(args: &WebhookArgs, context: &Context) -> Result<()> {
    let wiring = Arc::new(Wiring::open(context)?);
    let store = wiring.store().await?;
    match &args.command {
        WebhookCommand::Add {
            name,
            url,
            types,
            allow_private,
        } => {
            let new = NewWebhook {
                name: name.clone(),
                url: url.clone(),
                types: types.clone(),
                allow_private: *allow_private,
            };
            let keeper = wiring.own_secrets().await?;
            let (_, secret) = webhooks::add(&store, &keeper, &new).await?;
            line(format!("secret, shown this once: {}", secret.expose()));
        }
        WebhookCommand::List => {
            list(webhooks::list(&store, DEFAULT_TENANT).await?, context)?;
        }
        WebhookCommand::Remove { name } => {
            webhooks::remove(&store, DEFAULT_TENANT, name).await?;
            line(format!("webhook '{name}' is removed"));
        }
        WebhookCommand::Pause { name } => {
            webhooks::pause(&store, DEFAULT_TENANT, name, Some("asked for")).await?;
            line(format!(
                "nothing is sent to '{name}' until `weir webhook resume {name}`"
            ));
        }
        WebhookCommand::Resume { name } => {
            webhooks::pause(&store, DEFAULT_TENANT, name, None).await?;
            line(format!("'{name}' is sent events again"));
        }
        WebhookCommand::Rotate { name } => {
            let secret = webhooks::rotate(&store, &wiring.own_secrets().await?, name).await?;
            line(format!("secret, shown this once: {}", secret.expose()));
        }
        WebhookCommand::Test { name } => {
            let target = format!("webhook:{name}");
            let event = deliveries::test(&store, DEFAULT_TENANT, &target).await?;
            say(&messenger::send_now(&wiring, &store, &event).await?)?;
        }
    }
    store.close().await;
    Ok(())
}

fn list(found: Vec<webhooks::Webhook>, context: &Context) -> Result<()> {
    let mut sheet = Sheet::new(["name", "url", "types", "added", "paused", "because"]);
    for webhook in found {
        sheet.push([
            webhook.name.into(),
            webhook.url.into(),
            webhook.types.join(",").into(),
            time(Some(webhook.created_at_ms)),
            time(webhook.paused_at_ms),
            webhook.paused_because.into(),
        ]);
    }
    sheet.print(context.format())
}

/// How a test went.
pub(super) fn say(deliveries: &[deliveries::Delivery]) -> Result<()> {
    for delivery in deliveries {
        if delivery.status != "delivered" {
            let why = delivery.error.clone().unwrap_or_else(|| delivery.status.clone());
            return Err(Error::unavailable("the test was not taken")
                .with("target", &delivery.target)
                .with("why", why)
                .hint(format!(
                    "it is tried again by itself; `weir event show {}` tells how it stands",
                    delivery.event
                )));
        }
        line(format!("{} took the test", delivery.target));
    }
    Ok(())
}
