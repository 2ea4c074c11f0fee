use std::sync::Arc;

use clap::{Args, Subcommand};
use weir_control::alerts::{self, AlertFilter, NewSilence, Rule};
use weir_control::{DEFAULT_TENANT, deliveries};
use weir_protocol::units::Span;
use weir_protocol::{Error, Result};

use super::{Context, webhook};
use crate::messenger;
use crate::output::{Sheet, line, time};
use crate::wiring::Wiring;

/// What somebody should look at: list, resolve, silence, test
#[derive(Debug, Args)]
#[command(
    after_help = "Channels are named in weir.yaml below `alerts.channels`: email, Slack, signed webhooks.\n\nExamples:\n  weir alert list\n  weir alert silence --connection github --for 4h --reason \"the vendor is down\"\n  weir alert test ops"
)]
pub(crate) struct AlertArgs {
    #[command(subcommand)]
    command: AlertCommand,
}

#[derive(Debug, Subcommand)]
enum AlertCommand {
    /// Alerts that stand, newest first
    #[command(after_help = "Example:\n  weir alert list --all --connection github")]
    List {
        /// Those that are over too
        #[arg(long)]
        all: bool,
        #[arg(long)]
        connection: Option<String>,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
    /// End an alert by hand
    #[command(after_help = "Example:\n  weir alert resolve 0197 --reason \"restored from backup\"")]
    Resolve {
        /// The start of an id is enough where it is the only one
        id: String,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: String,
    },
    /// Keep alerts from the channels for a while
    #[command(
        after_help = "Example:\n  weir alert silence --rule sla_missed --for 2d --reason \"planned maintenance\""
    )]
    Silence {
        /// Only of this rule; of all where it is left out
        #[arg(long, value_parser = str::parse::<Rule>)]
        rule: Option<Rule>,
        /// Only of this connection; of all where it is left out
        #[arg(long)]
        connection: Option<String>,
        /// For how long from now, 90d at most
        #[arg(long = "for", value_name = "TIME")]
        span: Span,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: String,
    },
    /// Silences that have not ended
    #[command(after_help = "Example:\n  weir alert silences")]
    Silences,
    /// End a silence now
    #[command(after_help = "Example:\n  weir alert unsilence 0197")]
    Unsilence {
        /// The start of an id is enough where it is the only one
        id: String,
    },
    /// Send a test to a channel, or to all, now, and say how that went
    #[command(after_help = "Example:\n  weir alert test ops")]
    Test { channel: Option<String> },
}

pub(crate) async fn run(args: &AlertArgs, context: &Context) -> Result<()> {
    let wiring = Arc::new(Wiring::open(context)?);
    let store = wiring.store().await?;
    match &args.command {
        AlertCommand::List {
            all,
            connection,
            limit,
        } => {
            let filter = AlertFilter {
                all: *all,
                connection: connection.clone(),
                limit: *limit,
                ..AlertFilter::default()
            };
            list(&alerts::list(&store, DEFAULT_TENANT, &filter).await?, context)?;
        }
        AlertCommand::Resolve { id, reason } => {
            let alert = alerts::resolve(&store, DEFAULT_TENANT, id, reason).await?;
            messenger::tell(&wiring, &store).await;
            line(format!("alert {} is over", alert.id));
        }
        AlertCommand::Silence {
            rule,
            connection,
            span,
            reason,
        } => {
            let for_ms = i64::try_from(span.get().as_millis()).unwrap_or(i64::MAX);
            let new = NewSilence {
                rule: *rule,
                connection: connection.clone(),
                reason: reason.clone(),
                ends_at_ms: store.now_ms().await?.saturating_add(for_ms),
            };
            let silence = alerts::silence(&store, DEFAULT_TENANT, &new).await?;
            line(format!(
                "silence {id} ends by itself; `weir alert unsilence {id}` ends it now",
                id = silence.id
            ));
        }
        AlertCommand::Silences => {
            list_silences(alerts::silences(&store, DEFAULT_TENANT).await?, context)?;
        }
        AlertCommand::Unsilence { id } => {
            let silence = alerts::unsilence(&store, DEFAULT_TENANT, id).await?;
            line(format!("silence {} is over", silence.id));
        }
        AlertCommand::Test { channel } => test(&wiring, channel.as_deref()).await?,
    }
    store.close().await;
    Ok(())
}

fn list_silences(found: Vec<alerts::Silence>, context: &Context) -> Result<()> {
    let mut sheet = Sheet::new(["id", "rule", "connection", "ends", "by", "reason"]);
    for silence in found {
        sheet.push([
            silence.id.into(),
            silence.rule.map(Rule::as_str).into(),
            silence.connection.into(),
            time(Some(silence.ends_at_ms)),
            silence.created_by.into(),
            silence.reason.into(),
        ]);
    }
    sheet.print(context.format())
}

fn list(found: &[alerts::Alert], context: &Context) -> Result<()> {
    let mut sheet = Sheet::new([
        "id", "severity", "rule", "subject", "since", "seen", "told", "resolved", "because",
    ]);
    for alert in found {
        sheet.push([
            alert.id.as_str().into(),
            alert.severity.as_str().into(),
            alert.rule.as_str().into(),
            alert.subject.as_str().into(),
            time(Some(alert.raised_at_ms)),
            alert.seen.into(),
            alert.told.into(),
            time(alert.resolved_at_ms),
            alert.resolved_because.clone().into(),
        ]);
    }
    sheet.print(context.format())
}

async fn test(wiring: &Arc<Wiring>, channel: Option<&str>) -> Result<()> {
    let known = &wiring.project.file.alerts.channels;
    let named: Vec<&str> = match channel {
        Some(name) if known.contains_key(name) => vec![name],
        Some(name) => {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            return Err(Error::not_found(format!("weir.yaml has no channel '{name}'"))
                .with("channels", names.join(", "))
                .hint("add it below alerts.channels; docs/guides/alerts.md has examples"));
        }
        None => known.keys().map(String::as_str).collect(),
    };
    if named.is_empty() {
        return Err(Error::spec("weir.yaml names no channel")
            .hint("add one below alerts.channels; docs/guides/alerts.md has examples"));
    }
    let store = wiring.store().await?;
    let mut failure = None;
    for name in named {
        let event = deliveries::test(&store, DEFAULT_TENANT, &format!("channel:{name}")).await?;
        let sent = messenger::send_now(wiring, &store, &event).await?;
        // The others are tried all the same.
        failure = failure.or(webhook::say(&sent).err());
    }
    failure.map_or(Ok(()), Err)
}
